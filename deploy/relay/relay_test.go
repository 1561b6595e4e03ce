package relay_test

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
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/relay"
)

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t testing.TB, dial relay.Dial) *relay.Relay {
	t.Helper()
	r, err := relay.Start(deadline(t), dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func socketOf(r *relay.Relay) string { return strings.TrimPrefix(r.StoreURI(), "unix://") }

func connect(t testing.TB, r *relay.Relay) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", socketOf(r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn.(*net.UnixConn)
}

// listen serves each connection to a socket as a Nix daemon does.
func listen(t testing.TB, serve func(*net.UnixConn)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "daemon")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return path
}

// daemon is a dial of a socket that serves each connection.
func daemon(t testing.TB, serve func(*net.UnixConn)) relay.Dial {
	t.Helper()
	path := listen(t, serve)
	return func(ctx context.Context) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", path)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	r := start(t, nil)
	path := socketOf(r)
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", folder.Mode(), err)
	}
	socket, err := os.Stat(path)
	if err != nil || socket.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", socket.Mode(), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// The kernel takes 108 bytes for the path of a socket; TMPDIR may be longer.
func TestLongTemporaryFolder(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	r := start(t, nil)
	if !strings.HasPrefix(socketOf(r), "/tmp/hd-") {
		t.Errorf("socket is %s", socketOf(r))
	}
	if left, err := os.ReadDir(long); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestEndOfDataPassesInBothDirections(t *testing.T) {
	r := start(t, daemon(t, func(conn *net.UnixConn) {
		data, _ := io.ReadAll(conn) // ends only if the end was passed on
		conn.Write(bytes.ToUpper(data))
	}))
	conn := connect(t, r)
	io.WriteString(conn, "hello")
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "HELLO" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if r.Sent() != 5 || r.Received() != 5 || r.Err() != nil {
		t.Errorf("sent %d, received %d, %v", r.Sent(), r.Received(), r.Err())
	}
}

func TestHostMayFinishFirst(t *testing.T) {
	got := make(chan string, 1)
	r := start(t, daemon(t, func(conn *net.UnixConn) {
		io.WriteString(conn, "bye")
		conn.CloseWrite()
		data, _ := io.ReadAll(conn)
		got <- string(data)
	}))
	conn := connect(t, r)
	if answer, err := io.ReadAll(conn); string(answer) != "bye" || err != nil {
		t.Errorf("got %q, %v", answer, err)
	}
	io.WriteString(conn, "late")
	conn.Close()
	if data := <-got; data != "late" {
		t.Errorf("the host got %q", data)
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestManyConnectionsCarryTheirOwnBytes(t *testing.T) {
	r := start(t, daemon(t, func(conn *net.UnixConn) { io.Copy(conn, conn) }))
	const each = 3 << 20
	var clients sync.WaitGroup
	for i := range 8 {
		conn := connect(t, r)
		clients.Go(func() {
			want := bytes.Repeat([]byte{byte(i), byte(i + 1), 0xff}, each/3)
			go func() {
				conn.Write(want)
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
				t.Errorf("connection %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	clients.Wait()
	if want := int64(8 * each); r.Sent() != want || r.Received() != want {
		t.Errorf("sent %d, received %d, want %d", r.Sent(), r.Received(), want)
	}
}

func TestDialFailureIsKept(t *testing.T) {
	refused := errors.New("no daemon there")
	r := start(t, func(context.Context) (net.Conn, error) { return nil, refused })
	if _, err := connect(t, r).Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("got %v", err)
	}
	if !errors.Is(r.Err(), refused) {
		t.Errorf("got %v", r.Err())
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

// brokenConn fails in one direction as a lost SSH connection does.
type brokenConn struct {
	net.Conn
	read, write error
}

func (b brokenConn) Read(buffer []byte) (int, error) {
	if b.read != nil {
		return 0, b.read
	}
	return b.Conn.Read(buffer)
}

func (b brokenConn) Write(data []byte) (int, error) {
	if b.write != nil {
		return 0, b.write
	}
	return b.Conn.Write(data)
}

func TestTransferFailureIsKept(t *testing.T) {
	lost := errors.New("connection lost")
	for name, broken := range map[string]brokenConn{"receiving": {read: lost}, "sending": {write: lost}} {
		t.Run(name, func(t *testing.T) {
			dial := daemon(t, func(conn *net.UnixConn) { io.Copy(io.Discard, conn) })
			r := start(t, func(ctx context.Context) (net.Conn, error) {
				conn, err := dial(ctx)
				broken.Conn = conn
				return broken, err
			})
			conn := connect(t, r)
			conn.Write([]byte("data"))
			io.ReadAll(conn)
			r.Close()
			if !errors.Is(r.Err(), lost) {
				t.Errorf("got %v", r.Err())
			}
		})
	}
}

// When Nix is interrupted, its end of the socket breaks; that is not a fault
// of the host.
func TestNixGoingAwayIsNoFault(t *testing.T) {
	gone := make(chan struct{})
	r := start(t, daemon(t, func(conn *net.UnixConn) {
		for {
			if _, err := conn.Write(make([]byte, 1<<16)); err != nil {
				close(gone)
				return
			}
		}
	}))
	conn := connect(t, r)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-gone
	r.Close()
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestContextAndCloseEndEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, byContext := range map[string]bool{"close": false, "context": true} {
		ctx, cancel := context.WithCancel(deadline(t))
		served := make(chan struct{})
		r, err := relay.Start(ctx, daemon(t, func(conn *net.UnixConn) {
			conn.Write([]byte("x"))
			io.Copy(io.Discard, conn)
			close(served)
		}))
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, r)
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if byContext {
			cancel()
		} else {
			r.Close()
		}
		<-served
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the connection lives on", name)
		}
		r.Close()
		cancel()
		if r.Err() != nil {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
	for range 500 {
		if runtime.NumGoroutine() <= before+2 { // the two daemons still listen
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}
