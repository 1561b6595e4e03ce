package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/deploy/relay"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// host is a real SSH connection to a server that forwards to the daemon.
func host(t testing.TB, serve func(*net.UnixConn)) (*remotetest.Server, *remote.Conn, relay.Dial) {
	t.Helper()
	identity, public := remotetest.NewIdentity(t)
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{public}})
	conn, err := remote.Dial(deadline(t), remote.Target{
		Host: "web1", Address: server.Address(), Port: server.Port(), HostKeys: server.HostKeyLines(),
		IdentityFiles: []string{identity}, AgentSocket: "/nonexistent", DefaultIdentityFiles: []string{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	path := listen(t, serve)
	return server, conn, func(ctx context.Context) (net.Conn, error) { return conn.DialUnix(ctx, path) }
}

func echo(conn *net.UnixConn) {
	io.Copy(conn, conn)
	conn.CloseWrite()
}

func TestThroughSSH(t *testing.T) {
	_, _, dial := host(t, echo)
	r := start(t, dial)
	for range 3 {
		conn := connect(t, r)
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
		go func() {
			conn.Write(want)
			conn.CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

// Nix must not be left with a mere end of file when the host is gone.
func TestLostConnectionIsNamed(t *testing.T) {
	server, _, dial := host(t, echo)
	r := start(t, dial)
	conn := connect(t, r)
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	server.Cut()
	io.ReadAll(conn)
	conn.Close()
	again := connect(t, r)
	io.ReadAll(again)
	var fault *remote.Error
	if !errors.As(r.Err(), &fault) || fault.Kind != remote.Lost || fault.Host != "web1" {
		t.Errorf("got %v", r.Err())
	}
}

func TestClosingTheConnectionEndsTheRelaysStreams(t *testing.T) {
	_, ssh, dial := host(t, echo)
	r := start(t, dial)
	conn := connect(t, r)
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ssh.Close()
	if rest, _ := io.ReadAll(conn); len(rest) != 0 {
		t.Errorf("got %q", rest)
	}
	if !errors.Is(r.Err(), net.ErrClosed) {
		t.Errorf("got %v", r.Err())
	}
}

// BenchmarkSend measures the way of a copy: local socket, relay, SSH, the
// host's socket, all on this machine.
func BenchmarkSend(b *testing.B) {
	_, _, dial := host(b, func(conn *net.UnixConn) {
		io.Copy(io.Discard, conn)
		conn.Write([]byte{1})
	})
	send(b, dial)
}

// BenchmarkRelayAlone leaves SSH out: what the relay itself costs.
func BenchmarkRelayAlone(b *testing.B) {
	send(b, daemon(b, func(conn *net.UnixConn) {
		io.Copy(io.Discard, conn)
		conn.Write([]byte{1})
	}))
}

// send measures how fast a relay takes blocks.
func send(b *testing.B, dial relay.Dial) {
	r := start(b, dial)
	conn := connect(b, r)
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	conn.CloseWrite()
	io.ReadFull(conn, make([]byte, 1))
}
