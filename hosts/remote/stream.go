package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
)

// Stream is one byte stream on a connection. It can be closed in one
// direction, and tells a lost connection from the end of the stream. It knows
// no deadlines: those of the connection's keepalive hold.
type Stream struct {
	channel halfCloser
	conn    *Conn
	name    string
}

// halfCloser is a stream that can be closed in one direction.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

var _ net.Conn = (*Stream)(nil)

// Read returns io.EOF when the host closed the stream, and an [*Error] of
// kind [Lost] when the connection was lost.
func (s *Stream) Read(buffer []byte) (int, error) {
	n, err := s.channel.Read(buffer)
	if errors.Is(err, io.EOF) {
		if lost := s.conn.lostError(); lost != nil {
			return n, lost
		}
	}
	return n, err
}

func (s *Stream) Write(data []byte) (int, error) {
	n, err := s.channel.Write(data)
	if err != nil {
		if lost := s.conn.lostError(); lost != nil {
			return n, lost
		}
		if errors.Is(err, io.EOF) {
			return n, io.ErrClosedPipe // the host closed it; an end of file is no reason not to write
		}
	}
	return n, err
}

// CloseWrite tells the host that no more data comes.
func (s *Stream) CloseWrite() error { return ignoreEnd(s.channel.CloseWrite()) }

// Close closes both directions.
func (s *Stream) Close() error { return ignoreEnd(s.channel.Close()) }

// ignoreEnd makes closing what the host closed before no failure.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// LocalAddr only names the stream.
func (s *Stream) LocalAddr() net.Addr { return streamAddr("local") }

// RemoteAddr only names the stream.
func (s *Stream) RemoteAddr() net.Addr { return streamAddr(s.conn.target.Host + ":" + s.name) }

// SetDeadline fails: the stream knows no deadlines.
func (s *Stream) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline fails: the stream knows no deadlines.
func (s *Stream) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline fails: the stream knows no deadlines.
func (s *Stream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type streamAddr string

func (streamAddr) Network() string  { return "ssh" }
func (a streamAddr) String() string { return string(a) }

// DialUnix connects to a unix socket of the host. ctx covers the opening
// only. The result can be closed in one direction. If the host refuses, the error matches
// [ErrForwardingOff].
func (c *Conn) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	if c.local != nil {
		return c.dialLocalUnix(ctx, path)
	}
	payload := ssh.Marshal(struct {
		Path     string
		Reserved string
		Port     uint32
	}{Path: path})
	channel, requests, err := c.openChannel(ctx, "direct-streamlocal@openssh.com", payload)
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return nil, &Error{
			Host: c.target.Host, Kind: ForwardingOff,
			Cause: fmt.Errorf("connect to %s on the host: %w: %s", printable(path), ErrForwardingOff, printable(refused.Message)),
			Hint: "see on the host that something listens there, and that sshd allows it:\n    systemctl status nix-daemon.socket\n" +
				`    sshd -T | grep -iE "allowstreamlocalforwarding|disableforwarding"`,
		}
	}
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(requests)
	return &Stream{channel: channel, conn: c, name: path}, nil
}
