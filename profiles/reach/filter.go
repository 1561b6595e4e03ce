package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// packets are those whose fate decides: TCP from outside to a port of this host, or the
// answers.
type packets struct {
	port    uint16
	answers bool
	// own are the host's addresses; what is only for other addresses does not concern
	// these packets.
	own []netip.Addr
}

// match is whether a condition holds for the packets.
type match int

const (
	maybe match = iota
	never
	surely
)

func sure(holds bool) match {
	if holds {
		return surely
	}
	return never
}

func (m match) not() match {
	switch m {
	case never:
		return surely
	case surely:
		return never
	default:
		return maybe
	}
}

// atPort says whether a range of ports has the one.
func (p packets) atPort(from, to uint64) match {
	return sure(from <= uint64(p.port) && uint64(p.port) <= to)
}

// atAddress judges a prefix that the host's end of the connection must be in.
func (p packets) atAddress(prefix netip.Prefix) match {
	if prefix.Bits() == 0 || len(p.own) == 0 || slices.ContainsFunc(p.own, prefix.Contains) {
		return maybe
	}
	return never
}

// atInterface judges the interface that the packets pass.
func (p packets) atInterface(name string) match {
	if virtual.MatchString(strings.TrimRight(name, "*+")) {
		return never
	}
	return maybe
}

// hooked says whether chains of a hook, by its name in small letters, see the packets.
func (p packets) hooked(hook string) bool {
	if p.answers {
		return hook == "output" || hook == "postrouting" || hook == "egress"
	}
	return hook == "input" || hook == "prerouting" || hook == "ingress"
}

// mostFilter caps the lines that are kept of a packet filter.
const mostFilter = 20_000

// readFilter is all that decides about TCP to the ports, line by line, in words of the
// programs that show it.
func (h Host) readFilter(ctx context.Context, ports []uint16) ([]string, error) {
	own, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	shown, err := h.showFilter(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, port := range ports {
		for _, answers := range []bool{false, true} {
			p := packets{port: port, answers: answers, own: own}
			head := fmt.Sprintf("to port %d: ", port)
			if answers {
				head = fmt.Sprintf("from port %d: ", port)
			}
			for _, line := range shown.lines(p) {
				lines = append(lines, head+line)
			}
		}
	}
	if len(lines) > mostFilter {
		return nil, fmt.Errorf("read the packet filter: more than %d lines", mostFilter)
	}
	return lines, nil
}

func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read addresses: %v", err)
	}
	var own []netip.Addr
	for _, a := range list {
		if p, ok := prefixOf(a); ok {
			own = append(own, p.Addr())
		}
	}
	return own, nil
}

// filters is the packet filter as the host's programs show it.
type filters struct {
	nft    *nftRuleset
	tables []xtTable
}

func (f filters) lines(p packets) []string {
	var lines []string
	for _, t := range f.tables {
		lines = append(lines, t.lines(p)...)
	}
	if f.nft != nil {
		lines = append(lines, f.nft.lines(p)...)
	}
	return lines
}

var errNoFilter = errors.New("the host has no program that shows its packet filter")

// showFilter asks each of the programs that is there. What iptables made is seen by nft,
// which cannot tell its matches: there iptables is believed.
func (h Host) showFilter(ctx context.Context) (filters, error) {
	var f filters
	shown := false
	for _, x := range []struct{ program, family string }{{"iptables-save", "ip"}, {"ip6tables-save", "ip6"}} {
		m, ok := h.has(x.program)
		if !ok {
			continue
		}
		out, err := m.Output(ctx, x.program)
		if err != nil {
			return f, fmt.Errorf("read the packet filter: %v", err)
		}
		f.tables = append(f.tables, parseTables(x.family, string(out))...)
		shown = true
	}
	if m, ok := h.has("nft"); ok {
		out, err := m.Output(ctx, "nft", "--stateless", "--json", "list", "ruleset")
		if err != nil {
			return f, fmt.Errorf("read the packet filter: %v", err)
		}
		if f.nft, err = parseNft(out); err != nil {
			return f, fmt.Errorf("read the packet filter: %v", err)
		}
		for _, t := range f.tables {
			if t.overNft {
				f.nft.leaveOut(t.family, t.name)
			}
		}
		shown = true
	}
	if !shown {
		return f, errNoFilter
	}
	return f, nil
}

// compareFilter judges what became of it.
func compareFilter(before, now []string) Finding {
	if slices.Equal(before, now) {
		return finding(Filter, Proven, "what decides about the ports of ssh is as before (%s)", count(len(now), "line"))
	}
	at := 0
	for at < len(before) && at < len(now) && before[at] == now[at] {
		at++
	}
	return finding(Filter, Changed, "where there was %s, there is %s", lineAt(before, at), lineAt(now, at))
}

func lineAt(lines []string, at int) string {
	if at >= len(lines) {
		return "nothing more"
	}
	line := []rune(lines[at])
	if len(line) > 200 {
		line = append(line[:200], '…')
	}
	return fmt.Sprintf("%q", string(line))
}
