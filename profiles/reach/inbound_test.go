package reach

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

func ends4(local, remote string) (netip.AddrPort, netip.AddrPort) {
	return netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
}

func tcp(local, remote string, reached bool) probe.TCPSocket {
	l, r := ends4(local, remote)
	return probe.TCPSocket{Local: l, Remote: r, Reached: reached}
}

func TestOnlyNewConnectionsFromOutsideAreSeen(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.20")
	here := func(a netip.Addr) bool { return a == own }
	before := []probe.TCPSocket{
		tcp("192.0.2.20:22", "198.51.100.1:1000", true),
		tcp("192.0.2.20:22", "198.51.100.2:1000", false), // half open
	}
	q := Question{Witness: "web2", WitnessAddresses: []netip.Addr{netip.MustParseAddr("::ffff:203.0.113.5")}}
	for _, c := range []struct {
		name           string
		socket         probe.TCPSocket
		witness, other bool
	}{
		{"one of before", before[0], false, false},
		{"one that was half open", tcp("192.0.2.20:22", "198.51.100.2:1000", true), false, false},
		{"one that is half open", tcp("192.0.2.20:22", "198.51.100.9:1", false), false, false},
		{"to another port", tcp("192.0.2.20:80", "198.51.100.9:1", true), false, false},
		{"from the port", tcp("192.0.2.20:4000", "198.51.100.9:22", true), false, false},
		{"loopback", tcp("127.0.0.1:22", "127.0.0.1:5000", true), false, false},
		{"the host's own outer address", tcp("192.0.2.20:22", "192.0.2.20:5000", true), false, false},
		{"from outside", tcp("192.0.2.20:22", "198.51.100.9:1", true), false, true},
		{"again from an address of before", tcp("192.0.2.20:22", "198.51.100.1:1001", true), false, true},
		{"the witness", tcp("192.0.2.20:22", "203.0.113.5:1", true), true, false},
		{"from outside over IPv6", tcp("[2001:db8::1]:22", "[2001:db8::2]:1", true), false, true},
	} {
		w := newWatch(q, []uint16{22}, before)
		w.see([]probe.TCPSocket{c.socket}, here)
		if w.witness.IsValid() != c.witness || w.other.IsValid() != c.other {
			t.Errorf("%s: witness %v, other %v", c.name, w.witness, w.other)
		}
	}
}

func TestWhatConnectionsProve(t *testing.T) {
	from := netip.MustParseAddr("203.0.113.5")
	never, worked := Question{Witness: "web2"}, Question{Witness: "web2", WitnessReached: true, WitnessAddresses: []netip.Addr{from}}
	for _, c := range []struct {
		name           string
		q              Question
		witness, other bool
		cutShort       bool
		inbound        Inbound
		state          State
	}{
		{"nothing", Question{}, false, false, false, NotProven, Unknown},
		{"somebody", Question{}, false, true, false, ByConnection, Proven},
		{"the witness", worked, true, true, false, ByWitness, Proven},
		{"not the witness", worked, false, false, false, NotProven, Failed},
		{"not the witness, who was not waited for", worked, false, false, true, NotProven, Unknown},
		{"not the witness, but somebody", worked, false, true, false, ByConnection, Changed},
		{"a witness that never worked", never, false, false, false, NotProven, Unknown},
		{"somebody, maybe the witness", Question{Witness: "web2", WitnessReached: true}, false, true, false, ByConnection, Proven},
	} {
		w := newWatch(c.q, []uint16{22}, nil)
		if c.witness {
			w.witness = from
		}
		if c.other {
			w.other = netip.MustParseAddr("198.51.100.9")
		}
		if inbound, f := w.judge(c.q, c.cutShort); inbound != c.inbound || f.State != c.state {
			t.Errorf("%s: %q, %s (%s)", c.name, inbound, f.State, f.Detail)
		}
	}
}

// The kernel's own tables are read: a connection of this machine with itself is reached,
// and proves nothing.
func TestOwnConnectionsProveNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	if list, err := listeners(t.Context(), []uint16{port}); err != nil || len(list) != 1 {
		t.Fatalf("it listens on %v, %v", list, err)
	}
	w := newWatch(Question{}, []uint16{port}, nil)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := false
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = w.run(ctx, func() bool {
		sockets, err := probe.TCPSockets(ctx)
		for _, s := range sockets {
			seen = seen || err == nil && s.Reached && s.Local.Port() == port
		}
		return seen
	})
	if err != nil || !seen {
		t.Fatalf("the connection is not in the kernel's table: %v", err)
	}
	if w.other.IsValid() || w.witness.IsValid() {
		t.Error("a connection of the host with itself proves something")
	}
}

func TestAProofReturnsBeforeItsTimeIsOver(t *testing.T) {
	end := time.Now().Add(margin + 2*time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	p := Host{Dir: t.TempDir()}.Prove(ctx, Question{Witness: "web2", WitnessReached: true}, Survey{Ports: []uint16{22}, Unread: map[string]string{
		Handshake: "x", Listening: "x", Sshd: "x", Keys: "x", Filter: "x", Network: "x",
	}})
	if left := time.Until(end); left < margin/2 {
		t.Errorf("%v are left", left)
	}
	if len(p.Findings) != 7 || p.Inbound != NotProven {
		t.Errorf("got %+v", p)
	}
	for _, f := range p.Findings[:6] {
		if f.State != Unknown {
			t.Errorf("%s is %s", f.Name, f.State)
		}
	}
}
