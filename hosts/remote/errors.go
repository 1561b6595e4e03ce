package remote

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Kind says what a caller can do about an [Error].
type Kind string

// The kinds of failures.
const (
	// Unreachable: no SSH server answered in time at that address.
	Unreachable Kind = "unreachable"
	// HostKeyUnknown: the host showed a key, and nothing says whether it is
	// the right one.
	HostKeyUnknown Kind = "host-key-unknown"
	// HostKeyChanged: the host showed a key other than the known one.
	HostKeyChanged Kind = "host-key-changed"
	// KnownHostsUnreadable: a known_hosts file or a pinned key cannot be read.
	KnownHostsUnreadable Kind = "known-hosts-unreadable"
	// KeyUnreadable: there is a private key, but none that could be used.
	KeyUnreadable Kind = "key-unreadable"
	// NoKeys: there is no private key to log in with.
	NoKeys Kind = "no-keys"
	// LoginRefused: the host accepted none of the keys.
	LoginRefused Kind = "login-refused"
	// SFTPOff: the host offers no SFTP.
	SFTPOff Kind = "sftp-off"
	// ForwardingOff: the host, or a jump host, does not forward.
	ForwardingOff Kind = "forwarding-off"
	// CommandRefused: the host does not start commands for this account.
	CommandRefused Kind = "command-refused"
	// NoElevation: the account could not become root with its password.
	NoElevation Kind = "no-elevation"
	// Lost: the connection ended while it was in use.
	Lost Kind = "lost"
	// Canceled: the caller's context ended; the cause is its error.
	Canceled Kind = "canceled"
)

// ErrForwardingOff is matched by the error of [Conn.DialUnix] when the host
// did not connect to the socket. OpenSSH gives the same answer for a
// forbidden forwarding and for a socket that nobody listens on.
var ErrForwardingOff = errors.New("socket forwarding refused")

// Error is a failure of a connection.
type Error struct {
	// Host is the host of the target, or the jump host that failed.
	Host string
	Kind Kind
	// Cause is one line that names what was tried.
	Cause error
	// Hint is the next thing to do: a command to type or a line to add. It may
	// have several lines, and is not part of Error().
	Hint string
	// Transient says that the same may succeed a little later without anybody doing
	// anything: a host that boots, a name server that is busy.
	Transient bool
}

func (e *Error) Error() string { return e.Host + ": " + e.Cause.Error() }

// Unwrap returns the cause, so that errors.Is finds [ErrForwardingOff] and the
// errors of contexts.
func (e *Error) Unwrap() error { return e.Cause }

// fail builds an error about this target.
func (t Target) fail(kind Kind, hint, format string, args ...any) *Error {
	return &Error{Host: t.Host, Kind: kind, Cause: fmt.Errorf(format, args...), Hint: hint}
}

// printable makes text from a peer fit for one line of a terminal.
func printable(text string) string {
	const longest = 300
	runes := []rune(strings.TrimSpace(text))
	if len(runes) > longest {
		runes = append(runes[:longest], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}

// plain prints an error of the SSH library or of a peer.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	return printable(strings.TrimPrefix(text, "ssh: "))
}
