package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"
)

// delayed starts handle behind a proxy and returns a connection to it.
func delayed(t *testing.T, rtt time.Duration, handle func(net.Conn)) (client *net.TCPConn, stop func()) {
	t.Helper()
	listen := func() net.Listener {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		return listener
	}
	server := listen()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			handle(conn)
			_ = conn.Close()
		}
	}()
	proxy := listen()
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", server.Addr().String())
	}
	stop = startDelay(t.Context(), proxy, dial, rtt)
	t.Cleanup(stop)
	conn, err := net.Dial("tcp4", proxy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), stop
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

func TestDelayAddsOneRoundTripPerExchange(t *testing.T) {
	const rtt = 60 * time.Millisecond
	client, _ := delayed(t, rtt, echo)
	ask := func() time.Duration {
		start := time.Now()
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	// The first exchange waits for the handshake: connected after one round trip, asked
	// and answered in the next.
	if took := ask(); took < 2*rtt {
		t.Errorf("the first exchange took %v, want at least %v", took, 2*rtt)
	}
	for range 3 {
		if took := ask(); took < rtt || took > 2*rtt {
			t.Errorf("an exchange took %v, want about %v", took, rtt)
		}
	}
}

func TestDelayLimitsNoThroughput(t *testing.T) {
	const rtt = 100 * time.Millisecond
	sent := make([]byte, 32<<20)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	client, _ := delayed(t, rtt, echo)
	start := time.Now()
	go func() {
		_, _ = client.Write(sent)
		_ = client.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, and not the same ones", len(got))
	}
	// One chunk per round trip would take 51 s.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("32 MiB took %v", took)
	}
}

func TestDelayPassesOnTheEndOfEachDirection(t *testing.T) {
	client, _ := delayed(t, 10*time.Millisecond, func(conn net.Conn) {
		asked, _ := io.ReadAll(conn)
		_, _ = conn.Write(append(asked, " answered"...))
	})
	if _, err := client.Write([]byte("asked")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "asked answered" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDelayStopClosesConnections(t *testing.T) {
	client, stop := delayed(t, 10*time.Millisecond, echo)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open after stop")
	}
}
