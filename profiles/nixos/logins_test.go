package nixos

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// home is a user's, with the keys that it has.
func home(t *testing.T) (dir string, k keyFile) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, keyFile{User: "ann", Dir: dir, Name: ".ssh/authorized_keys"}
}

func write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

func keep(t *testing.T, k keyFile) keyFile {
	t.Helper()
	kept, err := k.now()
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func TestKeysAreWhatTheyWere(t *testing.T) {
	dir, k := home(t)
	name := filepath.Join(dir, k.Name)
	as := func(text string, mode fs.FileMode) func() {
		return func() { os.RemoveAll(name); write(t, name, text, mode) }
	}
	gone := func() { os.RemoveAll(name) }
	link := func() { os.RemoveAll(name); _ = os.Symlink("/nix/store/keys", name) }
	for _, c := range []struct {
		name          string
		before, trial func()
		changed       bool
	}{
		{"untouched", as("one", 0o640), func() {}, false},
		{"written anew, the same", as("one", 0o640), as("one", 0o640), false},
		{"overwritten", as("one", 0o640), as("two", 0o640), true},
		{"emptied", as("one", 0o600), as("", 0o600), true},
		{"another mode", as("one", 0o600), as("one", 0o666), true},
		{"removed", as("one", 0o600), gone, true},
		{"removed with its directory", as("one", 0o600), func() { os.RemoveAll(filepath.Dir(name)) }, true},
		{"made", gone, as("one", 0o600), true},
		{"still absent", gone, func() {}, false},
		{"a link became a file", link, as("one", 0o600), true},
		{"a file became a link", as("one", 0o600), link, true},
		{"the same link", link, link, false},
		{"a file became a pipe", as("one", 0o600), func() { os.Remove(name); _ = syscall.Mkfifo(name, 0o600) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			c.before()
			was := keep(t, k)
			c.trial()
			if changed, err := was.putBack(); err != nil || changed != c.changed {
				t.Errorf("changed %v, %v", changed, err)
			}
			if is := keep(t, k); !is.is(was) {
				t.Errorf("it was %+v and is %+v", was, is)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".ssh", ".hdeploy-*")); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// Whoever owns the home may make its links point anywhere.
func TestKeysOutsideOfAHomeAreNotTouched(t *testing.T) {
	dir, k := home(t)
	name := filepath.Join(dir, k.Name)
	write(t, name, "one", 0o600)
	was := keep(t, k)

	victim := t.TempDir()
	write(t, filepath.Join(victim, "authorized_keys"), "theirs", 0o600)
	if err := errors.Join(os.RemoveAll(filepath.Dir(name)), os.Symlink(victim, filepath.Dir(name))); err != nil {
		t.Fatal(err)
	}
	if _, err := was.putBack(); err == nil {
		t.Error("it was put back through a link")
	}
	if data, err := os.ReadFile(filepath.Join(victim, "authorized_keys")); err != nil || string(data) != "theirs" {
		t.Errorf("the victim has %q, %v", data, err)
	}
	if kept, err := k.now(); err == nil {
		t.Errorf("what lies outside is kept: %+v", kept)
	}

	// A link in the file's place is replaced, and not written through.
	if err := errors.Join(os.Remove(filepath.Dir(name)), os.Mkdir(filepath.Dir(name), 0o700), os.Symlink(filepath.Join(victim, "authorized_keys"), name)); err != nil {
		t.Fatal(err)
	}
	if changed, err := was.putBack(); !changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if data, _ := os.ReadFile(filepath.Join(victim, "authorized_keys")); string(data) != "theirs" {
		t.Errorf("the victim has %q", data)
	}
}

func TestWhatIsNoFileOfKeysIsNotKept(t *testing.T) {
	dir, k := home(t)
	name := filepath.Join(dir, k.Name)
	for what, put := range map[string]func() error{
		"a pipe":      func() error { return syscall.Mkfifo(name, 0o600) },
		"a directory": func() error { return os.Mkdir(name, 0o700) },
		"a large one": func() error { return os.WriteFile(name, make([]byte, keyLimit+1), 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if kept, err := k.now(); err == nil {
			t.Errorf("%s is kept: %d bytes", what, len(kept.Content))
		}
		os.RemoveAll(name)
	}
}

func TestKeysThatAreKeptAreRootsAloneAndRestoredWithANote(t *testing.T) {
	dir, k := home(t)
	write(t, filepath.Join(dir, k.Name), "one", 0o644)
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
	r := transaction.Record{ID: id}
	if err := h.keepKeys(r); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(h.keysFile(id)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", info, err)
	}
	if users := h.keptKeys(id); !slices.ContainsFunc(users, func(k keyFile) bool { return k.User == "root" }) {
		t.Errorf("root's keys are not kept: %+v", users)
	}
	if err := h.forgetKeys(id); err != nil || len(h.keptKeys(id)) != 0 {
		t.Errorf("not forgotten: %v", err)
	}
	if err := h.restoreKeys(within(t), r, nil); err != nil {
		t.Errorf("nothing was kept: %v", err)
	}
}

func TestLastResortCopiesOnlyWhatRootAloneCanChange(t *testing.T) {
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
	kept := []keyFile{
		{User: "root", Dir: "/root", Name: ".ssh/authorized_keys", Content: []byte("one"), Mode: 0o600, UID: os.Getuid(), GID: os.Getgid()},
		{User: "ann", Dir: "/home/ann", Name: ".ssh/authorized_keys", Content: []byte("two"), Mode: 0o600},
		{User: "ann", Dir: declaredKeys, Name: "ann", Content: []byte("three"), Mode: 0o444, UID: os.Getuid(), GID: os.Getgid()},
		{User: "root", Dir: "/root", Name: ".ssh/authorized_keys2", Absent: true},
		{User: "root", Dir: "/root", Name: ".ssh/keys", Link: "/etc/keys"},
		{User: "root", Dir: "/strange %h/home", Name: ".ssh/authorized_keys", Content: []byte("four"), UID: os.Getuid(), GID: os.Getgid()},
	}
	if err := errors.Join(h.copyRootKeys(id, kept), h.writeKeys(id, kept)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(h.copyBack(transaction.Record{ID: id, Previous: transaction.Previous{Running: "/old"}})), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q", lines)
	}
	for i, to := range []string{"/root/.ssh/authorized_keys", declaredKeys + "/ann"} {
		f := strings.Fields(lines[i])
		if f[0] != "ExecStartPre=-/old/sw/bin/cp" || f[len(f)-1] != to {
			t.Errorf("line %q", lines[i])
		}
		if _, err := os.Stat(f[len(f)-2]); err != nil {
			t.Error(err)
		}
	}
}

func TestKeyPlaces(t *testing.T) {
	var got []string
	for _, k := range keyPlaces([]*user.User{{Username: "ann", HomeDir: "/home/ann"}, {Username: "../x", HomeDir: "/x"}}) {
		got = append(got, filepath.Join(k.Dir, k.Name))
	}
	want := []string{"/home/ann/.ssh/authorized_keys", "/home/ann/.ssh/authorized_keys2", declaredKeys + "/ann", "/x/.ssh/authorized_keys", "/x/.ssh/authorized_keys2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	t.Setenv("SUDO_USER", "root")
	t.Setenv("DOAS_USER", "nobody-of-that-name")
	users := loginUsers()
	if len(users) == 0 || users[0].Username != "root" || slices.ContainsFunc(users[1:], func(u *user.User) bool { return u.Username == "root" }) {
		t.Errorf("users %+v", users)
	}
}
