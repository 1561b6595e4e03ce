package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// procRoot and groupRoot are where the kernel shows processes and the unified
// hierarchy of control groups.
const (
	procRoot  = "/proc"
	groupRoot = "/sys/fs/cgroup"
)

// mostSockets caps the lines read of one of the kernel's tables. What a table
// that is longer holds is unknown, never missing.
const mostSockets = 200_000

var errManySockets = fmt.Errorf("the host has more than %d sockets", mostSockets)

// The states of sockets that are told apart.
const (
	listening   = "listening"
	established = "established"
	closing     = "closing" // it was established, and one side or both are done
)

// socket is a line of one of the kernel's tables.
type socket struct {
	protocol string // tcp, udp or unix
	state    string // listening, established, closing, or empty for any other
	local    netip.AddrPort
	remote   netip.AddrPort
	path     string // of a unix socket; abstract ones begin with @
	inode    uint64
}

func (s socket) String() string {
	switch {
	case s.protocol == "unix":
		return "unix " + s.path
	case s.state == established:
		return fmt.Sprintf("%s %s to %s", s.protocol, s.local, s.remote)
	}
	return s.protocol + " " + s.local.String()
}

// ownedConnections counts the ESTABLISHED TCP connections to remotePort that
// processes of a control group hold, its children included. root is where control
// groups are mounted, group is as the manager names it ([systemd.Unit.ControlGroup]), for instance
// "/system.slice/hercules-ci-agent.service". A group without processes, or one
// that is gone, holds none. The error is that of a kernel that does not show its
// tables, or of tables too long to be read; nobody may take it for none.
func ownedConnections(ctx context.Context, root, group string, remotePort int) (int, error) {
	owned, err := ownedSockets(ctx, root, group, "tcp")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, s := range owned {
		if s.state == established && int(s.remote.Port()) == remotePort {
			n++
		}
	}
	return n, nil
}

// ownedSockets are the sockets of a protocol that processes of a control group
// hold.
func ownedSockets(ctx context.Context, root, group, protocol string) ([]socket, error) {
	pids, err := groupProcesses(ctx, root, group)
	if err != nil || len(pids) == 0 {
		return nil, err
	}
	return heldBy(ctx, procRoot, pids, protocol)
}

// groupProcesses are the processes of a control group and of those below it.
func groupProcesses(ctx context.Context, root, group string) ([]int, error) {
	group = filepath.Clean("/" + group)
	if group == "/" {
		return nil, errors.New("read control group: the root holds every process")
	}
	var pids []int
	err := filepath.WalkDir(filepath.Join(root, group), func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !d.IsDir() {
			return passGone(err)
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, syscall.EOPNOTSUPP) { // a threaded group; its processes are in the one above
			return nil
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return passGone(err)
	})
	if err != nil {
		return nil, fmt.Errorf("read control group %s: %w", group, err)
	}
	return pids, nil
}

// passGone is nil for what went away while it was being looked at, as processes
// and their groups do.
func passGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// heldBy are the sockets of a protocol that any of the processes hold. Each
// network namespace has tables of its own. This program's is always among them:
// a service with PrivateNetwork= may be given sockets by systemd that belong to
// the host's.
func heldBy(ctx context.Context, proc string, pids []int, protocol string) ([]socket, error) {
	held := map[uint64]bool{}
	spaces := map[string]string{}
	own := filepath.Join(proc, "self")
	if space, err := os.Readlink(filepath.Join(own, "ns/net")); err == nil {
		spaces[space] = own
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if err := passGone(addInodes(held, dir)); err != nil {
			return nil, fmt.Errorf("read sockets: %v", err)
		}
		if space, err := os.Readlink(filepath.Join(dir, "ns/net")); err == nil && spaces[space] == "" {
			spaces[space] = dir
		}
	}
	var found []socket
	for _, dir := range spaces {
		all, err := tables(ctx, dir, protocol)
		if err != nil {
			return nil, err
		}
		found = append(found, slices.DeleteFunc(all, func(s socket) bool { return !held[s.inode] })...)
	}
	return found, nil
}

