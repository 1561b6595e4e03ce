package nix

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestLockFileIsComparedWithTheInputs(t *testing.T) {
	for name, c := range map[string]struct {
		lock     string
		declared []string
		want     Inputs
	}{
		"no inputs":         {"", []string{"self"}, Inputs{}},
		"nothing is locked": {"", []string{"self", "nixpkgs"}, Inputs{NoLock: true, Unlocked: []string{"nixpkgs"}}},
		"all are locked": {`{"root":"root","nodes":{"nixpkgs":{},"root":{"inputs":{"nixpkgs":"nixpkgs","systems":["opnix","systems"]}}}}`,
			[]string{"nixpkgs", "systems", "nixpkgs"}, Inputs{}},
		"one is not": {`{"root":"root","nodes":{"nixpkgs":{},"root":{"inputs":{"nixpkgs":"nixpkgs"}}}}`,
			[]string{"nixpkgs", "attic", "hercules-ci-agent"}, Inputs{Unlocked: []string{"attic", "hercules-ci-agent"}}},
		"one leads nowhere": {`{"root":"root","nodes":{"root":{"inputs":{"nixpkgs":"nixpkgs_2"}}}}`,
			[]string{"nixpkgs"}, Inputs{Dangling: []string{"nixpkgs"}}},
		"one is left over": {`{"root":"top","nodes":{"a":{},"top":{"inputs":{"a":"a"}}}}`, nil, Inputs{Stale: []string{"a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "flake.lock")
			if c.lock != "" {
				if err := os.WriteFile(file, []byte(c.lock), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l, err := readLock(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.compare(c.declared); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	broken := filepath.Join(t.TempDir(), "flake.lock")
	if err := os.WriteFile(broken, []byte("<<<<<<< HEAD"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLock(broken); err == nil {
		t.Error("a lock file with a merge conflict was read")
	}
}
