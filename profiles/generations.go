// Package profiles is what a deployment moves on a host: Nix profiles, their
// generations and the garbage-collection roots that keep them alive.
//
// It keeps exactness: a profile is put back to the link that was recorded, never
// to "generation minus one"; no generation is removed except one that the same
// transaction made; and every link is replaced in one step, so that a reboot
// meets the old or the new one.
package profiles

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// System is the profile whose generations NixOS boots.
const System = "/nix/var/nix/profiles/system"

// storeDigits are those of Nix's base 32, storeSigns what else a name may hold.
const (
	storeDigits = "0123456789abcdfghijklmnpqrsvwxyz"
	storeSigns  = "+-._?="
	hashLength  = 32
	nameLimit   = 211
)

// ValidStorePath says whether path has the form of a store path: 32 digits of
// Nix's base 32, a dash and a name. It does not look whether such a path exists.
// https://nix.dev/manual/nix/2.26/store/store-path
//
// It is no regular expression, since compiling one with such a count would be a
// good part of every start of the agent.
func ValidStorePath(path string) bool {
	base, ok := strings.CutPrefix(path, "/nix/store/")
	if !ok || len(base) < hashLength+2 || base[hashLength] != '-' {
		return false
	}
	hash, name := base[:hashLength], base[hashLength+1:]
	return len(name) <= nameLimit && strings.Trim(hash, storeDigits) == "" && strings.IndexFunc(name, notInName) < 0
}

func notInName(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune(storeSigns, r)
}

// Generation is one link of a profile.
type Generation struct {
	// Link is the link's base name, for instance "system-12-link".
	Link string `json:"link"`
	// Number is 12 for that link.
	Number int `json:"number"`
	// Path is the store path it points at.
	Path string `json:"path"`
}

// Current returns the generation that profile points at. The zero Generation
// means that the profile does not exist.
func Current(profile string) (Generation, error) {
	link, err := os.Readlink(profile)
	if errors.Is(err, fs.ErrNotExist) {
		return Generation{}, nil
	}
	if err != nil {
		return Generation{}, fmt.Errorf("read profile: %v", err)
	}
	link = filepath.Base(link)
	target, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(profile), link))
	if err != nil {
		return Generation{}, fmt.Errorf("read generation: %v", err)
	}
	number, ok := generationNumber(profile, link)
	if !ok {
		return Generation{}, fmt.Errorf("read profile %s: %q is not one of its generations", profile, link)
	}
	return Generation{Link: link, Number: number, Path: target}, nil
}

func generationNumber(profile, link string) (int, bool) {
	middle, ok := strings.CutPrefix(link, filepath.Base(profile)+"-")
	if !ok {
		return 0, false
	}
	middle, ok = strings.CutSuffix(middle, "-link")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(middle)
	return n, err == nil && n > 0
}

// Set makes a generation of profile that points at path the current one. A new one is
// durable before the profile names it: nix-env syncs neither, and a power cut may
// then leave a profile that leads nowhere. Only where the links cannot be made
// here, as when somebody holds the profile's lock, the nix-env of toplevel does it.
//
// substitute=false, since a host without DNS would wait for its caches; without
// NIX_REMOTE root works on the store even when the daemon is dead.
func Set(ctx context.Context, toplevel, profile, path string) (Generation, error) {
	if linkErr := setByHand(profile, path); linkErr != nil {
		m := systemd.Of(toplevel)
		if _, err := m.Output(ctx, "nix-env", "--profile", profile, "--set", path, "--option", "substitute", "false"); err != nil {
			return Generation{}, fmt.Errorf("set profile: %v; %v", linkErr, err)
		}
	}
	now, err := Current(profile)
	if err != nil {
		return Generation{}, err
	}
	if now.Path != path {
		return now, fmt.Errorf("set profile: it points at %s afterwards", now.Path)
	}
	return now, nil
}

// setByHand makes the next generation as nix-env does, under the profile's lock. The
// newest one is taken again where it is of the same path.
func setByHand(profile, path string) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	release, err := lockProfile(profile)
	if err != nil {
		return err
	}
	defer release()
	newest, err := Newest(profile)
	if err != nil {
		return err
	}
	name := func(number int) string { return fmt.Sprintf("%s-%d-link", filepath.Base(profile), number) }
	link := name(newest)
	if has, err := os.Readlink(filepath.Join(filepath.Dir(profile), link)); err != nil || has != path {
		link = name(newest + 1)
		if err := atomicfile.Symlink(path, filepath.Join(filepath.Dir(profile), link)); err != nil {
			return err
		}
	}
	return atomicfile.Symlink(link, profile)
}

