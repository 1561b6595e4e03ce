package nix

import (
	"strings"
	"testing"
)

// What nix flake metadata --json of 2.26 prints of a committed, a dirty, an
// unborn, and no repository.
func TestParseRevision(t *testing.T) {
	const commit = "09e914b7f8faacb54ff6906541bb78ac899aa224"
	for name, c := range map[string]struct {
		output string
		want   Revision
	}{
		"committed":      {`{"locked":{"rev":"` + commit + `"},"resolvedUrl":"git+file:///etc/nixos","revCount":1,"revision":"` + commit + `"}`, Revision{Commit: commit}},
		"dirty":          {`{"dirtyRevision":"` + commit + `-dirty","resolvedUrl":"git+file:///etc/nixos"}`, Revision{Commit: commit, Dirty: true}},
		"dirty, no name": {`{"resolvedUrl":"git+file:///etc/nixos"}`, Revision{Dirty: true}},
		"unborn":         {`{"dirtyRevision":"` + strings.Repeat("0", 40) + `-dirty","resolvedUrl":"git+file:///etc/nixos"}`, Revision{Dirty: true}},
		"no repository":  {`{"resolvedUrl":"path:/etc/nixos"}`, Revision{}},
		"remote":         {`{"resolvedUrl":"github:example/fleet","revision":"` + commit + `"}`, Revision{Commit: commit}},
		"hostile":        {`{"revision":"\u001b[31mred"}`, Revision{}},
	} {
		if got, err := parseRevision([]byte(c.output)); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	if _, err := parseRevision([]byte("not json")); err == nil {
		t.Error("what is no JSON is taken")
	}
}

func TestRevisionRefusesWhatIsNoFlake(t *testing.T) {
	for _, flake := range []string{"", "--help", "/flake#web1"} {
		if _, err := (&Nix{Program: "/bin/false"}).Revision(t.Context(), flake); err == nil {
			t.Errorf("%q is taken for a flake", flake)
		}
	}
}
