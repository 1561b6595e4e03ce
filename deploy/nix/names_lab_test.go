//go:build lab

package nix

import (
	"slices"
	"testing"
)

// None of what the names stand for is evaluated: the flake has hosts that throw.
func TestLabNames(t *testing.T) {
	n, flake := realNix(t)
	names, err := n.Names(t.Context(), flake, "nixosConfigurations")
	if err != nil || !slices.Contains(names, "web1") || !slices.IsSorted(names) {
		t.Errorf("got %q, %v", names, err)
	}
	if names, err := n.Names(t.Context(), flake, "noSuchOutput"); err != nil || names != nil {
		t.Errorf("got %q, %v", names, err)
	}
}