// addInodes adds the inodes of the sockets that a process has open.
func addInodes(held map[uint64]bool, process string) error {
	entries, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(process, "fd", e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := socketInode(target); ok {
			held[inode] = true
		}
	}
	return nil
}

// socketInode reads what /proc/PID/fd/N of a socket points to: "socket:[4711]".
func socketInode(target string) (uint64, bool) {
	text, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
	return inode, err == nil
}

// tables reads a protocol's tables as a process sees them. A kernel without IPv6
// has no table of it.
func tables(ctx context.Context, process, protocol string) ([]socket, error) {
	files := []string{protocol, protocol + "6"}
	if protocol == "unix" {
		files = files[:1]
	}
	var all []socket
	for _, name := range files {
		file, err := os.Open(filepath.Join(process, "net", name))
		if passGone(err) != nil {
			return nil, fmt.Errorf("read sockets: %v", err)
		}
		if err != nil {
			continue
		}
		parse := parseInet
		if protocol == "unix" {
			parse = parseUnix
		}
		list, err := parseTable(ctx, file, protocol, parse)
		_ = file.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		all = append(all, list...)
	}
	return all, nil
}

func parseTable(ctx context.Context, r io.Reader, protocol string, parse func(protocol string, line string) (socket, bool)) ([]socket, error) {
	var list []socket
	lines := bufio.NewScanner(r)
	for n := 0; lines.Scan(); n++ {
		if n > mostSockets {
			return nil, errManySockets
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if s, ok := parse(protocol, lines.Text()); ok {
			list = append(list, s)
		}
	}
	return list, passGone(lines.Err())
}

// closingStates are FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE_WAIT, LAST_ACK and CLOSING.
var closingStates = []string{"04", "05", "06", "08", "09", "0B"}

// parseInet reads a line of /proc/net/tcp, udp and their IPv6 forms, as proc(5)
// has it: number, local and remote address, state, …, inode as the tenth. An
// unconnected UDP socket is in TCP's state 7, CLOSE: it listens.
func parseInet(protocol, line string) (socket, bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return socket{}, false
	}
	local, okLocal := parseHexAddress(f[1])
	remote, okRemote := parseHexAddress(f[2])
	inode, err := strconv.ParseUint(f[9], 10, 64)
	if !okLocal || !okRemote || err != nil {
		return socket{}, false
	}
	s := socket{protocol: protocol, local: local, remote: remote, inode: inode}
	switch {
	case f[3] == "01":
		s.state = established
	case protocol == "tcp" && slices.Contains(closingStates, f[3]):
		s.state = closing
	case f[3] == "0A" && protocol == "tcp", f[3] == "07" && protocol == "udp":
		s.state = listening
	}
	return s, true
}

// parseHexAddress reads "0100007F:0016": words of 32 bits as this machine has
// them in memory, and the port as a number.
func parseHexAddress(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), true
}

// parseUnix reads a line of /proc/net/unix: address, reference count, protocol,
// flags, type, state, inode, path. Flag 0x10000 is that of a listening socket
// (__SO_ACCEPTCON), state 3 that of a connected one (SS_CONNECTED).
func parseUnix(protocol, line string) (socket, bool) {
	f := strings.Fields(line)
	if len(f) < 7 {
		return socket{}, false
	}
	flags, err := strconv.ParseUint(f[3], 16, 64)
	inode, inodeErr := strconv.ParseUint(f[6], 10, 64)
	if err != nil || inodeErr != nil {
		return socket{}, false
	}
	s := socket{protocol: protocol, inode: inode}
	if len(f) > 7 {
		s.path = strings.Join(f[7:], " ")
	}
	switch {
	case flags&0x10000 != 0:
		s.state = listening
	case f[5] == "03":
		s.state = established
	}
	return s, true
}
