package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// deaf is a stream whose end the peer never confirms, so that closing it ends no
// read. reading is told, as each read begins, how much was read before.
type deaf struct {
	net.Conn
	total   int
	reading chan<- int
}

func (*deaf) Close() error { return nil }

func (d *deaf) Read(p []byte) (int, error) {
	d.reading <- d.total
	n, err := d.Conn.Read(p)
	d.total += n
	return n, err
}

func TestACallEndsWithItsContextThoughThePeerKeepsTheStreamOpen(t *testing.T) {
	near, far := pair(t)
	go func() { _, _ = far.Read(make([]byte, 1<<10)) }()
	client := NewClient(&deaf{Conn: near, reading: make(chan int, 100)}, own)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.Call(ctx, "echo", echo{"one"}, nil, nil) }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the call does not end")
	}
	if err := client.Call(within(t), "echo", echo{"two"}, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the next call: %v", err)
	}
}

func TestACallerIsToldNothingAfterItsCall(t *testing.T) {
	near, far := pair(t)
	again, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	sent := make(chan int, 1)
	out := &counted{Writer: far}
	go func() {
		_ = Serve(context.Background(), far, out, Hello{Protocol: Version, Program: "agent"},
			func(_ context.Context, _ string, _ json.RawMessage, emit func(any) error) (any, error) {
				_ = emit(echo{"during"})
				<-again
				_ = emit(echo{"after"})
				sent <- int(out.total.Load())
				<-leave
				return nil, nil
			})
	}()
	reading := make(chan int, 100)
	client := NewClient(&deaf{Conn: near, reading: reading}, own)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	told := make(chan string, 10)
	err := client.Call(ctx, "events", echo{}, nil, func(body json.RawMessage) {
		told <- string(body)
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(again)
	awaitRead(t, reading, <-sent)
	if len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	if got := <-told; got != `{"text":"during"}` {
		t.Errorf("told %s", got)
	}
}

// counted counts what an agent sends.
type counted struct {
	io.Writer
	total atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.total.Add(int64(n))
	return n, err
}

// awaitRead waits for the read that begins when all that was sent was dealt with.
func awaitRead(t *testing.T, reading <-chan int, sent int) {
	t.Helper()
	for {
		select {
		case total := <-reading:
			if total >= sent {
				return
			}
		case <-time.After(patience):
			t.Fatal("not all is read")
		}
	}
}
