//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// What a user's own ssh_config says is enough: deploy.toml has the name and nothing
// else. The second way is one that has no jump host: a program, and what it knows of
// host keys.
func TestSSHConfigOfTheUser(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	bastion := newBastion(t)
	env := s.ownHome()
	s.inventory.Address, s.inventory.HostKeys = "machine", ""
	spoilSSHD(s, "s/^Port 22/Port 2222/")
	write := func(text string) {
		t.Helper()
		s.write(".ssh/config", "Include more\nHost *\n  BatchMode yes\n")
		s.write(".ssh/more", strings.NewReplacer("HOST", s.host.Address, "BASTION", bastion.Address, "DIR", s.dir).Replace(text))
	}
	s.write(".ssh/known_hosts", "[machine.internal]:2222 "+s.host.HostKey()+"\nmachine.internal "+s.host.HostKey()+"\n"+bastion.Address+" "+bastion.HostKey()+"\n")
	inShell(t, workstation, "ssh-keygen -q -H -f "+s.dir+"/.ssh/known_hosts && cp /root/.ssh/id_ed25519 "+s.dir+"/id")

	write(`Match originalhost machine
  HostName HOST
  Port 2222
  User root
  IdentityFile DIR/id
  IdentitiesOnly yes
  HostKeyAlias machine.internal
  HostKeyAlgorithms ssh-ed25519
  UserKnownHostsFile DIR/.ssh/known_hosts
  ProxyJump gate
Host gate
  HostName BASTION
  User root
  IdentityFile DIR/id
  UserKnownHostsFile DIR/.ssh/known_hosts
`)
	s.configure(settings{"revision": "as ssh_config says"})
	s.hdeploy(env, 0, "status", hostName)

	program := s.dir + "/known"
	s.write("known", fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s/asked\n[ \"$1\" = HOSTNAME ] && echo \"$2 $3 $4\"\nexit 0\n", s.dir))
	inShell(t, workstation, "chmod 700 "+program)
	write(`Host machine
  HostName HOST
  Port 2222
  User root
  IdentityFile DIR/id
  UserKnownHostsFile none
  GlobalKnownHostsFile none
  KnownHostsCommand DIR/known %I %H %t %K
  ProxyCommand ssh -F none -i DIR/id -o UserKnownHostsFile=DIR/.ssh/known_hosts -W %h:%p root@BASTION
`)
	s.hdeploy(env, 0, "status", hostName)
	if asked := inShell(t, workstation, "cat "+s.dir+"/asked"); !strings.Contains(asked, "HOSTNAME ["+s.host.Address+"]:2222 ssh-ed25519 ") {
		t.Errorf("KnownHostsCommand was asked %q", asked)
	}
	if direct := s.on("journalctl -b -o cat --no-pager -u sshd | grep 'Accepted publickey' | grep -c ' from " + workstation.Address + " ' || true"); direct != "0" {
		t.Errorf("%s logins came from the workstation itself", direct)
	}
	mendSSHD(s)
}
