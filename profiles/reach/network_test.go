package reach

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestRoutesAndAddressesOfTheKernel(t *testing.T) {
	if bigEndian {
		t.Fatal("the recorded lines are of a machine that has numbers the other way round")
	}
	for _, c := range []struct {
		parse     func(string) (string, string)
		row, want string
	}{
		{parseDefault4, "eth0\t00000000\t010200C0\t0003\t0\t0\t1024\t00000000\t0\t0\t0", "default via 192.0.2.1 dev eth0"},
		{parseDefault4, "host0\t00002C0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0", ""},
		{parseDefault4, "eth0\t00000000\t010200C0\t0203\t0\t0\t1024\t00000000\t0\t0\t0", ""},
		{parseDefault4, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", ""},
		{parseDefault6, "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003 eth0", "default via fe80::1 dev eth0"},
		{parseDefault6, "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo", ""},
		{parseDefault6, "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0", ""},
		{parseAddress6, "20010db8000000000000000000000005 02 40 00 80     eth0", "eth0 2001:db8::5/64"},
		{parseAddress6, "20010db80000000002163efffe123456 02 40 00 00     eth0", "eth0 2001:db8::/64"}, // made up by itself
		{parseAddress6, "20010db8000000001111222233334444 02 40 00 01     eth0", ""},                   // temporary
		{parseAddress6, "20010db8000000000000000000000005 02 40 00 c0     eth0", ""},                   // tentative
		{parseAddress6, "fe8000000000000002163efffe123456 02 40 20 80     eth0", ""},
		{parseAddress6, "00000000000000000000000000000001 01 80 10 80       lo", ""},
	} {
		if got, _ := c.parse(c.row); got != c.want {
			t.Errorf("%q is %q, want %q", c.row, got, c.want)
		}
	}
	if p, device, ok := parseRoute4("ve-web\t0A01E90A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0"); !ok || device != "ve-web" || p.String() != "10.233.1.10/32" {
		t.Errorf("got %v %s %v", p, device, ok)
	}
}

func TestChangesOfTheNetwork(t *testing.T) {
	before := []string{"default via 192.0.2.1 dev eth0", "eth0 192.0.2.20/24"}
	for _, c := range []struct {
		name string
		now  []string
		want State
	}{
		{"the same", before, Proven},
		{"one more address", append([]string{"eth1 10.0.0.1/8"}, before...), Proven},
		{"one more default route", append([]string{"default via 10.0.0.2 dev eth1"}, before...), Changed},
		{"no address", before[:1], Changed},
		{"no route", before[1:], Changed},
	} {
		if f := compareNetwork(before, c.now); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
	for name, want := range map[string]bool{
		"lo": true, "docker0": true, "vethab12": true, "br-0123456789ab": true, "ve-web": true,
		"eth0": false, "br-lan": false, "br0": false, "tailscale0": false, "wg0": false, "host0": false,
	} {
		if virtual.MatchString(name) != want {
			t.Errorf("%s is of what runs in the host: %v", name, !want)
		}
	}
}

func TestReadNetworkOfThisMachine(t *testing.T) {
	lines, err := readNetwork()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if strings.HasPrefix(l, "lo ") {
			t.Errorf("%q says nothing about being reached", l)
		}
	}
}

func TestChangesOfWhatIsReached(t *testing.T) {
	noName, refused := &net.DNSError{Err: "no such host", Name: "a"}, errors.New("connection refused")
	all := []string{"https://a", "https://b"}
	for _, c := range []struct {
		name    string
		before  []string
		answers map[string]error
		want    State
	}{
		{"all", all, map[string]error{"https://a": nil, "https://b": nil}, Proven},
		{"none by name", all, map[string]error{"https://a": noName, "https://b": noName}, Failed},
		{"one by name", all, map[string]error{"https://a": noName, "https://b": nil}, Changed},
		{"one by name, one otherwise", all, map[string]error{"https://a": noName, "https://b": refused}, Changed},
		{"none", all, map[string]error{"https://a": refused, "https://b": refused}, Changed},
		{"as before", nil, map[string]error{"https://a": noName}, Unknown},
		{"one as before", all[:1], map[string]error{"https://a": nil, "https://b": refused}, Unknown},
	} {
		if f := compareOutward(c.before, c.answers); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
}

func TestOutwardNeedsACertificateThatIsValid(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	if err := reachOutward(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reachOutward(gone, server.URL); err == nil {
		t.Error("it was reached without time")
	}
	for place, want := range map[string]string{"https://a": "a:443", "https://a:8443/": "a:8443", "https://[::1]": "[::1]:443"} {
		if got, _, err := outwardAddress(place); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", place, got, err, want)
		}
	}
	for _, place := range []string{"", "http://a", "https://", "https://a/b", "https://u@a", "https://a?b", "://"} {
		if _, _, err := outwardAddress(place); err == nil {
			t.Errorf("%q is a place", place)
		}
	}
}

func TestWhatRunsInsideTheHostIsNotOutside(t *testing.T) {
	const routes = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 docker0\n" +
		"20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003 eth0\n" +
		"nonsense\nfe 81 x\n"
	for text, want := range map[string]bool{"fd00::7": true, "2001:db8::7": false, "2001:db8:1::7": false} {
		if got := behindVirtual(netip.MustParseAddr(text), routes, parseRoute6); got != want {
			t.Errorf("%s is inside: %v", text, got)
		}
	}
	if !isHere(netip.MustParseAddr("fe80::7")) {
		t.Error("an address of some link is outside")
	}
}

func TestATunnelForEverythingIsAChange(t *testing.T) {
	before := []string{"eth0 192.0.2.20/24", "packets to 1.1.1.1 leave from 192.0.2.20/32"}
	now := []string{"eth0 192.0.2.20/24", "wg0 10.66.0.2/32", "packets to 1.1.1.1 leave from 10.66.0.2/32"}
	if f := compareNetwork(before, now); f.State != Changed || !strings.Contains(f.Detail, "1.1.1.1") {
		t.Errorf("%+v", f)
	}
	if own, ok := sourceTo(netip.MustParseAddr("127.0.0.7")); !ok || own.String() != "127.0.0.1" {
		t.Errorf("a packet to loopback leaves from %v", own)
	}
}

func FuzzNetwork(f *testing.F) {
	f.Add("eth0\t00000000\t010200C0\t0003\t0\t0\t1024\t00000000\t0\t0\t0")
	f.Add("00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003 eth0")
	f.Add("20010db8000000000000000000000005 02 40 00 80     eth0")
	f.Fuzz(func(t *testing.T, row string) {
		for _, parse := range []func(string) (string, string){parseDefault4, parseDefault6, parseAddress6} {
			if line, device := parse(row); (line == "") != (device == "") || !strings.Contains(line, device) {
				t.Errorf("%q is %q at %q", row, line, device)
			}
		}
		if p, _, ok := parseRoute4(row); ok && (!p.IsValid() || p.Addr() == netip.Addr{}) {
			t.Errorf("%q is %v", row, p)
		}
	})
}
