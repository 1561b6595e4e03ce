package deploy

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
	"github.com/hbohlen/hdeploy/hosts/sshconfig"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// moving is a host that answers at one SSH server and, after its change, at another.
func moving(t *testing.T, pinned bool) (h *hostRun, before, after *remotetest.Server) {
	t.Helper()
	key, public := remotetest.NewIdentity(t)
	before = remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{public}})
	after = remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{public}, HostKeys: before.HostKeys})
	h = web1(t)
	h.Address, h.Port, h.IdentityFiles = before.Address(), before.Port(), []string{key}
	if pinned {
		h.HostKeys = before.HostKeyLines()
	}
	h.Confirm = &hosts.Endpoint{Address: after.Address(), Port: after.Port(), User: "root"}
	h.MagicRollback, h.AutoRollback = true, true
	return h, before, after
}

func portsOf(places []remote.Target) []int {
	var ports []int
	for _, p := range places {
		ports = append(ports, p.Port)
	}
	return ports
}

func TestPlaces(t *testing.T) {
	h, before, after := moving(t, true)
	for name, c := range map[string]struct{ got, want []remote.Target }{
		"anywhere":                        {h.anywhere(), []remote.Target{{Port: before.Port()}, {Port: after.Port()}}},
		"the proof":                       {h.afterwards(), []remote.Target{{Port: after.Port()}}},
		"the way back of somebody else's": {h.before(), []remote.Target{{Port: before.Port()}, {Port: after.Port()}}},
	} {
		if !slices.Equal(portsOf(c.got), portsOf(c.want)) {
			t.Errorf("%s: %v, want %v", name, portsOf(c.got), portsOf(c.want))
		}
	}
	h.found = &remote.Target{Port: before.Port()}
	if got := portsOf(h.before()); !slices.Equal(got, []int{before.Port()}) {
		t.Errorf("the way back: %v", got)
	}
	h.run.Action = transaction.Rollback
	if got := portsOf(h.afterwards()); len(got) != 2 {
		t.Errorf("a rollback may lead to either side: %v", got)
	}
}

func TestAHostIsFoundAtEitherPlace(t *testing.T) {
	h, before, after := moving(t, true)
	conn, err := h.dialAt(t.Context(), h.anywhere())
	if err != nil || conn.Target().Port != before.Port() {
		t.Fatalf("%v", err)
	}
	conn.Close()
	before.Close()
	if conn, err = h.dialAt(t.Context(), h.anywhere()); err != nil || conn.Target().Port != after.Port() {
		t.Fatalf("%v", err)
	}
	h.conn = conn
	if got := h.ssh("id"); !strings.Contains(got, "-p "+strconv.Itoa(after.Port())) {
		t.Errorf("a person is sent to %s", got)
	}
	conn.Close()
	after.Close()
	var link *remote.Error
	if _, err = h.dialAt(t.Context(), h.anywhere()); !errors.As(err, &link) || !strings.Contains(err.Error(), strconv.Itoa(before.Port())) {
		t.Errorf("the error is not that of the first place: %v", err)
	}
}

// What ssh_config says of the way to the new place holds there.
func TestTheWayToTheNewPlace(t *testing.T) {
	h, _, _ := moving(t, false)
	h.SSH.ProxyCommand = "connect old"
	h.Confirm.Way = &hosts.Way{IdentityFiles: []string{"/k"}, SSH: sshconfig.Settings{ProxyCommand: "connect new"}}
	if got := h.moved(); got.SSH.ProxyCommand != "connect new" || len(got.IdentityFiles) != 1 || got.SSH.HostKeyAlias == "" {
		t.Errorf("got %+v", got)
	}
	if got := h.targetOf(h.Host); got.SSH.ProxyCommand != "connect old" {
		t.Errorf("the way to the old place became %q", got.SSH.ProxyCommand)
	}
}

// A machine that moves is known by the name that it had.
func TestAMovedHostKeepsItsPlaceInKnownHosts(t *testing.T) {
	h, before, after := moving(t, false)
	home := t.TempDir()
	t.Setenv("HOME", home)
	line := "[" + before.Address() + "]:" + strconv.Itoa(before.Port()) + " " + before.HostKeyLines()[0] + "\n"
	if err := errors.Join(os.Mkdir(home+"/.ssh", 0o700), os.WriteFile(home+"/.ssh/known_hosts", []byte(line), 0o600)); err != nil {
		t.Fatal(err)
	}
	conn, err := h.dialAt(t.Context(), h.afterwards())
	if err != nil || conn.Target().Port != after.Port() {
		t.Fatalf("%v", err)
	}
	conn.Close()
}

func TestTheUserOfTheNewSystemBecomesRootAsSuch(t *testing.T) {
	h, _, _ := moving(t, true)
	h.Confirm.User = "ann"
	if got := h.moved(); got.User != "ann" || !slices.Equal(got.Elevation, hosts.DefaultElevation("ann")) {
		t.Errorf("got %+v", got)
	}
	h.User, h.Elevation, h.Confirm.User = "ann", hosts.DefaultElevation("ann"), "root"
	if got := h.moved(); got.User != "root" || len(got.Elevation) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestSkipTo(t *testing.T) {
	for _, c := range []struct{ text, rest, fault string }{
		{"mark\nrest", "rest", ""},
		{"Welcome\nno newlinemark\nrest", "rest", ""},
		{"mar", "", "EOF"},
		{strings.Repeat("x", noiseLimit+10), "", "prints more than"},
	} {
		r := strings.NewReader(c.text)
		err := skipTo(r, []byte("mark\n"))
		rest, _ := io.ReadAll(r)
		if c.fault == "" && (err != nil || string(rest) != c.rest) || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%.20q: left %.20q, %v", c.text, rest, err)
		}
	}
}

func TestAMachineIsItself(t *testing.T) {
	host := hosts.NewHost("web1")
	host.Local, host.User = true, "deployer"
	self := newHostRun(&run{}, host)
	if os.Geteuid() == 0 && (self.User != "root" || self.Elevation != nil) {
		t.Errorf("root is %q and becomes root by %v", self.User, self.Elevation)
	}
	if got := self.ssh("systemctl reboot"); strings.Contains(got, "ssh") || !strings.HasSuffix(got, "systemctl reboot") {
		t.Errorf("a person is told to type %q", got)
	}
	conn, err := self.dialAt(context.Background(), self.anywhere())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if self.anew() == "over a new connection" {
		t.Error("it claims a connection that there was not")
	}
}
