package probe

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestParseInet(t *testing.T) {
	for line, want := range map[string]socket{
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0": {
			state: listening, local: netip.MustParseAddrPort("127.0.0.1:8080"), remote: netip.MustParseAddrPort("0.0.0.0:0"), inode: 4711,
		},
		"   1: 0100007F:C000 0200000A:01BB 01 00000000:00000000 02:00000000 00000000   990        0 4712 1 0": {
			state: established, local: netip.MustParseAddrPort("127.0.0.1:49152"), remote: netip.MustParseAddrPort("10.0.0.2:443"), inode: 4712,
		},
		"   2: 0100007F:C000 0200000A:01BB 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0": {
			state: closing, local: netip.MustParseAddrPort("127.0.0.1:49152"), remote: netip.MustParseAddrPort("10.0.0.2:443"),
		},
		"   3: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713 1": {
			state: listening, local: netip.MustParseAddrPort("[::1]:22"), remote: netip.MustParseAddrPort("[::]:0"), inode: 4713,
		},
		"   4: 0000000000000000FFFF00000100007F:C001 0000000000000000FFFF00000200000A:01BB 01 0:0 0:0 0 0 0 4714 1": {
			state: established, local: netip.MustParseAddrPort("127.0.0.1:49153"), remote: netip.MustParseAddrPort("10.0.0.2:443"), inode: 4714,
		},
	} {
		want.protocol = "tcp"
		if got, ok := parseInet("tcp", line); !ok || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", "0: x:1 y:2 0A 0 0 0 0 0 7", "0: 01:1 02:2 0A 0 0 0 0 0 7"} {
		if got, ok := parseInet("tcp", line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestParseUnix(t *testing.T) {
	for line, want := range map[string]socket{
		"0000000000000000: 00000002 00000000 00010000 0001 01 23456 /run/systemd/private": {state: listening, path: "/run/systemd/private", inode: 23456},
		"0000000000000000: 00000003 00000000 00000000 0001 03 23457":                      {state: established, inode: 23457},
		"0000000000000000: 00000002 00000000 00000000 0002 01 23458 @a name":              {path: "@a name", inode: 23458},
	} {
		want.protocol = "unix"
		if got, ok := parseUnix("unix", line); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", line, got, want)
		}
	}
	if got, ok := parseUnix("unix", "Num       RefCount Protocol Flags    Type St Inode Path"); ok {
		t.Errorf("the head: %+v", got)
	}
}

// heldHere are this process's own sockets, as the kernel shows them.
func heldHere(t *testing.T, protocol string) []socket {
	t.Helper()
	held, err := heldBy(t.Context(), procRoot, []int{os.Getpid()}, protocol)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestHeldBy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var listens, connected bool
	for _, s := range heldHere(t, "tcp") {
		listens = listens || s.state == listening && s.local.String() == l.Addr().String()
		connected = connected || s.state == established && s.remote.String() == l.Addr().String() && s.local.String() == client.LocalAddr().String()
	}
	if !listens || !connected {
		t.Errorf("listens %v, connected %v", listens, connected)
	}
	path := filepath.Join(t.TempDir(), "s")
	u, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	found := false
	for _, s := range heldHere(t, "unix") {
		found = found || s.state == listening && s.path == path
	}
	if !found {
		t.Error("the unix socket is missing")
	}
	if others, err := heldBy(t.Context(), procRoot, []int{1 << 30}, "tcp"); err != nil || len(others) != 0 {
		t.Errorf("a process that is gone holds %v, %v", others, err)
	}
}

func TestGroupProcesses(t *testing.T) {
	root := t.TempDir()
	for dir, pids := range map[string]string{"system.slice": "1\n", "system.slice/a.service": "12\n13\n", "system.slice/a.service/worker": "14\n", "system.slice/b.service": "15\n"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "cgroup.procs"), []byte(pids), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := groupProcesses(t.Context(), root, "/system.slice/a.service")
	if err != nil || len(got) != 3 || got[2] != 14 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := groupProcesses(t.Context(), root, "/system.slice/gone.service"); err != nil || len(got) != 0 {
		t.Errorf("one that is gone: %v, %v", got, err)
	}
	for _, group := range []string{"", "/", "/..", "../.."} {
		if got, err := groupProcesses(t.Context(), root, group); err == nil {
			t.Errorf("%q: %v", group, got)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := groupProcesses(ended, root, "/system.slice/a.service"); err == nil {
		t.Error("it does not end with its context")
	}
}

func TestLongTablesAreNotMissingSockets(t *testing.T) {
	line := "0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n"
	if _, err := parseTable(t.Context(), strings.NewReader(strings.Repeat(line, mostSockets+2)), "tcp", parseInet); err == nil {
		t.Error("a table that was not read to its end looks complete")
	}
	got, err := parseTable(t.Context(), strings.NewReader(strings.Repeat(line, 3)), "tcp", parseInet)
	if err != nil || len(got) != 3 {
		t.Errorf("got %d, %v", len(got), err)
	}
}

func TestOwnedConnections(t *testing.T) {
	if n, err := ownedConnections(t.Context(), groupRoot, "/system.slice/hdeploy-no-such.service", 443); n != 0 || err != nil {
		t.Errorf("a group that is gone: %s, %v", strconv.Itoa(n), err)
	}
	if _, err := ownedConnections(t.Context(), groupRoot, "", 443); err == nil {
		t.Error("a unit without a group is not the root group")
	}
}
