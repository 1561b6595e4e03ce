package nix

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         []string
		says         string
	}{
		{"some", `echo '["web1","web 2","\u001b[2J"]'`, []string{"web1", "web 2", ""}, ""},
		{"no such output", `echo '[]'`, nil, ""},
		{"no such output of an older nix", `[ "$1" = --version ] && echo "nix (Nix) 2.18.1" && exit; echo "error: flake 'path:/x' does not provide attribute 'nixosConfigurations'" >&2; exit 1`, nil, ""},
		{"a broken flake", `[ "$1" = --version ] && echo "nix (Nix) 2.26.3" && exit; echo "error: syntax error" >&2; exit 1`, nil, "syntax error"},
		{"an old nix", `[ "$1" = --version ] && echo "nix (Nix) 2.3.16" && exit; echo "error: no such command" >&2; exit 1`, nil, "2.3.16"},
		{"no list", `echo '{}'`, nil, "read the answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := fakeNix(t, c.script)
			n.Extra = []string{"--impure"}
			got, err := n.Names(t.Context(), "/srv/flake", "nixosConfigurations")
			if !reflect.DeepEqual(got, c.want) || (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, %v", got, err)
			}
			if asked := calls(t, n); !strings.Contains(asked, "/srv/flake#.\n--apply\nflake: builtins.attrNames (flake.nixosConfigurations or { })\n--impure\n") {
				t.Errorf("asked %q", asked)
			}
		})
	}
	if _, err := fakeNix(t, "").Names(t.Context(), "-x", "a"); err == nil {
		t.Error("an option was taken for a flake")
	}
	var tooOld *TooOldError
	if _, err := fakeNix(t, `[ "$1" = --version ] && echo "nix (Nix) 2.3.16" && exit; exit 1`).Names(t.Context(), "/x", "a"); !errors.As(err, &tooOld) {
		t.Errorf("got %v", err)
	}
}
