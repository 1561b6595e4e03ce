package program

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// closure is a directory with files; a name that ends in * is a program.
func closure(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o444)
		if strings.HasSuffix(name, "*") {
			name, mode = strings.TrimSuffix(name, "*"), 0o555
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestValidate(t *testing.T) {
	good := transaction.Program{Profile: "site", User: "www", Kind: Custom, Activate: []string{"bin/apply"}}
	if err := Validate(good); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*transaction.Program){
		"not a profile's name": func(p *transaction.Program) { p.Profile = "../x" },
		"not a user's name":    func(p *transaction.Program) { p.User = "-x" },
		"not a kind":           func(p *transaction.Program) { p.Kind = "nixos" },
		"needs a command":      func(p *transaction.Program) { p.Activate = nil },
		"within the closure":   func(p *transaction.Program) { p.Check = []string{"/bin/true"} },
		"path within":          func(p *transaction.Program) { p.Rollback = []string{"../bin/true"} },
		"control characters":   func(p *transaction.Program) { p.Activate = []string{"bin/apply", "a\nb"} },
		"64 at most":           func(p *transaction.Program) { p.Activate = slices.Repeat([]string{"x"}, 65) },
	} {
		p := good
		change(&p)
		if err := Validate(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWhatEachKindRuns(t *testing.T) {
	custom := transaction.Program{Kind: Custom, Activate: []string{"bin/apply", "now"}, Check: []string{"bin/check"}}
	undoing := custom
	undoing.Rollback = []string{"bin/undo"}
	c := closure(t, map[string]string{"bin/apply*": "", "bin/undo*": "", "bin/check*": "", "activate*": "", "deploy-rs-activate*": ""})
	modern := closure(t, map[string]string{"activate*": "", "gen-version": "1\n"})
	for _, x := range []struct {
		name, action, closure string
		p                     transaction.Program
		want                  []string
	}{
		{"custom", activate, c, custom, []string{"/bin/apply", "now"}},
		{"custom back without a rollback", rollback, c, custom, []string{"/bin/apply", "now"}},
		{"custom back", rollback, c, undoing, []string{"/bin/undo"}},
		{"check", check, c, custom, []string{"/bin/check"}},
		{"no check", check, c, transaction.Program{Kind: HomeManager}, nil},
		{"home-manager that moves its profile", activate, c, transaction.Program{Kind: HomeManager}, []string{"/activate"}},
		{"home-manager", activate, modern, transaction.Program{Kind: HomeManager}, []string{"/activate", "--driver-version", "1"}},
		{"deploy-rs", activate, c, transaction.Program{Kind: DeployRs}, []string{"/deploy-rs-activate"}},
	} {
		got, err := of(x.p, x.action, x.closure, "/home/ann")
		if len(x.want) > 0 {
			x.want[0] = x.closure + x.want[0]
		}
		if err != nil || !slices.Equal(got.argv, x.want) {
			t.Errorf("%s: %q, %v", x.name, got.argv, err)
		}
		if home := x.p.Kind == HomeManager && x.action == activate; home != (got.directory == "/home/ann") {
			t.Errorf("%s: in %s", x.name, got.directory)
		}
		if !slices.Contains(got.environment, "HDEPLOY_ACTION="+x.action) || !slices.Contains(got.environment, "PROFILE="+x.closure) {
			t.Errorf("%s: environment %q", x.name, got.environment)
		}
	}
	if _, err := of(custom, activate, modern, "/"); err == nil || !strings.Contains(err.Error(), "no custom profile: bin/apply") {
		t.Errorf("a closure of another kind: %v", err)
	}
}

func TestWhereTheLinkIs(t *testing.T) {
	home := t.TempDir()
	for _, x := range []struct {
		p    transaction.Program
		want string
	}{
		{transaction.Program{Kind: HomeManager, User: "no-such-user", Profile: "x"}, home + "/.local/state/nix/profiles/home-manager"},
		{transaction.Program{Kind: Custom, User: "no-such-user", Profile: "x"}, home + "/.local/state/nix/profiles/x"},
		{transaction.Program{Kind: Custom, User: "root", Profile: "x"}, "/nix/var/nix/profiles/per-user/root/x"},
		{transaction.Program{Kind: DeployRs, User: "root", Profile: "system"}, ""},
	} {
		got, err := link(x.p, home)
		if got != x.want || (x.want == "") != (err != nil) {
			t.Errorf("%+v: %q, %v", x.p, got, err)
		}
	}
}

// farm is what deploy-rs's buildEnv makes of a base: links beside a script.
func farm(t *testing.T, base, script string, names ...string) string {
	t.Helper()
	dir := closure(t, map[string]string{"deploy-rs-activate*": script})
	for _, name := range names {
		if err := os.Symlink(filepath.Join(base, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBehind(t *testing.T) {
	system := closure(t, map[string]string{"bin/switch-to-configuration*": "", "nixos-version": "25.05", "activate*": ""})
	home := closure(t, map[string]string{"activate*": "", "home-files/.profile": ""})
	mac := closure(t, map[string]string{"activate*": "", "darwin-version": "25.05"})
	plain := closure(t, map[string]string{"bin/hello*": ""})
	wrapper := farm(t, plain, "cd $PROFILE; bin/hello", "bin")
	for _, x := range []struct{ name, closure, kind, path, fault string }{
		{"nixos", farm(t, system, "$PROFILE/bin/switch-to-configuration switch", "bin", "nixos-version", "activate"), NixOS, system, ""},
		{"home-manager", farm(t, home, "$PROFILE/activate", "activate", "home-files"), HomeManager, home, ""},
		{"custom", wrapper, DeployRs, wrapper, ""},
		{"darwin by its version", farm(t, mac, "$PROFILE/activate", "activate", "darwin-version"), "", "", "nix-darwin"},
		{"darwin by its script", farm(t, home, "HOME=/var/root $PROFILE/activate", "activate"), "", "", "nix-darwin"},
		{"no wrapper", system, "", "", "deploy-rs-activate"},
	} {
		kind, path, err := Behind(x.closure)
		if (x.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), x.fault) || kind != x.kind {
			t.Errorf("%s: %s, %v", x.name, kind, err)
		}
		if want, _ := filepath.EvalSymlinks(x.path); x.path != "" && path != x.path && path != want {
			t.Errorf("%s: %s is behind it, not %s", x.name, path, x.path)
		}
	}
}

// What is in trial is noted, until somebody else moves the profile.
func TestWhatRuns(t *testing.T) {
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Link: filepath.Join(t.TempDir(), "home")}
	old, trial, other := closure(t, nil), closure(t, nil), closure(t, nil)
	point := func(number, path string) {
		t.Helper()
		name := "home-" + number + "-link"
		_ = os.Remove(h.Link)
		_ = os.Symlink(path, filepath.Join(filepath.Dir(h.Link), name))
		if err := os.Symlink(name, h.Link); err != nil {
			t.Fatal(err)
		}
	}
	runs := func(when, want string) {
		t.Helper()
		if got, at, err := h.Look(""); got != want || err != nil {
			t.Errorf("%s: runs %q at %+v, %v; want %q", when, got, at, err, want)
		}
	}
	runs("nothing was deployed", "")
	if err := h.begin(trial); err != nil {
		t.Fatal(err)
	}
	runs("the first one is in trial", trial)
	if err := h.over(); err != nil {
		t.Fatal(err)
	}
	point("1", old)
	runs("the first one is there", old)
	if err := h.begin(trial); err != nil {
		t.Fatal(err)
	}
	runs("the second one is in trial", trial)
	point("2", trial)
	runs("its program has moved the profile", trial)
	point("3", other)
	runs("somebody else has moved it", other)
	point("1", old)
	runs("it is back", trial)
	if err := h.over(); err != nil {
		t.Fatal(err)
	}
	runs("the trial is over", old)
	if err := os.WriteFile(h.note(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Look(""); err == nil {
		t.Error("a damaged note is taken for none")
	}
}

// The generations that a transaction made go, and no others.
func TestWhatATransactionHasMade(t *testing.T) {
	dir := t.TempDir()
	h := Host{Link: filepath.Join(dir, "home")}
	old, trial, other := closure(t, nil), closure(t, nil), closure(t, nil)
	for name, path := range map[string]string{"1": trial, "2": old, "3": trial, "4": other, "5": old} {
		if err := os.Symlink(path, filepath.Join(dir, "home-"+name+"-link")); err != nil {
			t.Fatal(err)
		}
	}
	r := transaction.Record{New: trial, Previous: transaction.Previous{Profile: profiles.Generation{Link: "home-2-link", Number: 2, Path: old}, Newest: 2}}
	got := h.made(r)
	slices.Sort(got)
	if want := []string{"home-3-link", "home-5-link"}; !slices.Equal(got, want) {
		t.Errorf("made are %q, want %q", got, want)
	}
}
