package protocol

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// frameLimit caps one message. The largest, a host's baseline, has some 100 KiB.
const frameLimit = 8 << 20

type frame struct {
	// ID ties answers to the request.
	ID uint64 `json:"id"`
	// Kind is "request", "event", "result" or "error".
	Kind string `json:"kind"`
	// Method is set in requests.
	Method string          `json:"method,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

func writeFrame(w io.Writer, f frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(data) > frameLimit {
		return fmt.Errorf("write message: %d bytes, more than %d", len(data), frameLimit)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

func readFrame(r io.Reader) (frame, error) {
	var f frame
	var length uint32
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return f, err
	}
	if length > frameLimit {
		return f, fmt.Errorf("read message: %d bytes, more than %d", length, frameLimit)
	}
	// Grown by what arrives, not by what the peer announces.
	data, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err != nil {
		return f, err
	}
	if len(data) < int(length) {
		return f, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("read message: %v", err)
	}
	return f, nil
}

// Error is a failure that the agent reports.
type Error struct {
	// Code is one of the Code constants.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Next is a command for the person, where the agent knows one.
	Next string `json:"next,omitempty"`
	// Status is the transaction that stands in the way, where one does.
	Status *Status `json:"status,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Codes of errors.
const (
	CodeInternal = "internal"
	CodeRefused  = "refused"
	CodeLocked   = "locked"
	CodeFrozen   = "frozen"   // a person froze the host
	CodeRejected = "rejected" // the system was found bad on the host before
	CodeMissing  = "missing-paths"
	CodeUnknown  = "unknown-transaction"
	CodeUnable   = "unable" // the agent is too old for what was asked
)

// Client is hdeploy's side. Calls are made one after the other.
type Client struct {
	stream io.ReadWriteCloser
	in     *bufio.Reader
	own    Hello
	// Peer is valid after the first call.
	Peer    Hello
	greeted bool

	mu   sync.Mutex
	next uint64
	err  error
}

// NewClient speaks to an agent over stream. The banner goes out with the first
// request and the agent's is read with its first answer, so that the handshake
// costs no round trip of its own.
func NewClient(stream io.ReadWriteCloser, own Hello) *Client {
	return &Client{stream: stream, in: bufio.NewReaderSize(stream, 32<<10), own: own}
}

// Call sends a request and reads its answer into result. Events that come before
// are given to on. When ctx ends the stream is closed, since an answer to an
// abandoned request would be taken for the next one's. An answer that is a
// failure is an [*Error]; where the agent is too old for the request, that is not sent,
// and the error has [CodeUnable].
func (c *Client) Call(ctx context.Context, method string, params, result any, on func(json.RawMessage)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	// Before its banner nothing is known of the agent, so that it can do the least.
	if err := able(c.own, c.Peer, params); err != nil {
		return err
	}
	answer, err := c.exchangeWithin(ctx, method, params, on)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		c.err = fmt.Errorf("%s: %w", method, err)
		return c.err
	}
	if answer.Kind == "error" {
		failure := &Error{}
		if err := json.Unmarshal(answer.Body, failure); err != nil {
			return fmt.Errorf("%s: read failure: %v", method, err)
		}
		return failure
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body, result); err != nil {
		return fmt.Errorf("%s: read answer: %v", method, err)
	}
	return nil
}

// exchangeWithin ends with ctx even where the peer keeps the stream open: closing
// it ends a read only when the peer agrees. After that the client is of no use.
func (c *Client) exchangeWithin(ctx context.Context, method string, params any, on func(json.RawMessage)) (frame, error) {
	type outcome struct {
		answer frame
		err    error
	}
	done := make(chan outcome, 1)
	var telling sync.Mutex
	over := false
	tell := func(body json.RawMessage) {
		telling.Lock()
		defer telling.Unlock()
		if !over && on != nil {
			on(body)
		}
	}
	go func() {
		answer, err := c.exchange(method, params, tell)
		done <- outcome{answer, err}
	}()
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		_ = c.stream.Close()
		telling.Lock()
		defer telling.Unlock()
		over = true // the caller is told nothing after this call
		return frame{}, ctx.Err()
	}
}

func (c *Client) exchange(method string, params any, on func(json.RawMessage)) (frame, error) {
	body, err := json.Marshal(params)
	if err != nil {
		return frame{}, err
	}
	out := bufio.NewWriterSize(c.stream, 32<<10)
	if !c.greeted {
		if err := SendHello(out, c.own); err != nil {
			return frame{}, err
		}
	}
	c.next++
	if err := writeFrame(out, frame{ID: c.next, Kind: "request", Method: method, Body: body}); err != nil {
		return frame{}, err
	}
	if err := out.Flush(); err != nil && c.greeted {
		return frame{}, err // before the greeting, the agent's own words say more
	}
	if !c.greeted {
		if c.Peer, err = ReceiveHello(c.in, c.own); err != nil {
			return frame{}, err
		}
		c.greeted = true
	}
	return c.answer(on)
}

func (c *Client) answer(on func(json.RawMessage)) (frame, error) {
	for {
		f, err := readFrame(c.in)
		if err != nil {
			return f, err
		}
		if f.ID != c.next {
			return f, fmt.Errorf("read message: answer %d to request %d", f.ID, c.next)
		}
		switch f.Kind {
		case "result", "error":
			return f, nil
		case "event":
			on(f.Body)
		default:
			return f, fmt.Errorf("read message: unknown kind %q", f.Kind)
		}
	}
}

// Close ends the conversation and with it the agent's process.
func (c *Client) Close() error { return c.stream.Close() }

// Handler answers one request; emit sends an event before the answer.
type Handler func(ctx context.Context, method string, params json.RawMessage, emit func(any) error) (any, error)

// Serve answers requests from in on out until in ends, ctx ends, or the peer
// breaks the protocol. A request is cancelled when the peer goes away.
func Serve(ctx context.Context, in io.Reader, out io.Writer, own Hello, handle Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := SendHello(out, own); err != nil {
		return err
	}
	if _, err := ReceiveHello(in, own); err != nil {
		return err
	}
	requests := make(chan frame)
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		for {
			f, err := readFrame(in)
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- f:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ended(failed)
		case f := <-requests:
			if err := serveOne(ctx, out, f, handle); err != nil {
				return err
			}
		}
	}
}

// ended is why the reader ended, nil where the peer just left or was not waited
// for.
func ended(failed <-chan error) error {
	select {
	case err := <-failed:
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	default:
		return nil
	}
}

func serveOne(ctx context.Context, out io.Writer, f frame, handle Handler) error {
	emit := func(event any) error {
		body, err := json.Marshal(event)
		if err != nil {
			return err
		}
		return writeFrame(out, frame{ID: f.ID, Kind: "event", Body: body})
	}
	result, err := handle(ctx, f.Method, f.Body, emit)
	kind := "result"
	if err != nil {
		kind = "error"
		var typed *Error
		if !errors.As(err, &typed) {
			typed = &Error{Code: CodeInternal, Message: err.Error()}
		}
		result = typed
	}
	body, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return writeFrame(out, frame{ID: f.ID, Kind: kind, Body: body})
}
