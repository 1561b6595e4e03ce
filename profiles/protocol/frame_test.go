package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 5 * time.Second

func wire(text string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
}

func TestReadFrame(t *testing.T) {
	for _, c := range []struct {
		name, in string
		bad      string
		is       error
	}{
		{"plain", wire(`{"id":7,"kind":"request","method":"facts","body":{"a":1}}`), "", nil},
		{"unknown fields", wire(`{"id":7,"kind":"request","method":"facts","body":{"a":1},"grease":[1]}`), "", nil},
		{"nothing", "", "EOF", io.EOF},
		{"half a length", "\x00\x00", "EOF", io.ErrUnexpectedEOF},
		{"half a frame", wire(`{"id":7}`)[:8], "EOF", io.ErrUnexpectedEOF},
		{"nothing behind the length", "\x00\x00\x00\x05", "EOF", io.ErrUnexpectedEOF},
		{"oversized", "\xff\xff\xff\xff", "more than", nil},
		{"one too long", string(binary.BigEndian.AppendUint32(nil, frameLimit+1)), "more than", nil},
		{"empty", "\x00\x00\x00\x00", "read message", nil},
		{"garbage", wire("\x00\x01"), "read message", nil},
		{"wrong type", wire(`{"id":"7"}`), "read message", nil},
		{"negative id", wire(`{"id":-7}`), "read message", nil},
		{"array", wire(`[]`), "read message", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readFrame(strings.NewReader(c.in))
			if c.bad == "" {
				if err != nil || got.ID != 7 || got.Method != "facts" || string(got.Body) != `{"a":1}` {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.bad) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %+v, %v", got, err)
			}
			if !errors.Is(c.is, io.EOF) && errors.Is(err, io.EOF) {
				t.Errorf("a broken frame looks like a peer that said goodbye: %v", err)
			}
		})
	}
}

func TestWriteFrameIsCapped(t *testing.T) {
	body, err := json.Marshal(strings.Repeat("x", frameLimit))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(io.Discard, frame{Body: body}); err == nil {
		t.Error("wrote a frame that no peer reads")
	}
}

// peers are a client and an agent that answers with handle.
func peers(t *testing.T, handle Handler) (*Client, <-chan error) {
	t.Helper()
	near, far := pair(t)
	served := make(chan error, 1)
	go func() {
		served <- Serve(context.Background(), far, far, Hello{Protocol: Version, Program: "agent"}, handle)
	}()
	return NewClient(near, own), served
}

// pair are the two ends of a socket. As in the pipes of an SSH session, what is
// written waits to be read: both sides send their banner first.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

type echo struct {
	Text string `json:"text"`
}

func answer(_ context.Context, method string, params json.RawMessage, emit func(any) error) (any, error) {
	var p echo
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, err
	}
	switch method {
	case "echo":
		return p, nil
	case "events":
		for i := range 3 {
			if err := emit(echo{fmt.Sprint(p.Text, i)}); err != nil {
				return nil, err
			}
		}
		return p, nil
	case "typed":
		return nil, &Error{Code: CodeLocked, Message: "locked by ann", Next: "wait", Status: &Status{ID: "abcd1234"}}
	case "wrapped":
		return nil, fmt.Errorf("start: %w", &Error{Code: CodeRefused, Message: "no"})
	}
	return nil, errors.New("plain")
}