// lockProfile takes the lock that nix-env takes, unless somebody holds it.
func lockProfile(profile string) (release func(), err error) {
	f, err := os.OpenFile(profile+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock profile: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock profile: %v", err)
	}
	return func() { _ = f.Close() }, nil
}

// Restore points profile at a generation that it had, and removes the
// generation called made if it is another one: the one that a failed commit of
// the same transaction made. An empty made removes nothing.
func Restore(profile string, to Generation, made string) error {
	if to.Link == "" {
		return errors.New("restore profile: no generation was recorded")
	}
	if _, ok := generationNumber(profile, to.Link); !ok {
		return fmt.Errorf("restore profile: %q is not one of its generations", to.Link)
	}
	if err := ensureLink(filepath.Join(filepath.Dir(profile), to.Link), to.Path); err != nil {
		return fmt.Errorf("restore profile: %v", err)
	}
	if err := atomicfile.Symlink(to.Link, profile); err != nil {
		return fmt.Errorf("restore profile: %v", err)
	}
	if made == "" || made == to.Link {
		return nil
	}
	if _, ok := generationNumber(profile, made); !ok {
		return fmt.Errorf("remove generation: %q is not one of the profile's", made)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(profile), made)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove generation: %v", err)
	}
	return nil
}

// ensureLink makes the link of a generation again where a garbage collection of
// old generations removed it; the system itself was kept by its root.
func ensureLink(link, path string) error {
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Symlink(path, link)
	}
	if err != nil {
		return err
	}
	if target != path {
		return fmt.Errorf("%s points at %s, not at %s", link, target, path)
	}
	return nil
}

// RootsDir holds hdeploy's garbage-collection roots on a host.
const RootsDir = "/nix/var/nix/gcroots/hdeploy"

// AddRoot keeps path from being collected under the given name, replacing what
// that name kept before.
func AddRoot(name, path string) error {
	if err := os.MkdirAll(RootsDir, 0o755); err != nil {
		return fmt.Errorf("add root: %v", err)
	}
	if err := atomicfile.Symlink(path, filepath.Join(RootsDir, name)); err != nil {
		return fmt.Errorf("add root: %v", err)
	}
	return nil
}

// Root returns the path kept under name, empty where there is none.
func Root(name string) string {
	target, _ := os.Readlink(filepath.Join(RootsDir, name))
	return target
}

// RemoveRoot forgets a root; one that does not exist is no error.
func RemoveRoot(name string) error {
	if err := os.Remove(filepath.Join(RootsDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove root: %v", err)
	}
	return nil
}

// abandonedAfter is how old a transaction's root must be to be taken for one that
// was left behind.
const abandonedAfter = 24 * time.Hour

// RemoveAbandonedRoots forgets the roots, named by isTransient, that transactions
// left behind.
func RemoveAbandonedRoots(isTransient func(name string) bool) error {
	entries, err := os.ReadDir(RootsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list roots: %v", err)
	}
	var failures []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && isTransient(entry.Name()) && time.Since(info.ModTime()) > abandonedAfter {
			failures = append(failures, RemoveRoot(entry.Name()))
		}
	}
	return errors.Join(failures...)
}

// All returns the generations of profile, newest first. One whose system is gone
// is left out.
func All(profile string) ([]Generation, error) {
	list, err := List(profile)
	if err != nil {
		return nil, err
	}
	var all []Generation
	for _, g := range list {
		if _, err := os.Stat(filepath.Join(filepath.Dir(profile), g.Link)); err == nil {
			all = append(all, g.Generation)
		}
	}
	return all, nil
}

// Newest is the highest generation number of profile, zero where it has none.
func Newest(profile string) (int, error) {
	entries, err := os.ReadDir(filepath.Dir(profile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("list generations: %v", err)
	}
	newest := 0
	for _, entry := range entries {
		if n, ok := generationNumber(profile, entry.Name()); ok {
			newest = max(newest, n)
		}
	}
	return newest, nil
}
