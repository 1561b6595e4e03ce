package reach

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// endings is the kernel's word of TCP sockets that it forgets, of this network namespace:
// a connection that came and went between two looks at the tables is told here.
type endings struct{ fd int }

// The groups of NETLINK_SOCK_DIAG, enum sknetlink_groups of linux/sock_diag.h.
const (
	tcpDestroyed  = 1 << (1 - 1)
	tcp6Destroyed = 1 << (3 - 1)
)

// watchEndings needs the kernel's module inet_diag. Close ends it.
func watchEndings() (*endings, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("watch the ends of connections: %v", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: tcpDestroyed | tcp6Destroyed}); err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return nil, fmt.Errorf("watch the ends of connections: %v", err)
	}
	return &endings{fd}, nil
}

// Close ends it.
func (e *endings) Close() { _ = unix.Close(e.fd) } // it was only read

// mostMessages is how many messages one look reads at most.
const mostMessages = 4096

// read returns the connections that ended since the last call. What did not fit into the
// kernel's buffer is lost.
func (e *endings) read() []probe.TCPSocket {
	var ended []probe.TCPSocket
	buffer := make([]byte, 16<<10)
	for range mostMessages {
		n, from, err := unix.Recvfrom(e.fd, buffer, 0)
		if err == unix.EINTR || err == unix.ENOBUFS {
			continue
		}
		if err != nil {
			break
		}
		// Any process may send a message; only the kernel has no port of its own.
		if kernel, ok := from.(*unix.SockaddrNetlink); ok && kernel.Pid == 0 {
			ended = append(ended, parseEnded(buffer[:n])...)
		}
	}
	return ended
}

// Sizes and offsets of struct nlmsghdr, and of struct inet_diag_msg of linux/inet_diag.h
// with its struct inet_diag_sockid.
const (
	messageHead  = 16
	atFamily     = messageHead
	atLocalPort  = messageHead + 4
	atRemotePort = atLocalPort + 2
	atLocal      = atRemotePort + 2
	atRemote     = atLocal + 16
	messageLeast = messageHead + 72
)

// parseEnded reads netlink messages, each with the ends of one socket. One that never had
// a far side, such as of a listener, has port 0 there and is left out.
func parseEnded(data []byte) []probe.TCPSocket {
	var ended []probe.TCPSocket
	for len(data) >= messageHead {
		length := int(binary.NativeEndian.Uint32(data))
		if length < messageHead || length > len(data) {
			break
		}
		if message := data[:length]; length >= messageLeast {
			local, okLocal := diagAddress(message, atLocal, atLocalPort)
			remote, okRemote := diagAddress(message, atRemote, atRemotePort)
			if okLocal && okRemote && remote.Port() != 0 {
				ended = append(ended, probe.TCPSocket{Local: local, Remote: remote, Reached: true})
			}
		}
		data = data[min((length+3)&^3, len(data)):] // messages begin at multiples of four
	}
	return ended
}

func diagAddress(message []byte, at, port int) (netip.AddrPort, bool) {
	number := binary.BigEndian.Uint16(message[port:])
	switch message[atFamily] {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(message[at:at+4])), number), true
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(message[at:at+16])).Unmap(), number), true
	}
	return netip.AddrPort{}, false
}
