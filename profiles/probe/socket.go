package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// SocketSpec asks for sockets that a unit's processes hold.
type SocketSpec struct {
	// Unit is whose control group must hold them, children included. The sockets of
	// a unit of type socket are PID 1's, until a service takes them.
	Unit string `json:"unit"`
	// Protocol is tcp if empty, udp or unix.
	Protocol string `json:"protocol,omitempty"`
	// State is listening if empty, or established. An unconnected UDP socket listens.
	State string `json:"state,omitempty"`
	// Local and Remote are address:port, or :port for any address; a path, or @name,
	// with unix. An address must be the very one: 0.0.0.0 is not 127.0.0.1.
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	// Count is how many there must be at least; one if zero.
	Count int `json:"count,omitempty"`
}

func socketKind() kind {
	return kind{
		About: About{
			Kind: KindSocket, Vantages: []string{FromHost}, Text: "a unit's processes listen, or are connected, where they should",
			Params: []Param{
				{Name: "unit", Type: Text, Required: true, Text: "whose processes hold the socket"},
				{Name: "protocol", Type: Text, Default: `"tcp"`, Words: []string{"tcp", "udp", "unix"}, Text: "the socket's protocol"},
				{Name: "state", Type: Text, Default: `"listening"`, Words: []string{listening, established}, Text: "the socket's state"},
				{Name: "local", Type: Text, Text: "its own address:port, or :port; a path or @name with unix"},
				{Name: "remote", Type: Text, Text: "address:port, or :port, that it is connected to"},
				{Name: "count", Type: Number, Default: "1", Text: "how many there must be at least"},
			},
		},
		question: func() Question { return &SocketSpec{} },
	}
}

func (s *SocketSpec) validate() error {
	errs := []error{ValidUnit(s.Unit)}
	if !slices.Contains([]string{"", "tcp", "udp", "unix"}, s.Protocol) {
		errs = append(errs, fmt.Errorf("protocol must be tcp, udp or unix, not %q", clean(s.Protocol)))
	}
	if !slices.Contains([]string{"", listening, established}, s.State) {
		errs = append(errs, fmt.Errorf("state must be %s or %s, not %q", listening, established, clean(s.State)))
	}
	if s.Count < 0 || s.Count > mostSockets {
		errs = append(errs, fmt.Errorf("count must be from 1 to %d, not %d", mostSockets, s.Count))
	}
	if s.Remote != "" && s.state() == listening {
		errs = append(errs, errors.New("a socket that listens has no remote"))
	}
	if strings.HasSuffix(s.Unit, ".socket") && s.Local == "" {
		errs = append(errs, errors.New("local is missing: the sockets of all units of type socket are held by PID 1"))
	}
	if s.Protocol == "unix" {
		if s.Remote != "" {
			errs = append(errs, errors.New("the kernel does not tell what a unix socket is connected to"))
		}
		if s.Local != "" && !strings.HasPrefix(s.Local, "@") {
			errs = append(errs, validPath("local", s.Local))
		}
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, validEnd("local", s.Local), validEnd("remote", s.Remote))...)
}

// validEnd wants address:port or :port, both as numbers: no name is looked up.
func validEnd(key, end string) error {
	if _, _, ok := parseEnd(end); end != "" && !ok {
		return fmt.Errorf("%s must be address:port or :port, in numbers, not %q", key, clean(end))
	}
	return nil
}

func parseEnd(end string) (netip.Addr, uint16, bool) {
	host, port, err := net.SplitHostPort(end)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 {
		return netip.Addr{}, 0, false
	}
	if host == "" {
		return netip.Addr{}, uint16(n), true
	}
	address, err := netip.ParseAddr(host)
	return address.Unmap(), uint16(n), err == nil
}

// atEnd says whether an end of a socket is the wanted one; an empty one is any.
func atEnd(seen netip.AddrPort, wanted string) bool {
	if wanted == "" {
		return true
	}
	address, port, ok := parseEnd(wanted)
	return ok && seen.Port() == port && (!address.IsValid() || seen.Addr() == address)
}

func (s *SocketSpec) units() []string { return []string{s.Unit} }

func (s *SocketSpec) state() string {
	if s.State == "" {
		return listening
	}
	return s.State
}

