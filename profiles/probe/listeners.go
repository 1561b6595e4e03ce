package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Listener is a socket of the host's own network namespace that listens.
type Listener struct {
	// Protocol is tcp or udp.
	Protocol string         `json:"protocol"`
	Address  netip.AddrPort `json:"address"`
	// Group is the control group that holds it, as the manager names it; where
	// systemd gave it to a service, the service's.
	Group string `json:"group,omitempty"`
}

// mostListeners caps what a baseline keeps.
const mostListeners = 1024

var errManyListeners = errors.New("too many sockets listen")

// initGroup is where PID 1 itself is.
const initGroup = "/init.scope"

// listeners are the sockets that listen, by their addresses. UDP sockets without
// a fixed port, as resolvers open for each question, are left out.
func listeners(ctx context.Context, proc string) ([]Listener, error) {
	wanted := map[uint64]*Listener{}
	var list []*Listener
	for _, protocol := range []string{"tcp", "udp"} {
		all, err := tables(ctx, filepath.Join(proc, "self"), protocol)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.state != listening || s.inode == 0 || protocol == "udp" && s.local.Port() >= firstEphemeral {
				continue
			}
			l := &Listener{Protocol: protocol, Address: s.local}
			wanted[s.inode] = l
			list = append(list, l)
		}
	}
	if len(list) > mostListeners {
		return nil, errManyListeners
	}
	if err := addOwners(ctx, proc, wanted); err != nil {
		return nil, err
	}
	found := make([]Listener, len(list))
	for i, l := range list {
		found[i] = *l
	}
	slices.SortFunc(found, func(a, b Listener) int {
		if c := strings.Compare(a.Protocol, b.Protocol); c != 0 {
			return c
		}
		if c := a.Address.Compare(b.Address); c != 0 {
			return c
		}
		return strings.Compare(a.Group, b.Group)
	})
	return found, nil
}

// firstEphemeral is from where the kernel gives out ports by itself, by default.
const firstEphemeral = 32768

// addOwners finds the control groups that hold the sockets. It ends as soon as
// all have one, which on most hosts is long before all processes were looked at:
// the services are older than the logins.
func addOwners(ctx context.Context, proc string, wanted map[uint64]*Listener) error {
	pids, err := processes(proc)
	if err != nil {
		return err
	}
	missing := len(wanted)
	for _, pid := range pids {
		if missing == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		held, dir := map[uint64]bool{}, filepath.Join(proc, strconv.Itoa(pid))
		if err := passGone(addInodes(held, dir)); err != nil {
			return fmt.Errorf("find the owners of sockets: %v", err)
		}
		group := ""
		for inode := range held {
			l := wanted[inode]
			if l == nil || l.Group != "" && l.Group != initGroup {
				continue
			}
			if group == "" {
				group = groupOf(dir)
			}
			if l.Group = group; group != initGroup {
				missing--
			}
		}
	}
	return nil
}

// processes are the ids of all processes, in order.
func processes(proc string) ([]int, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %v", err)
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %v", err)
	}
	var pids []int
	for _, name := range entries {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// groupOf is the control group of a process: the line "0::/path" of its cgroup
// file is the unified hierarchy's.
func groupOf(process string) string {
	text, err := os.ReadFile(filepath.Join(process, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(group)
		}
	}
	return ""
}

// missingBefore says whether the unit had no such socket before the trial either,
// which has not touched it. Of connections, of unix sockets and of other network
// namespaces the baseline knows nothing.
func (s *SocketSpec) missingBefore(u systemd.Unit, b *Baseline) bool {
	if b == nil || !b.ListenersRead || s.state() != listening || s.protocol() == "unix" || u.ControlGroup == "" || !b.untouched(u) || !inOwnNamespace(u.MainPID) {
		return false
	}
	n := 0
	for _, l := range b.Listeners {
		within := l.Group == u.ControlGroup || strings.HasPrefix(l.Group, u.ControlGroup+"/")
		if within && l.Protocol == s.protocol() && atEnd(l.Address, s.Local) {
			n++
		}
	}
	return n < max(s.Count, 1)
}

func inOwnNamespace(pid int) bool {
	its, err := os.Readlink(filepath.Join(procRoot, strconv.Itoa(pid), "ns/net"))
	own, ownErr := os.Readlink(filepath.Join(procRoot, "self/ns/net"))
	return err == nil && ownErr == nil && its == own
}
