package nix

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The strings are what programs and releases print; see also testdata.
func TestParseVersion(t *testing.T) {
	cases := []struct {
		text         string
		flavour      Flavour
		major, minor int
		usable, root bool
	}{
		{"nix (Nix) 2.3.16", CppNix, 2, 3, false, false},
		{"nix (Nix) 2.8.0", CppNix, 2, 8, false, false},
		{"nix (Nix) 2.17.1", CppNix, 2, 17, false, false},
		{"nix (Nix) 2.18.1", CppNix, 2, 18, true, false},
		{"nix (Nix) 2.19.2\n", CppNix, 2, 19, true, true},
		{"nix (Nix) 2.24.14", CppNix, 2, 24, true, true},
		{"nix (Nix) 2.26.3\n", CppNix, 2, 26, true, true},
		{"nix (Nix) 2.28.5", CppNix, 2, 28, true, true},
		{"nix (Nix) 2.31.2", CppNix, 2, 31, true, true},
		{"nix (Nix) 2.34.8", CppNix, 2, 34, true, true},
		{"nix (Nix) 2.30pre20250521_76a4d4c2", CppNix, 2, 30, true, true},
		{"nix (Nix) 2.25.0pre20241014_9a4e1a1", CppNix, 2, 25, true, true},
		{"nix (Nix) 3.0", CppNix, 3, 0, true, true},
		{"nix (Lix, like Nix) 2.90.0-lix", Lix, 2, 90, true, true},
		{"nix (Lix, like Nix) 2.91.1\nSystem type: x86_64-linux", Lix, 2, 91, true, true},
		{"nix (Lix, like Nix) 2.93.3", Lix, 2, 93, true, true},
		{"nix (Lix, like Nix) 2.95.2", Lix, 2, 95, true, true},
		{"nix (Lix, like Nix) 2.94.0-dev-pre20250807-ab12cd3", Lix, 2, 94, true, true},
		{"nix (Lix, like Nix) 2.18.3-lix", Lix, 2, 18, true, true},
		{"nix (Determinate Nix 3.4.1) 2.28.2", Determinate, 2, 28, true, true},
		{"nix (Determinate Nix 3.6.6) 2.29.0", Determinate, 2, 29, true, true},
		{"nix (Determinate Nix 3.15.1) 2.33.0", Determinate, 2, 33, true, true},
		{"nix (Determinate Nix 3.21.9) 2.34.8", Determinate, 2, 34, true, true},
		{"nix (Determinate Nix 3.6.6) 2.17.0", Determinate, 2, 17, false, false},
		// builtins.nixVersion
		{"2.26.3", CppNix, 2, 26, true, true},
		{"2.18.3-lix", Lix, 2, 18, true, true},
		{"2.18", CppNix, 2, 18, true, false},
	}
	for _, c := range cases {
		v, err := parseVersion(c.text)
		if err != nil || v.Flavour != c.flavour || v.Major != c.major || v.Minor != c.minor || v.Usable() != c.usable || v.hasRootFragment() != c.root {
			t.Errorf("%q: %+v, %v", c.text, v, err)
		}
	}
	for _, text := range []string{"", "nix", "nix (Nix)", "2", "v2.18", "nix (Nix) 99999.1", "nix (Nix) 2.18.1 extra", "nix: command not found"} {
		if v, err := parseVersion(text); err == nil {
			t.Errorf("%q: %+v", text, v)
		}
	}
}

func TestTooOldSaysWhatIsThereAndWhatIsNeeded(t *testing.T) {
	v, err := parseVersion("nix (Nix) 2.8.0")
	if err != nil {
		t.Fatal(err)
	}
	if text := (&TooOldError{Have: v}).Error(); !strings.Contains(text, "nix (Nix) 2.8.0") || !strings.Contains(text, "2.18 or newer") {
		t.Error(text)
	}
}

// What each version printed of its own accord is read.
func TestRecordedAnswers(t *testing.T) {
	for _, version := range []string{"2.26", "2.34"} {
		read := func(name string) []byte {
			data, err := os.ReadFile(filepath.Join("testdata", version, name))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		v, err := parseVersion(string(read("version.txt")))
		if err != nil || !strings.HasPrefix(version, "2.") || v.Flavour != CppNix || !v.Usable() {
			t.Errorf("%s: %+v, %v", version, v, err)
		}
		sizes, err := parseSizes(read("path-info.txt"))
		if err != nil || len(sizes) != 5 || sizes.Total() == 0 {
			t.Errorf("%s: %v, %v", version, sizes, err)
		}
		for file, want := range map[string]bool{"config.json": false, "config-signs.json": true} {
			if signs, err := parseSigns(read(file)); err != nil || signs != want {
				t.Errorf("%s: %s: %v, %v", version, file, signs, err)
			}
		}
	}
}

func TestSigns(t *testing.T) {
	for text, want := range map[string]bool{
		`{"secret-key-files":{"value":[]}}`:     false,
		`{"secret-key-files":{"value":["/k"]}}`: true,
		`{"secret-key-files":{"value":""}}`:     false,
		`{"secret-key-files":{"value":"/k"}}`:   true,
		`{"cores":{"value":3}}`:                 false,
		`{"secret-key-files":{"value":null}}`:   false,
	} {
		if got, err := parseSigns([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "[]", `{"secret-key-files":{"value":3}}`, `{"secret-key-files":[]}`} {
		if _, err := parseSigns([]byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

// Before 2.20 the command had another name.
func TestSignsWithOldNix(t *testing.T) {
	n := fakeNix(t, `case "$*" in *"config show --json") echo "error: 'config' is not a recognised command" >&2; exit 1;; esac
echo '{"secret-key-files":{"value":["/k"]}}'`)
	if signs, err := n.Signs(t.Context()); err != nil || !signs {
		t.Errorf("%v, %v", signs, err)
	}
	n = fakeNix(t, "exit 1")
	var failed *Error
	if _, err := n.Signs(t.Context()); !errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
}

func TestThrough(t *testing.T) {
	uri, err := Through("/tmp/hd-1/join", "__join", "/tmp/hd-1/s")
	if want := "ssh-ng://localhost?remote-program=%2Ftmp%2Fhd-1%2Fjoin%20__join%20%2Ftmp%2Fhd-1%2Fs"; err != nil || uri != want {
		t.Errorf("%s, %v", uri, err)
	}
	for _, word := range []string{"", "a b", "a;b", "a'b", `a"b`, "a$b", "a&b", "a?b", "a%b", "a\nb", "ä"} {
		if uri, err := Through("/x", word); err == nil {
			t.Errorf("%q: %s", word, uri)
		}
	}
}
