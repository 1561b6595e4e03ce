package reach

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func recorded(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var ownAddress = netip.MustParseAddr("192.0.2.20")

// shown is the filter for a port as one recorded output tells it.
func shown(t *testing.T, text string, port uint16) []string {
	t.Helper()
	var f filters
	if strings.HasPrefix(text, "{") {
		var err error
		if f.nft, err = parseNft([]byte(text)); err != nil {
			t.Fatal(err)
		}
	} else {
		f.tables = parseTables("ip", text)
	}
	return append(f.lines(packets{port: port, own: []netip.Addr{ownAddress}}), f.lines(packets{port: port, answers: true, own: []netip.Addr{ownAddress}})...)
}

func TestPacketFilterIsReducedToThePort(t *testing.T) {
	for _, c := range []struct {
		file       string
		has, hasNo []string
	}{
		{"nixos.json", []string{
			"nixos-fw input: filter of input, priority 0, otherwise drop", `"new",{"jump":{"target":"input-allow"}}`, `input-allow: [{"accept":null}]`,
			"rpfilter: filter of prerouting", `"prefix":{"addr":"192.0.2.0","len":24}`, `"redirect":{"port":22}`, `[[22,{"jump":{"target":"guard"}}]]`,
			`guard: [{"ct count"`, `late out: [{"accept":null}]`,
		}, []string{"icmp", "udp", "docker0", "lo\"", "443", "203.0.113", "198.51.100", "8080", "172.17.0.2", "passing", "log", "counter", "eth1", "handle", "25"}},
		{"iptables-nft.txt", []string{
			"INPUT: otherwise ACCEPT", "nixos-fw: -j nixos-fw-accept", "--ctstate RELATED,ESTABLISHED", "nixos-fw-refuse: -j DROP",
			"nixos-fw-rpfilter: --validmark -j RETURN", "--dport 2222 -j REDIRECT --to-ports 22",
		}, []string{"udp", "icmp", "443", "6000", "8443", "203.0.113.9", "8080", "beside", "f2b-sshd", "LOG", "docker0", "FORWARD", " lo "}},
		{"ip6tables-nft.txt", []string{"nixos-fw-refuse: -j DROP"}, []string{"fe80", "icmpv6"}},
	} {
		all := strings.Join(shown(t, recorded(t, c.file), 22), "\n")
		for _, want := range c.has {
			if !strings.Contains(all, want) {
				t.Errorf("%s: %q is not left in\n%s", c.file, want, all)
			}
		}
		for _, none := range c.hasNo {
			if strings.Contains(all, none) {
				t.Errorf("%s: %q is left in\n%s", c.file, none, all)
			}
		}
	}
}

func TestLegacyAndNewIptablesTellTheSame(t *testing.T) {
	if old, now := shown(t, recorded(t, "iptables-legacy.txt"), 22), shown(t, recorded(t, "iptables-nft.txt"), 22); !slices.Equal(old, now) {
		t.Errorf("they differ:\n%q\n%q", old, now)
	}
}

// What nft cannot tell about the rules of iptables is left to iptables.
func TestTablesOfIptablesAreNotReadTwice(t *testing.T) {
	f := filters{tables: append(parseTables("ip", recorded(t, "iptables-nft.txt")), parseTables("ip6", recorded(t, "ip6tables-nft.txt"))...)}
	var err error
	if f.nft, err = parseNft([]byte(recorded(t, "iptables-seen-by-nft.json"))); err != nil {
		t.Fatal(err)
	}
	p := packets{port: 22}
	if len(f.nft.lines(p)) == 0 {
		t.Fatal("nft shows nothing of them, so this tests nothing")
	}
	for _, table := range f.tables {
		if !table.overNft {
			t.Errorf("table %s is not told from a legacy one", table.name)
		}
		f.nft.leaveOut(table.family, table.name)
	}
	if left := f.nft.lines(p); len(left) > 0 {
		t.Errorf("read twice: %q", left)
	}
}

func TestChangesOfThePacketFilter(t *testing.T) {
	nft, xt := recorded(t, "nixos.json"), recorded(t, "iptables-nft.txt")
	for _, c := range []struct {
		name, text, from, to string
		want                 State
	}{
		{"another port is opened", nft, `"range": [6000, 6010]`, `"range": [7000, 7010]`, Proven},
		{"ssh is closed", nft, `{"set": [22, 80, 443, `, `{"set": [80, 443, `, Changed},
		{"ssh in a range", nft, `{"set": [22, 80, 443, `, `{"set": [{"range": [20, 30]}, 80, 443, `, Proven},
		{"an address is banned", nft, `"203.0.113.77"`, `"203.0.113.78"`, Proven},
		{"a set of bans has grown", nft, `"elem": ["203.0.113.9", `, `"elem": ["203.0.113.90", "203.0.113.9", `, Proven},
		{"a network is banned", nft, `"addr": "192.0.2.0"`, `"addr": "192.0.3.0"`, Changed},
		{"the policy", nft, `"hook": "input", "prio": -1, "policy": "accept"`, `"hook": "input", "prio": -1, "policy": "drop"`, Changed},
		{"the priority", nft, `"hook": "input", "prio": -1`, `"hook": "input", "prio": 20`, Changed},
		{"a chain that is jumped to", nft, `"val": 20`, `"val": 2`, Changed},
		{"the answers", nft, `"field": "sport"}}, "right": 22}}, {"accept"`, `"field": "sport"}}, "right": 22}}, {"drop"`, Changed},
		{"the answers of another port", nft, `"field": "sport"}}, "right": 25}}, {"drop"`, `"field": "sport"}}, "right": 26}}, {"drop"`, Proven},
		{"where a map leads", nft, `[22, {"jump"`, `[22, {"goto"`, Changed},
		{"what passes through", nft, `"hook": "forward", "prio": 0, "policy": "drop"`, `"hook": "forward", "prio": 0, "policy": "accept"`, Proven},
		{"handles", nft, `"handle": 1`, `"handle": 7`, Proven},
		{"another port is opened", xt, "--dport 443 -j nixos-fw-accept", "--dport 444 -j nixos-fw-accept", Proven},
		{"ssh is closed", xt, "-A nixos-fw -p tcp -m tcp --dport 22 -j nixos-fw-accept\n", "", Changed},
		{"ssh is closed by a range", xt, "--dport 80 -j nixos-fw-accept", "--dport 1:100 -j nixos-fw-refuse", Changed},
		{"ssh among others", xt, "--dports 8000,8443 -m comment", "--dports 8000,22 -m comment", Changed},
		{"all but one port", xt, "-p tcp -m tcp --dport 443 -j nixos-fw-accept", "-p tcp -m tcp ! --dport 443 -j nixos-fw-refuse", Changed},
		{"all but ssh", xt, "-p tcp -m tcp --dport 443 -j nixos-fw-accept", "-p tcp -m tcp ! --dport 22 -j nixos-fw-refuse", Proven},
		{"an address is banned", xt, "-s 203.0.113.9/32", "-s 203.0.113.99/32", Proven},
		{"a network is banned", xt, "-s 203.0.113.9/32", "-s 203.0.113.0/24", Changed},
		{"for another address of nobody", xt, "-A INPUT -j nixos-fw\n", "-A INPUT -d 203.0.113.200/32 -j DROP\n-A INPUT -j nixos-fw\n", Proven},
		{"for the own address", xt, "-A INPUT -j nixos-fw\n", "-A INPUT -d 192.0.2.20/32 -j DROP\n-A INPUT -j nixos-fw\n", Changed},
		{"a container's port", xt, "172.17.0.2:80", "172.17.0.3:80", Proven},
		{"the policy", xt, "*filter\n:INPUT ACCEPT", "*filter\n:INPUT DROP", Changed},
		{"counters", xt, ":INPUT ACCEPT [0:0]", ":INPUT ACCEPT [12:345]", Proven},
		{"a comment", xt, `--comment "web \"beside\""`, `--comment "other words"`, Proven},
	} {
		changed := strings.Replace(c.text, c.from, c.to, 1)
		if changed == c.text {
			t.Errorf("%s: %q is not in the recorded output", c.name, c.from)
			continue
		}
		if f := compareFilter(shown(t, c.text, 22), shown(t, changed, 22)); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
	dynamic := strings.Replace(knocking, "RULE", `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@knocked"}},{"accept":null}`, 1)
	for _, c := range []struct {
		name, before, now string
		want              State
	}{
		{"fail2ban makes its chain at the first ban", "*filter\n:INPUT ACCEPT\n-A INPUT -s 192.0.2.0/24 -j DROP\n",
			"*filter\n:INPUT ACCEPT\n:f2b-sshd -\n-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\n-A INPUT -s 192.0.2.0/24 -j DROP\n-A f2b-sshd -s 203.0.113.9/32 -j REJECT\n-A f2b-sshd -j RETURN\n", Proven},
		{"Docker was added", "", "*nat\n:PREROUTING ACCEPT\n:POSTROUTING ACCEPT\n:DOCKER -\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A POSTROUTING -s 192.0.2.0/24 ! -o docker0 -j MASQUERADE\n-A DOCKER -i docker0 -j RETURN\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n", Proven},
		{"a container takes the port", "", "*nat\n:PREROUTING ACCEPT\n:DOCKER -\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 22 -j DNAT --to-destination 172.17.0.2:22\n", Changed},
		{"chains in a ring", "", "*filter\n:INPUT ACCEPT\n:a -\n:b -\n-A INPUT -j a\n-A a -j b\n-A b -j a\n", Changed},
		{"goes to a chain that returns", "*filter\n:INPUT DROP\n:a -\n-A INPUT -j ACCEPT\n", "*filter\n:INPUT DROP\n:a -\n-A INPUT -g a\n-A INPUT -j ACCEPT\n", Changed},
		{"a set that packets fill lets in no more", dynamic, strings.Replace(knocking, "RULE", `{"counter":null}`, 1), Changed},
		{"what is not in a set that packets fill", strings.Replace(strings.Replace(dynamic, `"=="`, `"!="`, 1), "accept", "drop", 1), strings.Replace(knocking, "RULE", `{"drop":null}`, 1), Changed},
	} {
		if f := compareFilter(shown(t, c.before, 22), shown(t, c.now, 22)); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
	for _, text := range []string{nft, xt} {
		if f := compareFilter(shown(t, text, 22), nil); f.State != Changed {
			t.Errorf("no rules any more: %s", f.State)
		}
	}
}

// knocking is a chain with one RULE, and a set of whoever has knocked.
const knocking = `{"nftables":[{"set":{"family":"inet","table":"f","name":"knocked","flags":["dynamic","timeout"]}},
{"chain":{"family":"inet","table":"f","name":"in","type":"filter","hook":"input","prio":0,"policy":"drop"}},
{"rule":{"family":"inet","table":"f","chain":"in","expr":[RULE]}}]}`

func FuzzNft(f *testing.F) {
	for _, name := range []string{"nixos.json", "iptables-seen-by-nft.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"nftables":[{"chain":{"family":"ip","table":"a","name":"b","hook":"input"}},{"rule":{"family":"ip","table":"a","chain":"b","expr":[{"jump":{"target":"b"}}]}}]}`))
	f.Add([]byte(`{"nftables":[{"set":{"family":"ip","table":"a","name":"s","elem":["@s"]}},{"rule":{"family":"ip","table":"a","chain":"b","expr":[{"vmap":{"key":{"concat":[1]},"data":"@s"}}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseNft(text)
		if err != nil {
			return
		}
		for _, answers := range []bool{false, true} {
			p := packets{port: 22, answers: answers, own: []netip.Addr{ownAddress}}
			if one, two := r.lines(p), r.lines(p); !slices.Equal(one, two) {
				t.Errorf("read twice it differs: %q %q", one, two)
			}
		}
	})
}

func FuzzIptables(f *testing.F) {
	for _, name := range []string{"iptables-nft.txt", "iptables-legacy.txt", "ip6tables-nft.txt"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("*filter\n:INPUT DROP [0:0]\n-A INPUT ! -p\n-A INPUT -j INPUT\n[1:2] -A INPUT \"a\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, table := range parseTables("ip", text) {
			p := packets{port: 22, own: []netip.Addr{ownAddress}}
			if one, two := table.lines(p), table.lines(p); !slices.Equal(one, two) {
				t.Errorf("read twice it differs: %q %q", one, two)
			}
		}
	})
}
