package nix

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Derivation is something to build.
type Derivation struct {
	// Host names the host it is for in errors.
	Host string
	// DrvPath is its store path; Output the wanted output, "out" if empty.
	DrvPath, Output string
}

// Build builds, or fetches from a cache, all derivations in one nix process;
// one that is wanted twice is built once. In linkDir, which must exist and
// belong to the caller alone, it leaves one link per result ("system",
// "system-1", ...): as long as a link stays there, a garbage collection of
// this machine spares what it points to. An empty linkDir makes no links. (A
// collector in another mount namespace does not see the directory, so that
// from inside a sandbox the links protect nothing.)
//
// The error is an [*Error], for the first build that fails, or the context's.
func (n *Nix) Build(ctx context.Context, derivations []Derivation, linkDir string, on func(Progress)) error {
	if len(derivations) == 0 {
		return nil
	}
	installables, err := installables(derivations)
	if err != nil {
		return err
	}
	args := arguments("build", installables...)
	if linkDir == "" {
		args = append(args, "--no-link")
	} else {
		args = append(args, "--out-link", filepath.Join(linkDir, "system"))
	}
	t := newTracker(building, on)
	t.count.Unit, t.counted.Unit = "derivations", "derivations"
	_, err = n.run(ctx, "build", append(args, n.Extra...), t)
	return err
}

// Keep leaves a link at an absolute path that keeps a closure of the local store from
// being collected, as those of Build do.
func (n *Nix) Keep(ctx context.Context, path, link string) error {
	if !isStorePath(path) {
		return fmt.Errorf("keep: %q is not a store path", path)
	}
	_, err := n.run(ctx, "keep", arguments("build", path, "--out-link", link), newTracker(quiet, nil))
	return err
}

// Store is a store other than that of this machine.
type Store struct {
	// URI is for instance unix:///tmp/hd-1234/s.
	URI string
	// Settings are those of the nix.conf beside the store. A daemon takes many of a
	// client that it trusts, and those of this machine, its builders or how much it
	// builds at once, mean nothing there.
	Settings map[string]string
}

// options are what goes with a call that makes the store work.
func (s Store) options() ([]string, error) {
	if s.URI == "" || strings.HasPrefix(s.URI, "-") {
		return nil, fmt.Errorf("%q is not a store", s.URI)
	}
	var args []string
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		args = append(args, "--option", name, s.Settings[name])
	}
	return args, nil
}

// expected tells the remarks of a daemon that keeps to its own settings, which are those
// that it was given back, because it does not trust this user.
func (s Store) expected(remark string) bool {
	name, found := cutBoth(remark, "ignoring the client-specified setting '", "', because it is a restricted setting and you are not a trusted user")
	_, ours := s.Settings[name]
	return found && ours
}

// BuildIn builds a derivation of this machine's store in another store. What the
// build needs is copied there, and its result stays: nothing here or there keeps a
// collection from it once the call has returned.
//
// The error is an [*Error] or the context's.
func (n *Nix) BuildIn(ctx context.Context, store Store, d Derivation, on func(Progress)) error {
	options, err := store.options()
	if err != nil {
		return fmt.Errorf("build %s: %v", d.Host, err)
	}
	installables, err := installables([]Derivation{d})
	if err != nil {
		return err
	}
	t := newTracker(building, on)
	t.count.Unit, t.counted.Unit = "derivations", "derivations"
	t.remark = store.expected
	// A link would dangle here.
	args := arguments("build", append(installables, "--no-link", "--store", store.URI, "--eval-store", "auto")...)
	_, err = n.run(ctx, "build", slices.Concat(args, options, n.Extra), t)
	return err
}

// installables lists each wanted output once, in the order given.
func installables(derivations []Derivation) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for _, d := range derivations {
		if !isStorePath(d.DrvPath) || !strings.HasSuffix(d.DrvPath, ".drv") {
			return nil, fmt.Errorf("build %s: %q is not a derivation", d.Host, d.DrvPath)
		}
		output := d.Output
		if output == "" {
			output = "out"
		}
		if !isStoreName(output) {
			return nil, fmt.Errorf("build %s: %q is not the name of an output", d.Host, output)
		}
		installable := d.DrvPath + "^" + output
		if !seen[installable] {
			seen[installable] = true
			list = append(list, installable)
		}
	}
	return list, nil
}

// isStorePath tells whether the text has the form of a store path, wherever
// the store is. Such a text is safe as an argument: it begins with a slash and
// has none of the characters that mean something in an installable.
func isStorePath(path string) bool {
	dir, name := filepath.Split(path)
	return strings.HasPrefix(dir, "/") && dir == filepath.Clean(dir)+"/" && len(dir) > 1 &&
		!strings.ContainsAny(dir, "^#!*? \n") && isStoreName(name)
}

// isStoreName tells whether the text has only characters of a store path's name.
func isStoreName(name string) bool {
	if name == "" || len(name) > 255 || name[0] == '-' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+-._?=", r))
	}) < 0
}
