package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

func here(t *testing.T) *remote.Conn {
	t.Helper()
	return dial(t, remote.Target{Host: "self", Local: true})
}

func TestLocalRun(t *testing.T) {
	conn := here(t)
	result, err := conn.Run(deadline(t), []string{"sh", "-c", `cat; echo "$1" >&2; exit 7`, "sh", "it's \\ odd"}, strings.NewReader("input"))
	if err != nil || result.Code != 7 || string(result.Stdout) != "input" || string(result.Stderr) != "it's \\ odd\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	if result, err = conn.Run(deadline(t), []string{"sh", "-c", "kill -TERM $$"}, nil); err != nil || result.Code != 128+15 {
		t.Errorf("a command that a signal ended: %+v, %v", result, err)
	}
	_, err = conn.Run(deadline(t), []string{"no-such-program"}, nil)
	wantError(t, err, remote.CommandRefused, "self: start no-such-program")
}

// What hdeploy was started with must not reach what runs as root on a host.
func TestLocalCommandsHaveALoginsEnvironment(t *testing.T) {
	t.Setenv("NIX_REMOTE", "unix:///elsewhere")
	t.Setenv("LD_PRELOAD_OF_THE_USER", "x")
	result, err := here(t).Run(deadline(t), []string{"env"}, nil)
	if err != nil || bytes.Contains(result.Stdout, []byte("NIX_REMOTE")) || bytes.Contains(result.Stdout, []byte("LD_PRELOAD")) ||
		!bytes.Contains(result.Stdout, []byte("PATH=/run/wrappers/bin:/run/current-system/sw/bin:")) {
		t.Errorf("got %s, %v", result.Stdout, err)
	}
}

// Ctrl-C goes to all that a terminal runs: the agent must hear from hdeploy, not
// from the terminal, that it is over.
func TestLocalCommandsDoNotHearTheTerminal(t *testing.T) {
	result, err := here(t).Run(deadline(t), []string{"sh", "-c", "kill -INT $$; kill -QUIT $$; kill -HUP $$; echo alive"}, nil)
	if err != nil || string(result.Stdout) != "alive\n" {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestLocalStreams(t *testing.T) {
	conn := here(t)
	p, err := conn.Start(deadline(t), []string{"cat"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p, "there and back")
	if err := p.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(p); err != nil || string(got) != "there and back" {
		t.Errorf("got %q, %v", got, err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("got %+v, %v", exit, err)
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write after the end: %v", err)
	}
}

func TestLocalCommandsEndWithTheirContextAndTheConnection(t *testing.T) {
	conn := here(t)
	ctx, cancel := context.WithCancel(t.Context())
	stopped, err := conn.Start(ctx, []string{"sleep", "1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := conn.Start(deadline(t), []string{"sleep", "1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = stopped.Wait()
	wantError(t, err, remote.Canceled)
	began := time.Now()
	if err := conn.Close(); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if exit, err := closed.Wait(); err != nil || exit.Code != 128+9 {
		t.Errorf("got %+v, %v", exit, err)
	}
	if err := conn.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestLocalDialUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn := here(t)
	stream, err := conn.DialUnix(deadline(t), path)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, ok := stream.(interface{ CloseWrite() error }); !ok {
		t.Error("it cannot be closed in one direction")
	}
	_, err = conn.DialUnix(deadline(t), "/nonexistent/socket")
	wantError(t, err, remote.ForwardingOff, "/nonexistent/socket")
	if conn.IsRoot() != (os.Geteuid() == 0) || !conn.Target().Local {
		t.Error("it does not know who it is")
	}
}
