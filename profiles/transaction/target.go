package transaction

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hbohlen/hdeploy/profiles"
)

// Standing is where a host stands when somebody wants to go back.
type Standing struct {
	// Running is the system that runs, the parent where a specialisation does.
	Running string
	// At is the profile's generation, Generations are all of them, newest first.
	At          profiles.Generation
	Generations []profiles.Generation
	// History is what [Store.History] returns.
	History []Record
	// Rooted are the systems whose roots say that they were confirmed, the newest
	// first: all that is left of a history that did not survive a boot.
	Rooted []string
	// Sound says why a system cannot be gone back to, nil where it can.
	Sound func(system string) error
}

// Target is the system that a rollback goes to.
type Target struct {
	System string
	// Generation is the newest one of the system, zero where it has none any more.
	Generation int
	Verdict    Verdict
	// Proof is the transaction that confirmed it, nil where none is remembered.
	Proof *Record
	// Skipped are the systems that were passed over, in the order in which they
	// would have been taken.
	Skipped []Skipped
}

// Skipped is a system that a rollback does not go to, and why.
type Skipped struct {
	System     string `json:"system"`
	Generation int    `json:"generation,omitempty"`
	Why        string `json:"why"`
}

// Back chooses the last system that was confirmed before the running one. What the
// history has forgotten the roots of the confirmed systems tell; where there is none
// either way, it is the newest generation below the current one, which is unproven.
func (s Standing) Back() (Target, error) {
	var t Target
	if s.movedAway() {
		return s.target(s.Running), nil
	}
	for _, r := range s.before() {
		if r.confirms() && s.take(&t, r.New) {
			return t, nil
		}
	}
	for _, system := range s.Rooted {
		if !s.remembers(system) && s.take(&t, system) {
			t.Verdict = Confirmed
			return t, nil
		}
	}
	for _, g := range s.below() {
		if s.take(&t, g.Path) {
			return t, nil
		}
	}
	return t, fmt.Errorf("there is no system to go back to: none was confirmed before this one, and there is no usable generation below %d", s.At.Number)
}

// remembers says whether the history tells of a system.
func (s Standing) remembers(system string) bool {
	return slices.ContainsFunc(s.History, func(r Record) bool { return r.New == system || r.Rejects == system })
}

// Named is the system of a generation's number or of a store path.
func (s Standing) Named(to string) (Target, error) {
	system := to
	if number, err := strconv.Atoi(to); err == nil {
		if system = s.generation(number); system == "" {
			return Target{}, fmt.Errorf("there is no generation %d", number)
		}
	} else if !profiles.ValidStorePath(to) {
		return Target{}, fmt.Errorf("neither the number of a generation nor a store path: %q", to)
	}
	if err := s.Sound(system); err != nil {
		return Target{}, fmt.Errorf("cannot go to %s: %v", system, err)
	}
	return s.target(system), nil
}

// take makes system the target unless it is what runs, was passed over before, was
// rejected, or cannot be gone to.
func (s Standing) take(t *Target, system string) bool {
	if system == s.Running {
		return false
	}
	for _, passed := range t.Skipped {
		if passed.System == system {
			return false
		}
	}
	found := s.target(system)
	why := ""
	if found.Verdict == Rejected {
		why = "it was rejected on this host"
	} else if err := s.Sound(system); err != nil {
		why = err.Error()
	}
	if why != "" {
		t.Skipped = append(t.Skipped, Skipped{System: system, Generation: found.Generation, Why: why})
		return false
	}
	found.Skipped = t.Skipped
	*t = found
	return true
}

func (s Standing) target(system string) Target {
	t := Target{System: system, Verdict: VerdictOn(s.History, system)}
	for _, g := range s.Generations {
		if g.Path == system {
			t.Generation = g.Number
			break
		}
	}
	for i, r := range s.History {
		if t.Verdict == Confirmed && r.New == system && r.confirms() {
			t.Proof = &s.History[i]
			break
		}
	}
	return t
}

func (s Standing) generation(number int) string {
	for _, g := range s.Generations {
		if g.Number == number {
			return g.Path
		}
	}
	return ""
}

// confirms says whether the transaction showed that its system is good.
func (r *Record) confirms() bool {
	return r.State == Committed && r.Action.Activates() && r.Action.Commits()
}

// broughtUp is the place in the history of the transaction that made the running
// system run, -1 where it was none.
func (s Standing) broughtUp() int {
	for i, r := range s.History {
		if r.New == s.Running && r.Action.Activates() && (r.State == Committed || r.State == Kept) {
			return i
		}
	}
	return -1
}

// before is the history of before the running system. What was confirmed later
// is not what ran before: a person may have gone back from it by other means.
func (s Standing) before() []Record { return s.History[s.broughtUp()+1:] }

// movedAway says that the profile was moved and what runs was not: a system
// waits for the next boot, and what runs is the one to go back to.
func (s Standing) movedAway() bool {
	if s.At.Path == s.Running {
		return false
	}
	if i := s.broughtUp(); i >= 0 {
		return s.History[i].confirms() && VerdictOn(s.History, s.Running) == Confirmed
	}
	return s.target(s.Running).Generation != 0
}

// below are the generations that are older than the current one, which is among
// them where it is not what runs: that is being tested then.
func (s Standing) below() []profiles.Generation {
	var older []profiles.Generation
	for _, g := range s.Generations {
		if g.Number < s.At.Number || g.Number == s.At.Number && g.Path != s.Running {
			older = append(older, g)
		}
	}
	return older
}

// ConfirmedIn returns the systems that a history's newest verdict confirms, the
// one that was confirmed last first.
func ConfirmedIn(history []Record) []string {
	var systems []string
	for _, r := range history {
		if r.confirms() && !slices.Contains(systems, r.New) && VerdictOn(history, r.New) == Confirmed {
			systems = append(systems, r.New)
		}
	}
	return systems
}
