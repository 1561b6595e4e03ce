package profiles

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestValidStorePath(t *testing.T) {
	const hash = "0123456789abcdfghijklmnpqrsvwxyz"
	for path, want := range map[string]bool{
		"/nix/store/" + hash + "-nixos-system-web1-25.05":     true,
		"/nix/store/" + hash + "-a":                           true,
		"/nix/store/" + hash + "-a+b-c._d?e=f":                true,
		"/nix/store/" + hash + "-" + strings.Repeat("a", 211): true,

		"/nix/store/" + hash + "-" + strings.Repeat("a", 212): false,
		"":                                    false,
		"/":                                   false,
		"/nix/store":                          false,
		"/nix/store/":                         false,
		"/nix/store/" + hash:                  false,
		"/nix/store/" + hash + "-":            false,
		"/nix/store/" + hash[1:] + "-a":       false,
		"/nix/store/0" + hash + "-a":          false,
		"/nix/store/" + "e" + hash[1:] + "-a": false,
		"/nix/store/" + "O" + hash[1:] + "-a": false,
		"/nix/store/" + strings.ToUpper(hash) + "-a":           false,
		"/nix/store/" + hash + "-a/bin":                        false,
		"/nix/store/" + hash + "-a/..":                         false,
		"/nix/store/" + hash + "-../../etc":                    false,
		"/nix/store/../store/" + hash + "-a":                   false,
		"//nix/store/" + hash + "-a":                           false,
		" /nix/store/" + hash + "-a":                           false,
		"/nix/store/" + hash + "-a\n":                          false,
		"/nix/store/" + hash + "-a\n/nix/store/" + hash + "-b": false,
		"/nix/store/" + hash + "-a b":                          false,
		"/nix/store/" + hash + "-a;reboot":                     false,
		"/nix/store/" + hash + "-$(reboot)":                    false,
		"/nix/store/" + hash + "-a\x00":                        false,
		"/nix/store/" + hash + "-ä":                            false,
		"/nix/store/" + hash + "-%n":                           false,
		"--option":                                             false,
	} {
		if ValidStorePath(path) != want {
			t.Errorf("ValidStorePath(%q) = %v", path, !want)
		}
	}
}

// set is a profile called system with generations; each points at a directory
// of its own called by its number.
func set(t *testing.T, current int, numbers ...int) (profile string) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range numbers {
		addGeneration(t, dir, n, fmt.Sprint("store-", n))
	}
	profile = filepath.Join(dir, "system")
	if err := os.Symlink(fmt.Sprintf("system-%d-link", current), profile); err != nil {
		t.Fatal(err)
	}
	return profile
}

func addGeneration(t *testing.T, dir string, n int, path string) {
	t.Helper()
	path = filepath.Join(dir, path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, fmt.Sprintf("system-%d-link", n))); err != nil {
		t.Fatal(err)
	}
}

// links are the links beside a profile, the profile itself with its target.
func links(t *testing.T, profile string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(profile))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		switch {
		case e.Name() == "system":
			target, _ := os.Readlink(profile)
			names = append(names, "system="+target)
		case e.Type()&os.ModeSymlink != 0:
			names = append(names, e.Name())
		}
	}
	return names
}

func TestCurrent(t *testing.T) {
	profile := set(t, 12, 11, 12, 13)
	got, err := Current(profile)
	if err != nil || got.Link != "system-12-link" || got.Number != 12 || filepath.Base(got.Path) != "store-12" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := Current(filepath.Join(t.TempDir(), "system")); err != nil || got != (Generation{}) {
		t.Errorf("no profile: %+v, %v", got, err)
	}
}

