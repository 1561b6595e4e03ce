package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Inputs compares the inputs of a flake with its lock file.
type Inputs struct {
	// Unlocked are inputs that the lock file does not have: what is deployed would
	// depend on the day. Dangling are those that it has without the node they name.
	Unlocked, Dangling []string
	// Stale are locked, and no inputs any more.
	Stale []string
	// NoLock says that there is no lock file at all.
	NoLock bool
}

const (
	inputsLimit   = 2 * time.Minute
	mostLockBytes = 16 << 20
)

// flakeInputs reads a flake.nix without its outputs. An input may be named by the
// parameters of the outputs alone.
const flakeInputs = `flake: {
  inputs = builtins.attrNames (flake.inputs or { })
    ++ (if builtins.isFunction flake.outputs then builtins.attrNames (builtins.functionArgs flake.outputs) else [ ]);
}`

// Inputs reads flake.nix and flake.lock as they would be evaluated, and fetches no
// input. The flake is as in [Nix.Evaluate].
func (n *Nix) Inputs(ctx context.Context, flake string) (Inputs, error) {
	if err := checkFlake(flake); err != nil {
		return Inputs{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, inputsLimit)
	defer cancel()
	dir, err := n.source(ctx, flake)
	if err != nil {
		return Inputs{}, err
	}
	output, err := n.run(ctx, "read flake.nix", arguments("eval", "--json", "--file", filepath.Join(dir, "flake.nix"), "--apply", flakeInputs), newTracker(quiet, nil))
	if err != nil {
		return Inputs{}, err
	}
	var declared struct{ Inputs []string }
	if err := json.Unmarshal(output, &declared); err != nil {
		return Inputs{}, fmt.Errorf("read flake.nix: %v", err)
	}
	lock, err := readLock(filepath.Join(dir, "flake.lock"))
	if err != nil {
		return Inputs{}, err
	}
	return lock.compare(declared.Inputs), nil
}

// source returns the folder of the flake in the store.
func (n *Nix) source(ctx context.Context, flake string) (string, error) {
	reference, query, _ := strings.Cut(flake, "?")
	dir := ""
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if value, found := strings.CutPrefix(part, "dir="); found {
			dir = value
		} else if part != "" {
			kept = append(kept, part)
		}
	}
	if len(kept) > 0 {
		reference += "?" + strings.Join(kept, "&")
	}
	output, err := n.run(ctx, "fetch the flake", arguments("flake", "prefetch", "--json", reference), newTracker(quiet, nil))
	if err != nil {
		return "", err
	}
	var fetched struct{ StorePath string }
	if err := json.Unmarshal(output, &fetched); err != nil || !isStorePath(fetched.StorePath) {
		return "", errors.New("fetch the flake: nix does not say where it is")
	}
	if !filepath.IsLocal(dir) && dir != "" {
		return "", fmt.Errorf("fetch the flake: %q is no folder of it", dir)
	}
	return filepath.Join(fetched.StorePath, dir), nil
}

// lock is a flake.lock, of which only the root's inputs are looked at. The value of
// an input is the name of a node, or a list of names that it follows.
type lock struct {
	missing bool
	Root    string `json:"root"`
	Nodes   map[string]struct {
		Inputs map[string]any `json:"inputs"`
	} `json:"nodes"`
}

func readLock(file string) (lock, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return lock{missing: true}, nil
	}
	if err == nil && info.Size() > mostLockBytes {
		err = fmt.Errorf("it has more than %d MiB", mostLockBytes>>20)
	}
	if err != nil {
		return lock{}, fmt.Errorf("read flake.lock: %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return lock{}, fmt.Errorf("read flake.lock: %v", err)
	}
	var l lock
	if err := json.Unmarshal(data, &l); err != nil {
		return lock{}, fmt.Errorf("read flake.lock: %v", err)
	}
	return l, nil
}

func (l lock) compare(declared []string) Inputs {
	slices.Sort(declared)
	declared = slices.DeleteFunc(slices.Compact(declared), func(name string) bool { return name == "self" })
	result := Inputs{NoLock: l.missing && len(declared) > 0}
	locked := l.Nodes[l.Root].Inputs
	for _, name := range declared {
		node, found := locked[name]
		if !found {
			result.Unlocked = append(result.Unlocked, oneLine(name, 200))
			continue
		}
		if target, direct := node.(string); direct {
			if _, there := l.Nodes[target]; !there {
				result.Dangling = append(result.Dangling, oneLine(name, 200))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(locked)) {
		if !slices.Contains(declared, name) {
			result.Stale = append(result.Stale, oneLine(name, 200))
		}
	}
	return result
}
