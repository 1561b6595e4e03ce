package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"
)

// deaf is a stream whose end the peer never confirms, so that closing it ends no
// read. reading is told of each read that begins.
type deaf struct {
	net.Conn
	reading chan<- struct{}
}

func (deaf) Close() error { return nil }

func (d deaf) Read(p []byte) (int, error) {
	d.reading <- struct{}{}
	return d.Conn.Read(p)
}

func TestACallEndsWithItsContextThoughThePeerKeepsTheStreamOpen(t *testing.T) {
	near, far := pair(t)
	go func() { _, _ = far.Read(make([]byte, 1<<10)) }()
	client := NewClient(deaf{near, make(chan struct{}, 100)}, own)
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
	again := make(chan struct{})
	go func() {
		_ = Serve(context.Background(), far, far, Hello{Protocol: Version, Program: "agent"},
			func(_ context.Context, _ string, _ json.RawMessage, emit func(any) error) (any, error) {
				_ = emit(echo{"during"})
				<-again
				return nil, emit(echo{"after"})
			})
	}()
	reading := make(chan struct{}, 100)
	client := NewClient(deaf{near, reading}, own)
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
	for len(reading) > 0 {
		<-reading
	}
	close(again)
	// The answer behind the event ends the reading: what stands before was handled.
	time.Sleep(200 * time.Millisecond)
	if len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	if got := <-told; got != `{"text":"during"}` {
		t.Errorf("told %s", got)
	}
}
