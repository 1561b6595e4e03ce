package probe

import (
	"context"
	"net/netip"
	"path/filepath"
)

// TCPSocket is a TCP socket of the host's own network namespace. An IPv4 address that
// is mapped into IPv6 is told as the IPv4 address that it is.
type TCPSocket struct {
	Local, Remote netip.AddrPort
	// Listens says that it accepts connections, Reached that it is one, or was one that
	// is being closed: the far side has answered. One that is half open is neither.
	Listens, Reached bool
}

// TCPSockets lists them. The error is that of a kernel that does not show its tables, or
// of tables too long to be read.
func TCPSockets(ctx context.Context) ([]TCPSocket, error) {
	all, err := tables(ctx, filepath.Join(procRoot, "self"), "tcp")
	if err != nil {
		return nil, err
	}
	sockets := make([]TCPSocket, len(all))
	for i, s := range all {
		sockets[i] = TCPSocket{Local: s.local, Remote: s.remote, Listens: s.state == listening, Reached: s.state == established || s.state == closing}
	}
	return sockets, nil
}

// Clean is a text of a host's as a result holds it: at most 512 runes, none of them a
// control character.
func Clean(text string) string { return clean(text) }
