package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// only fails unless dir holds exactly these names: no temporary file is left.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, names)
	}
}

func TestWriteReplacesTheWholeFileAndItsMode(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for _, step := range []struct {
		text string
		mode os.FileMode
	}{{"a longer first text", 0o644}, {"second", 0o600}, {"", 0o640}} {
		if err := Write(name, []byte(step.text), step.mode); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil || string(data) != step.text {
			t.Errorf("read %q, %v", data, err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != step.mode {
			t.Errorf("mode %v, %v; want %v whatever the umask", info.Mode(), err, step.mode)
		}
	}
	only(t, dir, "file")
}

func TestWriteDoesNotFollowALink(t *testing.T) {
	dir := t.TempDir()
	target, name := filepath.Join(dir, "target"), filepath.Join(dir, "name")
	if err := errors.Join(os.WriteFile(target, []byte("theirs"), 0o600), os.Symlink(target, name)); err != nil {
		t.Fatal(err)
	}
	if err := Write(name, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(target); err != nil || string(data) != "theirs" {
		t.Errorf("the target holds %q, %v", data, err)
	}
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAFailureLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full", "of")
	if err := os.MkdirAll(full, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"file over a directory": Write(filepath.Join(dir, "full"), []byte("x"), 0o600),
		"link over a directory": Symlink("x", filepath.Join(dir, "full")),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	only(t, dir, "full")
	for what, err := range map[string]error{
		"file":   Write(filepath.Join(dir, "none", "file"), nil, 0o600),
		"link":   Symlink("x", filepath.Join(dir, "none", "link")),
		"folder": SyncDir(filepath.Join(dir, "none")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s where there is no directory: %v", what, err)
		}
	}
}

// A full disk is told apart by its callers, which then write elsewhere.
func TestAFailureCanBeToldApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(file, "below"), nil, 0o600); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v", err)
	}
}

// A reader that looks at any instant sees a whole file and a whole link.
func TestReadersSeeTheOldOrTheNew(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	texts := []string{strings.Repeat("a", 1<<16), strings.Repeat("b", 1<<10)}
	set := func(i int) error {
		return errors.Join(Write(name, []byte(texts[i%2]), 0o600), Symlink(texts[i%2][:5], link))
	}
	if err := set(0); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			data, err := os.ReadFile(name)
			if err != nil || string(data) != texts[0] && string(data) != texts[1] {
				t.Errorf("read %d bytes, %v", len(data), err)
				return
			}
			target, err := os.Readlink(link)
			if err != nil || target != "aaaaa" && target != "bbbbb" {
				t.Errorf("link %q, %v", target, err)
				return
			}
		}
	})
	for i := range 50 {
		if err := set(i); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
	only(t, dir, "file", "link")
}

func TestSymlinkReplacesAFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Symlink("system-12-link", name); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(name); err != nil || got != "system-12-link" {
		t.Errorf("%q, %v", got, err)
	}
	only(t, dir, "name")
}