func TestCurrentRefusesWhatIsNoGeneration(t *testing.T) {
	for _, target := range []string{"store-12", "other-12-link", "system-0-link", "system--3-link", "system-12", "system-x-link", "system-link", "system-99-link"} {
		t.Run(target, func(t *testing.T) {
			profile := set(t, 12, 12)
			if err := os.Remove(profile); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, profile); err != nil {
				t.Fatal(err)
			}
			// What the link names exists, except for the last one.
			if target != "store-12" && target != "system-99-link" {
				if err := os.Symlink("store-12", filepath.Join(filepath.Dir(profile), target)); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := Current(profile); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "system")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Current(file); err == nil {
		t.Error("a file is no profile")
	}
}

func TestNewest(t *testing.T) {
	profile := set(t, 9, 2, 9, 10)
	dir := filepath.Dir(profile)
	for _, other := range []string{"other-99-link", "system-x-link", "system-77", "per-user-system-88-link"} {
		if err := os.Symlink("store-2", filepath.Join(dir, other)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Newest(profile); err != nil || got != 10 {
		t.Errorf("got %d, %v", got, err)
	}
	if got, err := Newest(filepath.Join(dir, "none", "system")); err != nil || got != 0 {
		t.Errorf("no profile: %d, %v", got, err)
	}
}

func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name     string
		to, made string
		want     string
	}{
		{"to the recorded one, the made one goes", "system-11-link", "system-13-link", "system=system-11-link system-11-link system-12-link"},
		{"nothing was made", "system-11-link", "", "system=system-11-link system-11-link system-12-link system-13-link"},
		{"the made one is the recorded one", "system-13-link", "system-13-link", "system=system-13-link system-11-link system-12-link system-13-link"},
		{"the made one is gone already", "system-12-link", "system-14-link", "system=system-12-link system-11-link system-12-link system-13-link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			profile := set(t, 13, 11, 12, 13)
			to := Generation{Link: c.to, Path: filepath.Join(filepath.Dir(profile), "store-"+c.to[7:9])}
			for range 2 { // after a crash it is done again
				if err := Restore(profile, to, c.made); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(links(t, profile), " "); got != c.want {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	for _, c := range []struct{ name, to, made string }{
		{"nothing recorded", "", ""},
		{"a foreign link", "other-3-link", ""},
		{"a path", "../../etc/passwd", ""},
		{"a path that ends well", "system-../x-link", ""},
		{"to remove a path", "system-12-link", "../system-13-link"},
		{"to remove a file", "system-12-link", "keep"},
		{"to remove a foreign generation", "system-12-link", "other-1-link"},
		{"to remove the profile", "system-12-link", "system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			profile := set(t, 12, 11, 12)
			dir := filepath.Dir(profile)
			for _, other := range []string{"keep", "other-1-link", "other-3-link"} {
				if err := os.Symlink("store-11", filepath.Join(dir, other)); err != nil {
					t.Fatal(err)
				}
			}
			before := links(t, profile)
			if err := Restore(profile, Generation{Link: c.to, Path: filepath.Join(dir, "store-12")}, c.made); err == nil {
				t.Error("no error")
			}
			if got := links(t, profile); !slices.Equal(got, before) {
				t.Errorf("changed to %v from %v", got, before)
			}
		})
	}
}

// Somebody collected garbage meanwhile: the system itself is kept by a root, so
// that its link can be made again. The profile must never point at nothing.
func TestRestoreToAGenerationWhoseLinkIsGone(t *testing.T) {
	profile := set(t, 13, 12, 13)
	to := Generation{Link: "system-12-link", Number: 12, Path: filepath.Join(filepath.Dir(profile), "store-12")}
	if err := os.Remove(filepath.Join(filepath.Dir(profile), to.Link)); err != nil {
		t.Fatal(err)
	}
	if err := Restore(profile, to, "system-13-link"); err != nil {
		t.Fatal(err)
	}
	if got, err := Current(profile); err != nil || got != to {
		t.Errorf("got %+v, %v", got, err)
	}
}

// toplevel has a nix-env that is a shell script; $2 is the profile, $4 the path.
func toplevel(t *testing.T, script string) string {
	t.Helper()
	top := t.TempDir()
	if err := os.MkdirAll(filepath.Join(top, "sw/bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "sw/bin/nix-env"), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return top
}

func TestSetNeedsNoNixEnv(t *testing.T) {
	// As nix-env does, the newest generation is taken again if it is of the path.
	for path, number := range map[string]int{"store-12": 12, "store-11": 13} {
		profile := set(t, 11, 11, 12)
		path = filepath.Join(filepath.Dir(profile), path)
		got, err := Set(context.Background(), t.TempDir(), profile, path)
		if err != nil || got.Number != number || got.Path != path {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestSetWhereTheProfileIsLocked(t *testing.T) {
	t.Setenv("NIX_REMOTE", "daemon")
	profile := set(t, 12, 12)
	release, err := lockProfile(profile)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	path := filepath.Join(filepath.Dir(profile), "store-12")
	log := filepath.Join(t.TempDir(), "log")
	top := toplevel(t, `echo "$* remote=$NIX_REMOTE" > `+log+`
ln -s "$4" "$2-13-link"; ln -sfn system-13-link "$2"`)
	got, err := Set(context.Background(), top, profile, path)
	if err != nil || got.Number != 13 || got.Path != path {
		t.Errorf("got %+v, %v", got, err)
	}
	said, err := os.ReadFile(log)
	if want := "--profile " + profile + " --set " + path + " --option substitute false remote=\n"; err != nil || string(said) != want {
		t.Errorf("called with %q, %v; want %q", said, err, want)
	}
}

func TestSetThatFails(t *testing.T) {
	for name, c := range map[string]struct{ script, bad string }{
		"nix-env fails":       {"echo 'error: no space left' >&2; exit 1", "no space left"},
		"it points elsewhere": {":", "it points at"},
	} {
		t.Run(name, func(t *testing.T) {
			profile := set(t, 12, 12)
			_, err := Set(context.Background(), toplevel(t, c.script), profile, filepath.Join(filepath.Dir(profile), "store-99"))
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Set(context.Background(), t.TempDir(), set(t, 12, 12), "x"); err == nil {
		t.Error("no nix-env, no error")
	}
}
