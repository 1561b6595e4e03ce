package transaction

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Program says how a closure is activated that is no NixOS system: by a program of
// its own, as the user who owns the profile. What such a program changes lasts
// beyond a boot, so that a boot brings nothing back.
type Program struct {
	// Profile is the name of the profile, unique on its host, User its owner.
	Profile string `json:"profile"`
	User    string `json:"user"`
	// Kind is one of the constants of package program.
	Kind string `json:"kind"`
	// Activate, Rollback and Check are argv, the first word relative to the closure.
	Activate []string `json:"activate,omitempty"`
	Rollback []string `json:"rollback,omitempty"`
	Check    []string `json:"check,omitempty"`
}

// lasts says that what the trial changes survives a boot.
func (r *Record) lasts() bool { return r.Program != nil }

// exitMeaning says in words what an exit code means for the trial of r.
func (r *Record) exitMeaning(code int) string {
	if r.Program == nil {
		return ExitMeaning(code)
	}
	return programMeaning(code)
}

func programMeaning(code int) string {
	switch code {
	case 0:
		return "the activation succeeded"
	case 126, 127:
		return fmt.Sprintf("the activation program cannot be run on this host (exit %d)", code)
	}
	return fmt.Sprintf("the activation program failed (exit %d)", code)
}

// perProfile is no transaction's id, so that it is not taken for what one has left.
const perProfile = "per-profile"

// Of is the store of one profile of this host. What is decided of one profile says
// nothing of another.
func (s Store) Of(profile string) Store {
	return Store{Dir: filepath.Join(s.Dir, perProfile, profile), Run: filepath.Join(s.Run, perProfile, profile), FS: s.FS}
}

// Profiles names the profiles that have a store of their own, sorted.
func (s Store) Profiles() []string {
	entries, _ := s.fs().ReadDir(filepath.Join(s.Dir, perProfile))
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// OpenBeside says whether a transaction is under way in the store of another
// profile of the same host than s.
func (s Store) OpenBeside() bool {
	host := s
	if base := filepath.Dir(s.Dir); filepath.Base(base) == perProfile {
		host = Store{Dir: filepath.Dir(base), Run: filepath.Dir(filepath.Dir(s.Run)), FS: s.FS}
	}
	beside := []Store{host}
	for _, name := range host.Profiles() {
		beside = append(beside, host.Of(name))
	}
	return slices.ContainsFunc(beside, func(other Store) bool {
		if other.Dir == s.Dir {
			return false
		}
		r, err := other.Load()
		return err == nil && r != nil && !r.State.Final()
	})
}
