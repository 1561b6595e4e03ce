package reach

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection that came and went between two looks is told by the kernel.
func TestConnectionsThatEndedAreTold(t *testing.T) {
	ended, err := watchEndings()
	if err != nil {
		t.Fatal(err)
	}
	defer ended.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dialled := conn.LocalAddr().String()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	accepted.Close()
	for deadline := t.Context(); ; {
		for _, s := range ended.read() {
			if s.Remote.String() == dialled && s.Local.String() == l.Addr().String() && s.Reached {
				return
			}
		}
		waitReadable(t, ended.fd)
		if deadline.Err() != nil {
			t.Fatal("the kernel does not tell it")
		}
	}
}

func waitReadable(t *testing.T, fd int) {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	if n == 0 || err != nil && err != unix.EINTR {
		t.Fatalf("the kernel tells nothing: %v", err)
	}
}

func FuzzEnded(f *testing.F) {
	seeds, err := filepath.Glob("testdata/ended-*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no recorded messages: %v", err)
	}
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(parseEnded(text)) != 1 {
			f.Errorf("%s holds no socket", name)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range parseEnded(data) {
			if !s.Local.IsValid() || s.Remote.Port() == 0 {
				t.Errorf("got %+v", s)
			}
		}
	})
}
