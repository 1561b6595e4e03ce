package remote

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Conn is a logged-in connection to one host. All methods may be called from
// several goroutines at once.
type Conn struct {
	target Target
	client *ssh.Client
	hops   []*hop
	wire   *wire
	done   chan struct{}
	owned  sync.WaitGroup
	// local ends with a connection to this machine itself, which has no client, hops
	// and wire; nil for any other.
	local    context.Context
	endLocal context.CancelFunc

	mu    sync.Mutex
	cause error // why it ended; the first reason wins
}

// wire counts what arrives and remembers why nothing arrives any more. The
// SSH library shows a cut connection to its channels as a regular end of file.
type wire struct {
	net.Conn
	received atomic.Int64
	broken   atomic.Bool
}

func (w *wire) Read(buffer []byte) (int, error) {
	n, err := w.Conn.Read(buffer)
	w.received.Add(int64(n))
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

func newConn(t Target, hops []*hop) *Conn {
	last := hops[len(hops)-1]
	c := &Conn{target: t, client: last.client, hops: hops, wire: last.wire, done: make(chan struct{})}
	c.owned.Add(2)
	go c.awaitEnd()
	go c.keepAlive()
	return c
}

// Target is what was dialled.
func (c *Conn) Target() Target { return c.target }

// IsRoot reports whether what runs without elevation runs as root.
func (c *Conn) IsRoot() bool {
	if c.local != nil {
		return os.Geteuid() == 0
	}
	return c.target.User == "root"
}

// Done is closed when the connection has ended, for whatever reason.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection lives, and afterwards why it ended: an
// [*Error] of kind [Lost], or [net.ErrClosed] after Close.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.ended()
	default:
		return nil
	}
}

// Close ends the connection and everything that rides on it, and waits until
// its goroutines are gone.
func (c *Conn) Close() error {
	if c.local != nil {
		c.closeLocal()
		return nil
	}
	c.end(net.ErrClosed)
	c.owned.Wait()
	return nil
}

// end closes the connection for the reason given, unless it has another one.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	closeHops(c.hops)
}

func (c *Conn) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

func (c *Conn) awaitEnd() {
	defer c.owned.Done()
	err := c.client.Wait()
	said := ""
	if proxy := c.hops[0].proxy; proxy != nil {
		said = proxy.said("; the ProxyCommand printed: ")
	}
	c.end(c.lost("the connection ended: %s%s", plain(err), said))
	close(c.done)
}

func (c *Conn) lost(format string, args ...any) *Error {
	return c.target.fail(Lost, "see whether the host still answers:\n    "+c.target.sshCommand(), format, args...)
}

// lostError returns the reason if the connection ended, or is about to, and
// nil while it lives.
func (c *Conn) lostError() error {
	if err := c.Err(); err != nil {
		return err
	}
	if c.local != nil || !c.wire.broken.Load() {
		return nil
	}
	if err := c.ended(); err != nil {
		return err
	}
	return c.lost("the connection ended")
}

// keepAlive asks the host for signs of life and gives the connection up when
// none come. Any byte counts as one: on a slow line the answer may stand in a
// long queue behind a copy.
func (c *Conn) keepAlive() {
	defer c.owned.Done()
	ticker := time.NewTicker(c.target.Keepalive)
	defer ticker.Stop()
	answered := make(chan struct{}, 1)
	waiting, missed, seen := false, 0, int64(0)
	for {
		select {
		case <-c.done:
			return
		case <-answered:
			waiting = false
		case <-ticker.C:
			received := c.wire.received.Load()
			if received != seen || !waiting {
				missed = 0
			} else if missed++; missed >= missedKeepalives {
				c.end(c.lost("the host has not answered for %s", missedKeepalives*c.target.Keepalive))
				return
			}
			seen = received
			if !waiting {
				waiting = true
				c.owned.Add(1)
				go c.ask(answered)
			}
		}
	}
}

// ask sends one keepalive request; refused or granted, an answer is an answer.
func (c *Conn) ask(answered chan<- struct{}) {
	defer c.owned.Done()
	if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
		answered <- struct{}{}
	}
}

// openChannel opens a channel before ctx ends. The library's own call knows no
// context; a channel that opens too late is closed again.
func (c *Conn) openChannel(ctx context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		channel  ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	answer := make(chan opened)
	go func() {
		var o opened
		o.channel, o.requests, o.err = c.client.OpenChannel(kind, payload)
		select {
		case answer <- o:
		case <-ctx.Done():
			if o.err == nil {
				go ssh.DiscardRequests(o.requests)
				o.channel.Close()
			}
		case <-c.done:
		}
	}()
	select {
	case o := <-answer:
		return o.channel, o.requests, c.openFault(o.err)
	case <-ctx.Done():
		return nil, nil, c.canceled(ctx)
	case <-c.done:
		return nil, nil, c.ended()
	}
}

// openFault keeps a refusal as it is; anything else means that the connection
// is gone.
func (c *Conn) openFault(err error) error {
	var refused *ssh.OpenChannelError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	if lost := c.lostError(); lost != nil {
		return lost
	}
	return c.lost("open a channel: %s", plain(err))
}

func (c *Conn) canceled(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return c.target.fail(Canceled, "", "wait for the host: %w", ctx.Err())
	}
	return c.target.fail(Canceled, "", "stop: %w", ctx.Err())
}
