package probe

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// place is a directory with one file of each type in it.
func place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("twelve bytes"), 0o600),
		os.WriteFile(at("empty"), nil, 0o600),
		os.Chmod(at("file"), 0o640),
		os.Mkdir(at("directory"), 0o700),
		os.Symlink("file", at("link")),
		os.Symlink("nowhere", at("dangling")),
		syscall.Mkfifo(at("fifo"), 0o600),
		os.WriteFile(at("old"), []byte("x"), 0o600),
		os.Chtimes(at("old"), time.Time{}, time.Now().Add(-2*time.Hour)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFile(t *testing.T) {
	dir := place(t)
	none := new(int64)
	five := int64(5)
	me, mine := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getgid())
	for _, c := range []struct {
		name, file     string
		spec           FileSpec
		verdict, class string
		contains       string
	}{
		{"there", "file", FileSpec{}, Pass, "", "mode 0640"},
		{"everything", "file", FileSpec{Type: "file", Mode: "0640", Owner: me, Group: mine, SizeLeast: 12, AgeMost: time.Hour}, Pass, "", ""},
		{"not there", "no", FileSpec{}, Fail, "missing-file", "does not exist"},
		{"below a file", "file/no", FileSpec{}, Fail, "missing-file", ""},
		{"absent", "no", FileSpec{Absent: true}, Pass, "", "does not exist"},
		{"present", "file", FileSpec{Absent: true}, Fail, "present", "it is a file"},
		{"a dangling link is present", "dangling", FileSpec{Absent: true, Follow: true}, Fail, "present", "leads nowhere"},
		{"a dangling link leads to nothing", "dangling", FileSpec{Follow: true}, Fail, "missing-file", "leads nowhere"},
		{"a dangling link is a link", "dangling", FileSpec{Follow: true, Type: symlink}, Pass, "", ""},
		{"directory", "directory", FileSpec{Type: "directory", Mode: "700"}, Pass, "", ""},
		{"socket", "socket", FileSpec{Type: "socket"}, Pass, "", ""},
		{"fifo", "fifo", FileSpec{Type: "fifo"}, Pass, "", ""},
		{"device", "/dev/null", FileSpec{Type: "character-device", Mode: "0666"}, Pass, "", ""},
		{"other type", "directory", FileSpec{Type: "file"}, Fail, "type", "it is a directory"},
		{"followed", "link", FileSpec{Follow: true, Type: "file", Mode: "0640"}, Pass, "", ""},
		{"not followed", "link", FileSpec{Type: "file"}, Fail, "type", "it is a symlink"},
		{"target", "link", FileSpec{Follow: true, Target: "file"}, Pass, "", ""},
		{"other target", "link", FileSpec{Follow: true, Target: "elsewhere"}, Fail, "target", "leads to file"},
		{"target of no link", "file", FileSpec{Target: "elsewhere"}, Fail, "type", ""},
		{"other mode", "file", FileSpec{Mode: "0600"}, Fail, "mode", "0640"},
		{"other owner", "file", FileSpec{Owner: "4294967294"}, Fail, "owner", "id " + me},
		{"other group", "file", FileSpec{Group: "4294967294"}, Fail, "owner", "id " + mine},
		{"unknown owner", "file", FileSpec{Owner: "no-such-user"}, Fail, "unknown-owner", "no user"},
		{"empty", "empty", FileSpec{SizeLeast: 1}, Fail, "empty-file", ""},
		{"empty as wanted", "empty", FileSpec{SizeMost: none}, Pass, "", ""},
		{"too small", "file", FileSpec{SizeLeast: 13}, Fail, "size", "12"},
		{"too large", "file", FileSpec{SizeMost: &five}, Fail, "size", "12"},
		{"old", "old", FileSpec{AgeMost: time.Hour}, Fail, "stale", "2h0m0s ago"},
		{"old enough", "old", FileSpec{AgeLeast: time.Hour}, Pass, "", ""},
		{"too young", "file", FileSpec{AgeLeast: time.Hour}, Fail, "too-young", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := quick(KindFile)
			c.spec.Path = filepath.Join(dir, c.file)
			if filepath.IsAbs(c.file) {
				c.spec.Path = c.file
			}
			s.Ask = &c.spec
			runOne(t, s, newStandIn(t).host(nil)).want(t, c.verdict, c.class, c.contains)
		})
	}
}

// As a normal user a closed directory says nothing of what is in it; nothing is
// closed to root.
func TestFileOfAnother(t *testing.T) {
	dir := place(t)
	if err := os.Chmod(dir, 0o000); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	s := quick(KindFile)
	ask[FileSpec](s).Path = filepath.Join(dir, "file")
	verdict, class := Unknown, "unreadable"
	if os.Geteuid() == 0 {
		verdict, class = Pass, ""
	}
	runOne(t, s, newStandIn(t).host(nil)).want(t, verdict, class, "")
}

func TestFileSinceTrial(t *testing.T) {
	dir := place(t)
	stand := newStandIn(t)
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	minute := &Baseline{BootID: boot, Monotonic: monotonic() - time.Minute.Microseconds()}
	now := &Baseline{BootID: boot, Monotonic: monotonic()}
	for _, c := range []struct {
		name, file string
		baseline   *Baseline
		verdict    string
	}{
		{"written since", "file", minute, Pass},
		{"written before", "old", minute, Fail},
		{"no trial", "old", nil, Pass},
		{"a boot since", "file", &Baseline{BootID: "another", Monotonic: 1 << 60}, Pass},
	} {
		s := quick(KindFile)
		ask[FileSpec](s).Path, ask[FileSpec](s).SinceTrial = filepath.Join(dir, c.file), true
		if r := runOne(t, s, stand.host(c.baseline)); r.Verdict != c.verdict {
			t.Errorf("%s: got %+v", c.name, r)
		}
	}
	// What is written right after the trial began is never older than it.
	for i := range 50 {
		path := filepath.Join(dir, fmt.Sprint(i))
		now.Monotonic = monotonic()
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := quick(KindFile)
		ask[FileSpec](s).Path, ask[FileSpec](s).SinceTrial = path, true
		runOne(t, s, stand.host(now)).want(t, Pass, "", "")
	}
}

// A file system that does not answer must not hold up the probe.
func TestWithinTheDeadline(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	ctx, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer done()
	began := time.Now()
	f := within(ctx, "/away", func() finding {
		<-release
		return finding{}
	})
	if f.verdict != Fail || f.class != "timeout" || time.Since(began) > 5*time.Second {
		t.Errorf("got %+v after %s", f, time.Since(began))
	}
}
