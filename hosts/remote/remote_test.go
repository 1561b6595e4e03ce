package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// setup starts a server that admits a fresh key, and returns a target that
// reaches it and depends on nothing of the machine the test runs on.
func setup(t testing.TB, options remotetest.Options) (*remotetest.Server, remote.Target) {
	t.Helper()
	path, public := keyFile(t, "id_test")
	options.Authorized = append(options.Authorized, public)
	server := remotetest.Start(t, options)
	return server, targetOf(t, server, path)
}

func targetOf(t testing.TB, server *remotetest.Server, identity string) remote.Target {
	t.Helper()
	t.Setenv("SSH_AUTH_SOCK", "")
	return remote.Target{
		Host: "web1", Address: server.Address(), Port: server.Port(), User: "root",
		HostKeys: server.HostKeyLines(), IdentityFiles: []string{identity},
		DefaultIdentityFiles: []string{}, KnownHostsFiles: []string{},
		ConnectTimeout: 10 * time.Second,
	}
}

func dial(t testing.TB, target remote.Target) *remote.Conn {
	t.Helper()
	conn, err := remote.Dial(deadline(t), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// wantError checks kind, and that message and hint contain the given parts.
func wantError(t *testing.T, err error, kind remote.Kind, parts ...string) *remote.Error {
	t.Helper()
	var fault *remote.Error
	if !errors.As(err, &fault) {
		t.Fatalf("got %v (%T), want a *remote.Error", err, err)
	}
	if fault.Kind != kind {
		t.Errorf("kind is %s, want %s: %v", fault.Kind, kind, err)
	}
	if strings.Contains(fault.Error(), "\n") {
		t.Errorf("the message has several lines: %q", fault.Error())
	}
	whole := fault.Error() + "\n" + fault.Hint
	for _, part := range parts {
		if !strings.Contains(whole, part) {
			t.Errorf("message lacks %q:\n%s", part, whole)
		}
	}
	return fault
}

func TestRunReturnsOutputAndCode(t *testing.T) {
	server, target := setup(t, remotetest.Options{Banner: "Authorized use only\n"})
	conn := dial(t, target)
	result, err := conn.Run(deadline(t), []string{"sh", "-c", "cat; echo problem >&2; exit 7"}, strings.NewReader("input"))
	if err != nil {
		t.Fatal(err)
	}
	if string(result.Stdout) != "input" || string(result.Stderr) != "problem\n" || result.Code != 7 || result.Truncated {
		t.Errorf("got %+v", result)
	}
	if got := server.Cipher.Load(); got != ssh.CipherAES128GCM {
		t.Errorf("cipher is %v", got)
	}
}

func TestRunReportsSignals(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	result, err := dial(t, target).Run(deadline(t), []string{"exec", "sh", "-c", "kill -KILL $$"}, nil)
	if err != nil || result.Signal != "KILL" || result.Code != 137 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestRunKeepsOnlyTheFirstOutput(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	result, err := dial(t, target).Run(deadline(t), []string{"sh", "-c", "head -c 9000000 /dev/zero; head -c 300000 /dev/zero >&2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Stdout) != 8<<20 || len(result.Stderr) != 256<<10 || !result.Truncated {
		t.Errorf("kept %d and %d bytes, truncated %v", len(result.Stdout), len(result.Stderr), result.Truncated)
	}
}

func TestRunDoesNotNeedItsInputRead(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	result, err := dial(t, target).Run(deadline(t), []string{"true"}, bytes.NewReader(make([]byte, 8<<20)))
	if err != nil || result.Code != 0 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestStartIsABidirectionalStream(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	var stderr bytes.Buffer
	p, err := dial(t, target).Start(deadline(t), []string{"sh", "-c", "echo ready >&2; exec cat"}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 5)
	for _, word := range []string{"first", "again"} {
		io.WriteString(p, word)
		if _, err := io.ReadFull(p, buffer); err != nil || string(buffer) != word {
			t.Fatalf("got %q, %v", buffer, err)
		}
	}
	p.CloseWrite()
	if rest, err := io.ReadAll(p); len(rest) != 0 || err != nil {
		t.Errorf("rest is %q, %v", rest, err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("got %+v, %v", exit, err)
	}
	if stderr.String() != "ready\n" {
		t.Errorf("stderr is %q", stderr.String())
	}
}

func TestNoiseOfTheShellPassesThrough(t *testing.T) {
	_, target := setup(t, remotetest.Options{Noise: "Welcome!\n"})
	result, err := dial(t, target).Run(deadline(t), []string{"echo", "answer"}, nil)
	if err != nil || string(result.Stdout) != "Welcome!\nanswer\n" {
		t.Errorf("got %q, %v", result.Stdout, err)
	}
}

func TestContextEndsACommand(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	conn := dial(t, target)
	ctx, cancel := context.WithCancel(context.Background())
	p, err := conn.Start(ctx, []string{"exec", "sh", "-c", "echo $$; exec sleep 1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := make([]byte, 16)
	n, err := p.Read(pid)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = p.Wait()
	wantError(t, err, remote.Canceled, "web1: stop")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not match context.Canceled", err)
	}
	process := "/proc/" + strings.TrimSpace(string(pid[:n]))
	for range 500 {
		if _, err := os.Stat(process); err != nil {
			if _, err := conn.Run(deadline(t), []string{"true"}, nil); err != nil {
				t.Errorf("the connection did not survive: %v", err)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the command was not killed")
}

func TestElevated(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	target.Elevation = []string{"sudo", "-n", "--"}
	conn := dial(t, target)
	argv := make([]string, 1, 10)
	argv[0] = "id"
	if got := strings.Join(conn.Elevated(argv), " "); got != "sudo -n -- id" {
		t.Errorf("got %q", got)
	}
}

func TestDialUnix(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		peer, err := listener.Accept()
		if err != nil {
			return
		}
		defer peer.Close()
		data, _ := io.ReadAll(peer) // the end of the data must arrive
		peer.Write(bytes.ToUpper(data))
	}()
	stream, err := dial(t, target).DialUnix(deadline(t), path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(stream, "hello")
	if err := stream.(*remote.Stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(stream); string(got) != "HELLO" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

func TestDialUnixRefused(t *testing.T) {
	for name, options := range map[string]remotetest.Options{"off": {NoStreamlocal: true}, "no socket": {}} {
		t.Run(name, func(t *testing.T) {
			_, target := setup(t, options)
			_, err := dial(t, target).DialUnix(deadline(t), "/nonexistent/socket")
			wantError(t, err, remote.ForwardingOff, "/nonexistent/socket", "allowstreamlocalforwarding")
			if !errors.Is(err, remote.ErrForwardingOff) {
				t.Errorf("%v does not match ErrForwardingOff", err)
			}
		})
	}
}

func TestCommandsRefused(t *testing.T) {
	_, target := setup(t, remotetest.Options{NoCommands: true})
	_, err := dial(t, target).Run(deadline(t), []string{"true"}, nil)
	wantError(t, err, remote.CommandRefused, "web1: start true", "ssh -p")
}

func TestConnectionCutDuringACommand(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	conn := dial(t, target)
	p, err := conn.Start(deadline(t), []string{"sh", "-c", "echo started; exec sleep 1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	server.Cut()
	_, err = p.Read(make([]byte, 8))
	wantError(t, err, remote.Lost, "web1: ")
	_, err = p.Wait()
	wantError(t, err, remote.Lost, "web1: the connection ended", "ssh -p")
	<-conn.Done()
	wantError(t, conn.Err(), remote.Lost)
	_, err = conn.DialUnix(deadline(t), "/tmp/x")
	wantError(t, err, remote.Lost)
}

func TestKeepaliveNoticesAStalledHost(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.Keepalive = 20 * time.Millisecond
	conn := dial(t, target)
	if _, err := conn.Run(deadline(t), []string{"sleep", "0.2"}, nil); err != nil {
		t.Fatalf("a quiet command ended the connection: %v", err)
	}
	if server.Keepalives.Load() == 0 {
		t.Error("no keepalive arrived")
	}
	p, err := conn.Start(deadline(t), []string{"sleep", "1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.Stall()
	select {
	case <-conn.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the stall was not noticed")
	}
	wantError(t, conn.Err(), remote.Lost, "the host has not answered for 80ms")
	_, err = p.Wait()
	wantError(t, err, remote.Lost, "has not answered")
}

// A context must end a wait even if the host says nothing any more, and what
// still waits for the host must not touch the caller's buffers.
func TestContextEndsAWaitForAStalledHost(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	conn := dial(t, target)
	server.Stall()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := conn.Run(ctx, []string{"true"}, nil)
	wantError(t, err, remote.Canceled)
	_, err = conn.DialUnix(ctx, "/tmp/x")
	wantError(t, err, remote.Canceled)
}

func TestCloseLeavesNoGoroutines(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	before := runtime.NumGoroutine()
	for range 3 {
		conn, err := remote.Dial(deadline(t), target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Run(deadline(t), []string{"true"}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Start(deadline(t), []string{"sleep", "1000"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := conn.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	server.Close()
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}
