package relay

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func startEcho(t *testing.T) *Relay {
	t.Helper()
	r, err := Start(t.Context(), func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			line := make([]byte, 4)
			if _, err := io.ReadFull(there, line); err == nil {
				_, _ = there.Write(bytes.ToUpper(line))
			}
		}()
		return here, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// The daemon's end ends it, while whoever writes keeps its side open.
func TestJoin(t *testing.T) {
	r := startEcho(t)
	in, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = writer.Write([]byte("ping")) }()
	var out bytes.Buffer
	if err := Join(t.Context(), r.Socket(), in, &out); err != nil || out.String() != "PING" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	r := startEcho(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in, writer := io.Pipe()
	defer writer.Close()
	if err := Join(ctx, r.Socket(), in, io.Discard); err != nil {
		t.Error(err)
	}
	if err := Join(t.Context(), r.Socket()+"-none", in, io.Discard); err == nil {
		t.Error("nobody listens there")
	}
}

func TestLink(t *testing.T) {
	r := startEcho(t)
	for range 2 {
		path, err := r.Link("/usr/bin/a program")
		if err != nil {
			t.Fatal(err)
		}
		if target, err := os.Readlink(path); err != nil || target != "/usr/bin/a program" || unplain(path) {
			t.Errorf("%s leads to %q: %v", path, target, err)
		}
	}
}

// Neither the URI of a store nor a shell may read something else into the path.
func TestSocketHasAPlainPath(t *testing.T) {
	dir := t.TempDir() + "/a b?c"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	r := startEcho(t)
	if unplain(r.Socket()) || strings.Contains(r.StoreURI(), " ") {
		t.Errorf("the socket is %s", r.Socket())
	}
}