func TestCalls(t *testing.T) {
	client, served := peers(t, answer)
	for _, text := range []string{"one", "two"} {
		var got echo
		if err := client.Call(within(t), "echo", echo{text}, &got, nil); err != nil || got.Text != text {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	if client.Peer.Program != "agent" {
		t.Errorf("peer %+v", client.Peer)
	}
	var events []string
	var got echo
	err := client.Call(within(t), "events", echo{"e"}, &got, func(body json.RawMessage) { events = append(events, string(body)) })
	if err != nil || got.Text != "e" || fmt.Sprint(events) != `[{"text":"e0"} {"text":"e1"} {"text":"e2"}]` {
		t.Errorf("got %+v, %v, events %v", got, err, events)
	}
	if err := client.Call(within(t), "events", echo{"e"}, nil, nil); err != nil {
		t.Errorf("events and an answer that nobody wants: %v", err)
	}
	client.Close()
	if err := <-served; err != nil {
		t.Errorf("the agent did not end with its peer: %v", err)
	}
}

func TestFailuresOfTheAgentAreTyped(t *testing.T) {
	client, _ := peers(t, answer)
	for method, want := range map[string]Error{
		"typed":   {Code: CodeLocked, Message: "locked by ann", Next: "wait"},
		"wrapped": {Code: CodeRefused, Message: "no"},
		"other":   {Code: CodeInternal, Message: "plain"},
	} {
		var got *Error
		err := client.Call(within(t), method, echo{}, nil, nil)
		if !errors.As(err, &got) || got.Code != want.Code || got.Message != want.Message || got.Next != want.Next {
			t.Fatalf("%s: got %v", method, err)
		}
		if method == "typed" && (got.Status == nil || got.Status.ID != "abcd1234") {
			t.Errorf("its transaction is lost: %+v", got)
		}
	}
	var got echo
	if err := client.Call(within(t), "echo", echo{"still"}, &got, nil); err != nil || got.Text != "still" {
		t.Errorf("after a failure: %v, %v", got, err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	began := make(chan struct{})
	handlerEnded := make(chan struct{})
	client, served := peers(t, func(ctx context.Context, _ string, _ json.RawMessage, _ func(any) error) (any, error) {
		close(began)
		<-ctx.Done()
		close(handlerEnded)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-began; cancel() }()
	err := client.Call(ctx, "hang", echo{}, nil, nil)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "hang") {
		t.Errorf("got %v", err)
	}
	select {
	case <-handlerEnded:
	case <-time.After(patience):
		t.Fatal("the request goes on although its peer is gone")
	}
	<-served
	// An answer to the abandoned request must not be taken for the next one's.
	if err := client.Call(within(t), "echo", echo{}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call on the closed connection: %v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, far, far, own, answer) }()
	if _, err := ReceiveHello(near, own); err != nil {
		t.Fatal(err)
	}
	if err := SendHello(near, own); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it goes on")
	}
}

func TestServeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		bad      string
	}{
		{"nobody", "", "no agent answered"},
		{"another version", raw(`{"protocol":99}`), "protocol 99"},
		{"half a frame", raw(`{"protocol":1}`) + "\x00\x00\x00\x09{}", "EOF"},
		{"oversized", raw(`{"protocol":1}`) + "\xff\xff\xff\xff", "more than"},
		{"garbage", raw(`{"protocol":1}`) + wire("x"), "read message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Serve(within(t), strings.NewReader(c.in), &out, own, func(context.Context, string, json.RawMessage, func(any) error) (any, error) {
				t.Error("handled a request that nobody made")
				return nil, nil
			})
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// agentSaying is a client whose agent answers its first request with text.
func agentSaying(t *testing.T, text string) *Client {
	t.Helper()
	near, far := pair(t)
	go func() {
		defer far.Close()
		if _, err := ReceiveHello(far, own); err != nil {
			return
		}
		if _, err := readFrame(far); err != nil {
			return
		}
		_, _ = io.WriteString(far, text)
	}()
	return NewClient(near, own)
}

func TestAnswersThatAreNone(t *testing.T) {
	hello := raw(`{"protocol":1}`)
	for _, c := range []struct{ name, text, bad string }{
		{"nothing", "", "no agent answered"},
		{"another version", raw(`{"protocol":99,"program":"7"}`), "protocol 99 (hdeploy 7)"},
		{"hung up", hello, "EOF"},
		{"wrong id", hello + wire(`{"id":2,"kind":"result","body":{}}`), "answer 2 to request 1"},
		{"wrong kind", hello + wire(`{"id":1,"kind":"surprise"}`), `unknown kind "surprise"`},
		{"a request", hello + wire(`{"id":1,"kind":"request"}`), "unknown kind"},
		{"wrong type", hello + wire(`{"id":1,"kind":"result","body":"text"}`), "read answer"},
		{"no body", hello + wire(`{"id":1,"kind":"result"}`), "read answer"},
		{"damaged failure", hello + wire(`{"id":1,"kind":"error","body":[]}`), "read failure"},
		{"event of another request", hello + wire(`{"id":9,"kind":"event","body":{}}`), "answer 9"},
		{"oversized", hello + "\xff\xff\xff\xff", "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got echo
			err := agentSaying(t, c.text).Call(within(t), "echo", echo{}, &got, nil)
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUnknownFieldsOfAnAnswerAreIgnored(t *testing.T) {
	client := agentSaying(t, "motd\n"+raw(`{"protocol":1,"grease":1}`)+wire(`{"id":1,"kind":"result","grease":0,"body":{"text":"a","grease":{}}}`))
	var got echo
	if err := client.Call(within(t), "echo", echo{}, &got, nil); err != nil || got.Text != "a" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A host's first words reach the person even where it hung up before it read
// anything.
func TestWhatTheFarSideSaidOutweighsThatItHungUp(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	far.Close()
	if err := NewClient(near, own).Call(within(t), "echo", echo{}, nil, nil); !errors.Is(err, ErrNoAgent) {
		t.Errorf("got %v", err)
	}
}

func TestTheHandshakeCostsNoRoundTripOfItsOwn(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	asked := make(chan string, 1)
	go func() {
		// The agent says nothing before it has read banner and request.
		_, _ = ReceiveHello(far, own)
		f, _ := readFrame(far)
		asked <- f.Method
		far.Close()
	}()
	_ = NewClient(near, own).Call(within(t), "facts", echo{}, nil, nil)
	if got := <-asked; got != "facts" {
		t.Errorf("asked %q", got)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte(wire(`{"id":7,"kind":"request","method":"facts","body":{}}`)))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte(wire(`{"id":7}`)[:8]))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readFrame(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, got); err != nil {
			t.Fatalf("%+v cannot be written: %v", got, err)
		}
		twice, err := readFrame(&again)
		if err != nil || twice.ID != got.ID || twice.Kind != got.Kind || twice.Method != got.Method {
			t.Errorf("%+v became %+v, %v", got, twice, err)
		}
	})
}
