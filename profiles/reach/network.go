package reach

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// virtual are the names that container engines and hypervisors give to their ends and
// bridges: they come and go with what runs in them, and no deployer comes by them.
var virtual = regexp.MustCompile(`^(lo|(veth|docker|virbr|vnet|podman|cni|cali|flannel|lxcbr|lxdbr|incusbr|ve-|vb-).*|br-[0-9a-f]{12})$`)

// Flags of an address in /proc/net/if_inet6, IFA_F_… of linux/if_addr.h.
const (
	temporaryAddress = 0x01
	unusableAddress  = 0x08 | 0x20 | 0x40 // a duplicate, deprecated, tentative
	permanentAddress = 0x80
)

// readNetwork are the global addresses of interfaces that are up, the default routes, and
// where packets leave, a line each.
func readNetwork() ([]string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("read addresses: %v", err)
	}
	var lines, up []string
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || virtual.MatchString(i.Name) {
			continue
		}
		up = append(up, i.Name)
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("read addresses: %v", err)
		}
		for _, a := range addresses {
			if p, ok := prefixOf(a); ok && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				lines = append(lines, i.Name+" "+p.String())
			}
		}
	}
	for path, parse := range map[string]func(string) (line, device string){
		"/proc/net/if_inet6": parseAddress6, "/proc/net/route": parseDefault4, "/proc/net/ipv6_route": parseDefault6,
	} {
		text, err := readProc(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for row := range strings.Lines(text) {
			if line, device := parse(row); line != "" && slices.Contains(up, device) {
				lines = append(lines, line)
			}
		}
	}
	lines = append(lines, sources()...)
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// far are addresses of nobody (RFC 5737, RFC 3849) and one in the other half of IPv4, which
// a tunnel for everything has a route of its own to.
var far = []netip.Addr{testAddress, netip.AddrFrom4([4]byte{1, 1, 1, 1}), netip.MustParseAddr("2001:db8::1")}

// sources say from which addresses packets to far away leave: rules and tables beside the
// main one, as those of a tunnel, send the answers of sshd elsewhere, and no default route
// shows it. Of IPv6 only the network counts: a host makes up addresses in it at any time.
func sources() []string {
	var lines []string
	for _, to := range far {
		from, ok := sourceTo(to)
		if !ok || from.IsLoopback() {
			continue
		}
		prefix := netip.PrefixFrom(from, from.BitLen())
		if from.Is6() {
			prefix = netip.PrefixFrom(from, 64).Masked()
		}
		lines = append(lines, "packets to "+to.String()+" leave from "+prefix.String())
	}
	return lines
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), ok
}

// parseAddress6 reads a line of /proc/net/if_inet6: address, index, length of the prefix,
// scope, flags, name. Of an address that was made up from what a router said only the
// prefix counts: the host may make up another one at any time.
func parseAddress6(row string) (line, device string) {
	f := strings.Fields(row)
	if len(f) != 6 || f[3] != "00" {
		return "", ""
	}
	ip, ok := parseHex6(f[0])
	bits, bitsErr := strconv.ParseUint(f[2], 16, 8)
	flags, flagsErr := strconv.ParseUint(f[4], 16, 32)
	if !ok || bitsErr != nil || flagsErr != nil || bits > 128 || flags&(temporaryAddress|unusableAddress) != 0 {
		return "", ""
	}
	prefix := netip.PrefixFrom(ip, int(bits))
	if flags&permanentAddress == 0 {
		prefix = prefix.Masked()
	}
	return f[5] + " " + prefix.String(), f[5]
}

func parseHex6(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(raw)), true
}

// Flags of a route, RTF_… of linux/route.h.
const (
	routeUp     = 0x0001
	routeReject = 0x0200
)

// parseRoute4 reads a line of /proc/net/route: interface, destination, gateway, flags, …,
// the mask as the eighth; addresses as they are in memory.
func parseRoute4(row string) (to netip.Prefix, device string, ok bool) {
	f := strings.Fields(row)
	if len(f) < 8 {
		return netip.Prefix{}, "", false
	}
	destination, okDestination := parseHex4(f[1])
	mask, okMask := parseHex4(f[7])
	flags, err := strconv.ParseUint(f[3], 16, 32)
	if !okDestination || !okMask || err != nil || flags&routeUp == 0 || flags&routeReject != 0 {
		return netip.Prefix{}, "", false
	}
	bits, _ := net.IPMask(mask.AsSlice()).Size()
	return netip.PrefixFrom(destination, bits), f[0], bits > 0 || mask.IsUnspecified()
}

// parseRoute6 reads a line of /proc/net/ipv6_route, as [parseDefault6] has it.
func parseRoute6(row string) (to netip.Prefix, device string, ok bool) {
	f := strings.Fields(row)
	if len(f) != 10 {
		return netip.Prefix{}, "", false
	}
	destination, okDestination := parseHex6(f[0])
	bits, bitsErr := strconv.ParseUint(f[1], 16, 8)
	flags, err := strconv.ParseUint(f[8], 16, 32)
	if !okDestination || bitsErr != nil || bits > 128 || err != nil || flags&routeUp == 0 || flags&routeReject != 0 {
		return netip.Prefix{}, "", false
	}
	return netip.PrefixFrom(destination, int(bits)), f[9], true
}

func parseHex4(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	if !bigEndian {
		slices.Reverse(raw)
	}
	return netip.AddrFrom4([4]byte(raw)), true
}

func parseDefault4(row string) (line, device string) {
	to, device, ok := parseRoute4(row)
	if !ok || to.Bits() != 0 {
		return "", ""
	}
	gateway, ok := parseHex4(strings.Fields(row)[2])
	if !ok {
		return "", ""
	}
	return "default via " + gateway.String() + " dev " + device, device
}

// parseDefault6 reads one of /proc/net/ipv6_route: destination, length of its prefix,
// source, length, gateway, metric, references, use, flags, interface.
func parseDefault6(row string) (line, device string) {
	f := strings.Fields(row)
	if len(f) != 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || f[3] != "00" {
		return "", ""
	}
	gateway, ok := parseHex6(f[4])
	flags, err := strconv.ParseUint(f[8], 16, 32)
	if !ok || err != nil || flags&routeUp == 0 || flags&routeReject != 0 {
		return "", ""
	}
	return "default via " + gateway.String() + " dev " + f[9], f[9]
}

// compareNetwork misses nothing where an address came beside those of before; a default
// route that came takes answers another way.
func compareNetwork(before, now []string) Finding {
	var changed []string
	for _, line := range before {
		if !slices.Contains(now, line) {
			changed = append(changed, "gone: "+line)
		}
	}
	for _, line := range now {
		if strings.HasPrefix(line, "default ") && !slices.Contains(before, line) {
			changed = append(changed, "new: "+line)
		}
	}
	if len(changed) > 0 {
		return finding(Network, Changed, "%s", strings.Join(changed, "; "))
	}
	return finding(Network, Proven, "addresses and default routes are as before")
}
