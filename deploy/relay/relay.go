// Package relay makes a host's Nix daemon reachable through a local unix
// socket, so that `nix copy --to unix:///...` rides on a connection that
// exists already.
//
// It keeps the stream honest: every byte arrives in order, an end of data in
// one direction is passed on as such, and a connection that broke is never
// shown to Nix as a regular end without [Relay.Err] saying what happened.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// Dial opens a connection to the host's Nix daemon. The connection should have
// a CloseWrite method; without one, the end of the data is only passed on by
// closing it.
type Dial func(context.Context) (net.Conn, error)

// bufferSize is how much is read at once. Nix and SSH both handle more than
// the usual 32 KiB at a time, and every read costs a system call.
const bufferSize = 256 << 10

// mostConnections is how many connections Nix may hold at the same time; it
// opens one per process by default.
const mostConnections = 32

// Relay is a listening socket and the connections through it.
type Relay struct {
	folder   string
	listener *net.UnixListener
	dial     Dial
	ctx      context.Context
	cancel   context.CancelFunc
	owned    sync.WaitGroup
	buffers  sync.Pool

	sent, received atomic.Int64
	closed         sync.Once

	mu    sync.Mutex
	fault error
}

// Start listens on a private socket until ctx ends or the relay is closed.
// dial is called once per connection that Nix makes, from several goroutines.
func Start(ctx context.Context, dial Dial) (*Relay, error) { return StartIn(ctx, "", dial) }

// StartIn is Start with a socket below a folder of the caller's, where its path is not
// too long for one; empty stands for the usual place.
func StartIn(ctx context.Context, within string, dial Dial) (*Relay, error) {
	folder, listener, err := listen(within)
	if err != nil {
		return nil, err
	}
	r := &Relay{folder: folder, listener: listener, dial: dial}
	r.buffers.New = func() any { return new([bufferSize]byte) }
	r.ctx, r.cancel = context.WithCancel(ctx)
	context.AfterFunc(r.ctx, func() { listener.Close() })
	r.owned.Add(1)
	go r.accept()
	return r, nil
}

// longestSocket is what the kernel accepts as the path of a unix socket.
const longestSocket = 107

// listen makes the socket in a folder that nobody else may enter.
func listen(within string) (string, *net.UnixListener, error) {
	folder, err := os.MkdirTemp(within, "hd-")
	if err == nil && (len(filepath.Join(folder, "s")) > longestSocket || unplain(folder)) {
		os.Remove(folder)
		folder, err = os.MkdirTemp("/tmp", "hd-")
	}
	if err != nil {
		return "", nil, fmt.Errorf("make folder for the relay's socket: %v", err)
	}
	path := filepath.Join(folder, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		os.RemoveAll(folder)
		return "", nil, fmt.Errorf("listen on the relay's socket: %v", err)
	}
	return folder, listener, nil
}

// StoreURI is the store to give to Nix: it can be copied to and built in, but
// not copied from.
func (r *Relay) StoreURI() string { return "unix://" + r.Socket() }

// Sent returns the bytes that went to the host so far.
func (r *Relay) Sent() int64 { return r.sent.Load() }

// Received returns the bytes that came from the host so far.
func (r *Relay) Received() int64 { return r.received.Load() }

// Err returns the first failure of a dial or transfer, or nil. Nix itself only
// says that its connection ended.
func (r *Relay) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

// Close ends all connections, waits until they are gone and removes the
// socket. It may be called more than once.
func (r *Relay) Close() error {
	var err error
	r.closed.Do(func() {
		r.cancel()
		r.listener.Close()
		r.owned.Wait()
		err = os.RemoveAll(r.folder)
	})
	return err
}

func (r *Relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// What breaks because the relay was closed is no failure.
	if r.fault == nil && r.ctx.Err() == nil {
		r.fault = err
	}
}

func (r *Relay) accept() {
	defer r.owned.Done()
	slots := make(chan struct{}, mostConnections)
	for {
		local, err := r.listener.AcceptUnix()
		if err != nil {
			if r.ctx.Err() == nil {
				r.fail(fmt.Errorf("accept a connection of Nix: %v", err))
			}
			return
		}
		select {
		case slots <- struct{}{}:
		case <-r.ctx.Done():
			local.Close()
			return
		}
		r.owned.Go(func() {
			defer func() { <-slots }()
			r.serve(local)
		})
	}
}

// serve joins one connection of Nix with one to the host's daemon.
func (r *Relay) serve(local *net.UnixConn) {
	defer local.Close()
	host, err := r.dial(r.ctx)
	if err != nil {
		r.fail(err)
		return
	}
	defer host.Close()
	l := &link{relay: r, local: local, host: host}
	stop := context.AfterFunc(r.ctx, func() { l.tear(nil) })
	defer stop()
	var back sync.WaitGroup
	back.Go(l.receive)
	l.send()
	back.Wait()
}

// link is one connection of Nix and its counterpart.
type link struct {
	relay       *Relay
	local, host net.Conn
	torn        atomic.Bool
}

func (l *link) send() {
	readErr, writeErr := l.relay.transfer(l.host, l.local, &l.relay.sent)
	if readErr == nil && writeErr == nil {
		writeErr = closeWrite(l.host)
	}
	if writeErr != nil {
		l.tear(fmt.Errorf("send to the host's Nix daemon: %w", writeErr))
	} else if readErr != nil {
		l.tear(nil)
	}
}

func (l *link) receive() {
	readErr, writeErr := l.relay.transfer(l.local, l.host, &l.relay.received)
	if readErr == nil && writeErr == nil {
		writeErr = closeWrite(l.local)
	}
	if readErr != nil {
		l.tear(fmt.Errorf("receive from the host's Nix daemon: %w", readErr))
	} else if writeErr != nil {
		l.tear(nil)
	}
}

// tear closes both sides: after a failure in one direction the other cannot
// make sense any more. Only the first reason counts, because closing makes
// the other direction fail too. It is nil when the host is not to blame: Nix
// went away, or the relay was closed.
func (l *link) tear(fault error) {
	if l.torn.Swap(true) {
		return
	}
	if fault != nil {
		l.relay.fail(fault)
	}
	l.local.Close()
	l.host.Close()
}

// transfer copies until the source ends, and says on which side it failed.
func (r *Relay) transfer(to io.Writer, from io.Reader, count *atomic.Int64) (readErr, writeErr error) {
	buffer := r.buffers.Get().(*[bufferSize]byte)
	defer r.buffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return nil, err
			}
			count.Add(int64(n))
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}

// closeWrite ends one direction. That the other side was faster is no failure.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return conn.Close()
	}
	if err := half.CloseWrite(); err != nil && !isClosed(err) {
		return err
	}
	return nil
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.EPIPE)
}
