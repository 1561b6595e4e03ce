package hosts

import (
	"slices"
	"strings"
	"testing"
)

// What ssh_config says is asked for the way that one run takes, and not for that of
// deploy.toml.
func TestReachAsksSSHConfigAgain(t *testing.T) {
	home(t, `
Match user ann
  IdentityFile ~/.ssh/of-ann
Host web1
  HostName web1.example.org
  User deploy
  Port 2222
  ProxyCommand connect %h %p
Host behind
  ProxyJump bastion
Host badly
Match host badly user ann
  CanonicalizeHostname always
`)
	inv := load(t, "[hosts.web1]\n[hosts.behind]\nuser = \"me\"\nport = 2200\n[hosts.badly]\n[hosts.self]\naddress = \"local\"\n")
	reach := func(name, address string, port int, user string) Host {
		t.Helper()
		selected, err := inv.Select([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		h, err := inv.Reach(selected[0], address, port, user, nil)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := reach("web1", "", 0, "ann")
	if h.Address != "web1.example.org" || h.Port != 2222 || h.User != "ann" || len(h.IdentityFiles) != 1 || !strings.HasSuffix(h.IdentityFiles[0], "/.ssh/of-ann") {
		t.Errorf("as ann: %s@%s:%d with %q", h.User, h.Address, h.Port, h.IdentityFiles)
	}
	h = reach("web1", "192.0.2.7", 0, "")
	if h.Address != "192.0.2.7" || h.Port != 2222 || h.User != "deploy" || h.SSH.ProxyCommand != "connect 192.0.2.7 2222" {
		t.Errorf("elsewhere: %s@%s:%d by %q", h.User, h.Address, h.Port, h.SSH.ProxyCommand)
	}
	if h = reach("web1", "fe80::1%eth0", 23, ""); h.Address != "fe80::1%eth0" || h.Port != 23 {
		t.Errorf("at %s:%d", h.Address, h.Port)
	}
	h = reach("behind", "192.0.2.8", 0, "root")
	if len(h.Jump) != 1 || h.Jump[0].Address != "bastion" || h.Port != 2200 || h.User != "root" || len(h.Elevation) > 0 {
		t.Errorf("behind bastion: %+v", h)
	}
	if h = reach("self", "web1", 0, ""); h.Local || h.Address != "web1.example.org" || h.User != "deploy" || !slices.Equal(h.Elevation, DefaultElevation("deploy")) {
		t.Errorf("not this machine: %+v", h)
	}
	if h = reach("web1", "local", 0, ""); !h.Local {
		t.Errorf("this machine: %+v", h)
	}
	if _, err := inv.Reach(inv.Hosts[2], "", 0, "ann", nil); err == nil || !strings.Contains(err.Error(), "CanonicalizeHostname") {
		t.Errorf("what ssh_config asks for and cannot be had: %v", err)
	}
	if again := inv.Hosts[0]; again.User != "deploy" || again.Address != "web1.example.org" || again.SSH.ProxyCommand != "connect web1.example.org 2222" {
		t.Errorf("the host of the inventory became %+v", again)
	}
}

// A new system that answers elsewhere is not looked for by a ProxyCommand that leads to
// where the host was.
func TestTheWayToWhereTheNewSystemAnswers(t *testing.T) {
	home(t, `
Match user root host 192.0.2.9
  IdentityFile ~/.ssh/of-root
Host web1
  User deploy
  ProxyCommand connect %h %p %r
`)
	inv := load(t, "[defaults]\nconfirm = { address = \"192.0.2.9\", user = \"root\" }\n[hosts.web1]\n[hosts.web2]\n")
	web1, web2 := inv.Hosts[0], inv.Hosts[1]
	if web1.SSH.ProxyCommand != "connect web1 22 deploy" || web2.Confirm.Way.SSH.ProxyCommand != "" {
		t.Errorf("%q, and of web2 %q", web1.SSH.ProxyCommand, web2.Confirm.Way.SSH.ProxyCommand)
	}
	if way := web1.Confirm.Way; way.SSH.ProxyCommand != "connect 192.0.2.9 22 root" || len(way.IdentityFiles) != 1 {
		t.Errorf("%+v", way)
	}
	reached, err := inv.Reach(web1, "192.0.2.3", 2200, "", nil)
	if err != nil || reached.SSH.ProxyCommand != "connect 192.0.2.3 2200 deploy" || reached.Confirm.Way.SSH.ProxyCommand != "connect 192.0.2.9 2200 root" {
		t.Errorf("%v: %q, then %q", err, reached.SSH.ProxyCommand, reached.Confirm.Way.SSH.ProxyCommand)
	}
}

// One mistake in a profile does not hide another.
func TestAnUnknownProfileIsToldBesideOtherMistakes(t *testing.T) {
	document := "[hosts.web1.profiles.app]\nkind = \"home-manger\"\n[hosts.web1.profiles.web]\nkind = \"home-manager\"\nuser = \"ann\"\nafter = [\"ap\"]\n"
	err := Check("deploy.toml", []byte(document), testKinds())
	if err == nil || !strings.Contains(err.Error(), `cannot be "home-manger"`) || !strings.Contains(err.Error(), `profile "ap" is not defined in host web1`) {
		t.Errorf("got %v", err)
	}
}
