//go:build lab

package tests

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// newAlone is a host that runs a system, and decides by itself from then on.
func newAlone(t *testing.T, before settings) *site {
	t.Helper()
	s := newSite(t, lab.HostOptions{})
	s.configure(before)
	s.deploy().require("committed", 0)
	s.inventory.Lines = `confirm_mode = "self"`
	return s
}

// proof is what the host's last transaction could prove.
func (s *site) proof() reach.Proof {
	s.t.Helper()
	var r transaction.Record
	if err := json.Unmarshal([]byte(s.on("cat /var/lib/hdeploy/transaction.json")), &r); err != nil {
		s.t.Fatal(err)
	}
	if r.Proof == nil {
		s.t.Fatalf("transaction %s has no proof: %s", r.ID, r.Reason)
	}
	return *r.Proof
}

func found(p reach.Proof, name string) reach.Finding {
	for _, f := range p.Findings {
		if f.Name == name {
			return f
		}
	}
	return reach.Finding{Name: name, Detail: "not looked at"}
}

func requireFound(t *testing.T, p reach.Proof, name string, state reach.State, words ...string) {
	t.Helper()
	f := found(p, name)
	if f.State != state {
		t.Errorf("%s is %s (%s), not %s", name, f.State, f.Detail, state)
	}
	for _, w := range words {
		if !strings.Contains(f.Detail, w) {
			t.Errorf("%s does not say %q: %s", name, w, f.Detail)
		}
	}
}

// secondKey is one that only some systems admit.
const secondKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM1vi2iqV8N7jU7Hc6VZm0p2PRQO3q1dWqCUNJ3mTUC somebody"

func TestAHostProvesWhatIsWrongWithBeingReachable(t *testing.T) {
	s := newAlone(t, settings{"revision": "1", "authorizedKeys": []string{secondKey}})
	running := s.on("readlink /run/current-system")
	oneKey := settings{"authorizedKeys": []string{secondKey}}
	moved := fmt.Sprintf("[Unit]\nDescription=Another address\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"+
		"ExecStart=/bin/sh -c \"ip address add 10.44.200.7/16 dev host0; ip address del %[1]s/16 dev host0\"\n"+
		"ExecStop=/bin/sh -c \"ip address add %[1]s/16 dev host0; ip address del 10.44.200.7/16 dev host0\"\n", s.host.Address)
	for _, c := range []struct {
		name    string
		changes settings
		look    string
		state   reach.State
		words   []string
	}{
		{"a firewall drops ssh", settings{"faults": settings{"firewallDropSsh": true}}, reach.Filter, reach.Changed, []string{"drop"}},
		{"sshd is off", settings{"extraUnits": settings{"sshd.service": oneshot}}, reach.Listening, reach.Failed, []string{"port 22"}},
		{"sshd listens elsewhere", settings{"sshdPort": 2022}, reach.Listening, reach.Failed, []string{"port 22"}},
		{"sshd listens for the host alone", settings{"sshd": []string{"ListenAddress 127.0.0.1"}}, reach.Listening, reach.Failed, []string{"127.0.0.1"}},
		{"root is not among the users allowed", settings{"sshd": []string{"AllowUsers admin"}}, reach.Sshd, reach.Failed, []string{"AllowUsers"}},
		{"sshd takes no keys", settings{"faults": settings{"sshdRefusesKeys": true}}, reach.Sshd, reach.Failed, []string{"PubkeyAuthentication"}},
		{"a key is gone", settings{"authorizedKeys": []string{}}, reach.Keys, reach.Changed, []string{"SHA256:"}},
		{"all keys are others", settings{"faults": settings{"overwriteKeys": true}}, reach.Keys, reach.Failed, []string{"root"}},
		{"the address is another", settings{"extraUnits": settings{"lab-moved.service": moved}}, reach.Network, reach.Changed, []string{s.host.Address}},
	} {
		changes := settings{"revision": c.name}
		for _, from := range []settings{oneKey, c.changes} {
			for key, value := range from {
				changes[key] = value
			}
		}
		s.configure(changes)
		s.deploy().require("rolled-back", 7)
		p := s.proof()
		requireFound(t, p, c.look, c.state, c.words...)
		if p.Inbound != reach.NotProven {
			t.Errorf("%s: inbound proven by %s", c.name, p.Inbound)
		}
		if now := s.on("readlink /run/current-system"); now != running {
			t.Fatalf("%s: it runs %s", c.name, now)
		}
		t.Logf("%s: %+v", c.name, p)
	}
}

func TestAHealthyHostProvesAllButInbound(t *testing.T) {
	s := newAlone(t, settings{"revision": "1"})
	s.configure(settings{"revision": "2"})
	s.deploy().require("committed", 0)
	p := s.proof()
	for _, look := range []string{reach.Listening, reach.Handshake, reach.Sshd, reach.Keys, reach.Filter, reach.Network} {
		requireFound(t, p, look, reach.Proven)
	}
}

// sshdBySocket is an sshd that systemd starts for each connection.
var sshdBySocket = settings{
	"sshd.service":  oneshot,
	"sshd.socket":   "[Unit]\nDescription=SSH Socket\n\n[Socket]\nListenStream=22\nAccept=yes\n",
	"sshd@.service": "[Unit]\nDescription=SSH of one connection\n\n[Service]\nExecStart=-/usr/sbin/sshd -i -f /etc/ssh/sshd_config\nStandardInput=socket\nRuntimeDirectory=sshd\nRuntimeDirectoryPreserve=yes\n",
}

func TestAHostWhoseSshdIsStartedByASocketProvesTheSame(t *testing.T) {
	s := newAlone(t, settings{"revision": "1", "extraUnits": sshdBySocket})
	s.configure(settings{"revision": "2", "extraUnits": sshdBySocket})
	s.deploy().require("committed", 0)
	p := s.proof()
	for _, look := range []string{reach.Listening, reach.Handshake, reach.Sshd, reach.Keys, reach.Filter, reach.Network} {
		requireFound(t, p, look, reach.Proven)
	}
	s.configure(settings{"revision": "3", "extraUnits": settings{"sshd.service": oneshot}})
	s.deploy().require("rolled-back", 7)
	requireFound(t, s.proof(), reach.Listening, reach.Failed, "port 22")
}