func (s *SocketSpec) protocol() string {
	if s.Protocol == "" {
		return "tcp"
	}
	return s.Protocol
}

func (s *SocketSpec) matches(found socket) bool {
	if found.protocol != s.protocol() || found.state != s.state() {
		return false
	}
	if found.protocol == "unix" {
		return s.Local == "" || found.path == s.Local
	}
	return atEnd(found.local, s.Local) && atEnd(found.remote, s.Remote)
}

func (s *SocketSpec) expected() string {
	text := fmt.Sprintf("%s has a %s %s socket", s.Unit, s.state(), s.protocol())
	if s.Count > 1 {
		text = fmt.Sprintf("%s has %d %s %s sockets", s.Unit, s.Count, s.state(), s.protocol())
	}
	if s.Local != "" {
		text += " at " + s.Local
	}
	if s.Remote != "" {
		text += " to " + s.Remote
	}
	return text
}

func (s *SocketSpec) try(ctx context.Context, a attempt) finding {
	expected := s.expected()
	units, err := a.host.Systemd.Show(ctx, s.Unit)
	if err != nil {
		return silent(expected, err)
	}
	u, ok := named(units, s.Unit)
	if !ok || u.Load != "loaded" {
		return fail("not-loaded", expected, describe(systemd.Unit{ID: s.Unit, Load: loadOf(u)})).try("systemctl cat " + s.Unit)
	}
	owned, err := s.ownedBy(ctx, u)
	if err != nil {
		return unknown("sockets", expected, "the kernel's tables could not be read").because(err.Error())
	}
	return s.judge(ctx, u, owned, a.host.Baseline)
}

func (s *SocketSpec) ownedBy(ctx context.Context, u systemd.Unit) ([]socket, error) {
	if strings.HasSuffix(u.ID, ".socket") {
		return heldBy(ctx, procRoot, []int{1}, s.protocol())
	}
	if u.ControlGroup == "" {
		return nil, nil
	}
	return ownedSockets(ctx, groupRoot, u.ControlGroup, s.protocol())
}

func (s *SocketSpec) judge(ctx context.Context, u systemd.Unit, owned []socket, b *Baseline) finding {
	expected := s.expected()
	var matching, others []socket
	for _, found := range owned {
		if s.matches(found) {
			matching = append(matching, found)
		} else if found.state == s.state() {
			others = append(others, found)
		}
	}
	if len(matching) > 0 && len(matching) >= s.Count {
		return pass(expected, some(matching))
	}
	seen := fmt.Sprintf("%s has %d", describe(u), len(matching))
	switch {
	case b.failedToo(u) || s.missingBefore(u, b):
		return failedBefore(expected, u, "it had no such socket before the trial either").try("ss -lnp; systemctl status " + s.Unit)
	case u.Active != "active":
		return fail("not-running", expected, describe(u)).try("journalctl -u " + s.Unit + " -e")
	case s.state() == established:
		return fail("not-connected", expected, seen).because(some(others)).try("journalctl -u " + s.Unit + " -e")
	}
	if holder := s.holder(ctx); holder != "" && holder != u.ControlGroup {
		return fail("other-owner", expected, s.Local+" is held by "+holder).because(some(others)).try("ss -lnp; systemctl status " + s.Unit)
	}
	return fail("not-listening", expected, seen).because(some(others)).try("ss -lnp; systemctl status " + s.Unit)
}

// holder is the control group that listens at the wanted place instead; empty if
// nobody does, or it is not known.
func (s *SocketSpec) holder(ctx context.Context) string {
	if s.Local == "" || s.protocol() == "unix" {
		return ""
	}
	all, err := listeners(ctx, procRoot)
	if err != nil {
		return ""
	}
	for _, l := range all {
		if l.Protocol == s.protocol() && atEnd(l.Address, s.Local) {
			return l.Group
		}
	}
	return ""
}

// some are the first few sockets in words.
func some(sockets []socket) string {
	const most = 4
	var text []string
	for _, found := range sockets[:min(most, len(sockets))] {
		text = append(text, found.String())
	}
	if more := len(sockets) - most; more > 0 {
		text = append(text, fmt.Sprintf("%d more", more))
	}
	return strings.Join(text, ", ")
}
