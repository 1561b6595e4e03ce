package reach

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// watch looks for new connections from outside to the ports of ssh.
type watch struct {
	ports     []uint16
	witnesses []netip.Addr
	// before are the ends of all connections, and attempts at one, when it began.
	before map[ends]bool
	// witness and other are the first address of each kind that was seen.
	witness, other netip.Addr
}

type ends struct{ local, remote netip.AddrPort }

func newWatch(q Question, ports []uint16, sockets []probe.TCPSocket) *watch {
	w := &watch{ports: ports, before: map[ends]bool{}}
	for _, a := range q.WitnessAddresses {
		w.witnesses = append(w.witnesses, a.Unmap().WithZone(""))
	}
	for _, s := range sockets {
		if !s.Listens {
			w.before[ends{s.Local, s.Remote}] = true
		}
	}
	return w
}

// see takes in what connections there are. here says whether an address belongs to this
// host, or to what runs inside it.
func (w *watch) see(sockets []probe.TCPSocket, here func(netip.Addr) bool) {
	for _, s := range sockets {
		if !s.Reached || !slices.Contains(w.ports, s.Local.Port()) || w.before[ends{s.Local, s.Remote}] {
			continue
		}
		from := s.Remote.Addr()
		if from.IsLoopback() || from.IsUnspecified() || from == s.Local.Addr() || here(from) {
			continue
		}
		if slices.Contains(w.witnesses, from) {
			w.witness = from
		} else if !w.other.IsValid() {
			w.other = from
		}
	}
}

const (
	// poll is how often the connections are looked at. Without the kernel's word of those
	// that ended it is shortPoll: a handshake without a login is over in a few hundredths
	// of a second.
	poll      = 200 * time.Millisecond
	shortPoll = 40 * time.Millisecond
	// pollShare is how many times longer than a look the time between two of them is.
	pollShare = 20
	// pollLimit is how long a look at the connections may take.
	pollLimit = 5 * time.Second
)

// run looks until enough says so or ctx ends. The error is that of tables that cannot be
// read.
func (w *watch) run(ctx context.Context, enough func() bool) error {
	every := poll
	ended, err := watchEndings()
	if err != nil {
		every = shortPoll
	} else {
		defer ended.Close()
	}
	for {
		began := time.Now()
		polling, cancel := context.WithTimeout(ctx, pollLimit)
		sockets, err := probe.TCPSockets(polling)
		cancel()
		if err != nil && ctx.Err() == nil {
			return err
		}
		w.see(sockets, isHere)
		if ended != nil {
			w.see(ended.read(), isHere)
		}
		if enough() {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(every, pollShare*time.Since(began))):
		}
	}
}

// isHere says whether an address is the host's own, or of a network that begins and ends
// in it, as those of containers.
func isHere(a netip.Addr) bool {
	own, err := ownAddresses()
	if err != nil || slices.Contains(own, a.WithZone("")) {
		return true // what cannot be told from outside proves nothing
	}
	if a.IsLinkLocalUnicast() {
		return true // of which link is not told
	}
	table, parse := "/proc/net/ipv6_route", parseRoute6
	if a.Is4() {
		table, parse = "/proc/net/route", parseRoute4
	}
	routes, err := readProc(table)
	return err == nil && behindVirtual(a, routes, parse)
}

// behindVirtual says whether one of the routes leads to the address by a virtual interface.
func behindVirtual(a netip.Addr, routes string, parse func(row string) (to netip.Prefix, device string, ok bool)) bool {
	for row := range strings.Lines(routes) {
		if p, device, ok := parse(row); ok && p.Bits() > 0 && virtual.MatchString(device) && p.Contains(a) {
			return true
		}
	}
	return false
}
