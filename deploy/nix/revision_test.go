package nix

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseRevision(t *testing.T) {
	for name, want := range map[string]Revision{
		"clean": {Commit: "6942b00a3d697784c5b3a78bdef0c782937fce3f"},
		"dirty": {Commit: "6942b00a3d697784c5b3a78bdef0c782937fce3f", Dirty: true},
		"path":  {}, "no-commit": {},
	} {
		output, err := os.ReadFile(filepath.Join("testdata/2.26", "metadata-"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseRevision(output); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	for _, hostile := range []string{`{"revision":"\u001b[2J"}`, `{"revision":"main"}`, `{"dirtyRevision":"-dirty"}`, `{"dirtyRevision":"x-dirty"}`} {
		if got, err := parseRevision([]byte(hostile)); err != nil || got != (Revision{}) {
			t.Errorf("%s: got %+v, %v", hostile, got, err)
		}
	}
	if _, err := parseRevision([]byte("warning")); err == nil {
		t.Error("what is no JSON is read")
	}
}
