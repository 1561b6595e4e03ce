//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// trustAdmin lets the login user import what nobody has signed.
const trustAdmin = `cp --remove-destination "$(readlink -f /etc/nix/nix.conf)" /etc/nix/nix.conf
chmod u+w /etc/nix/nix.conf
echo 'extra-trusted-users = admin' >>/etc/nix/nix.conf
systemctl restart nix-daemon.service`

func TestHomeManagerNeedsNoRootWhereItsUserLingers(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	k := profileKinds()[0]
	declared := profileTable + k.lines
	s.inventory.Lines, s.inventory.Tables = "system = false\nuser = \"admin\"", declared
	revision := func(number string, faults settings) {
		s.profile(profileName, k.fixed, settings{"revision": number}, faults)
	}

	// Without linger the units of the user end with the login: root watches.
	revision("1", nil)
	s.deploy().require("committed", 0)
	if state := s.on("ls /var/lib/hdeploy/per-profile; ls /home/admin/.local/state/hdeploy/per-profile/*/transaction.json 2>/dev/null || true"); state != profileName {
		t.Errorf("root's state is %q", state)
	}
	one := s.standing(k)

	s.on("rm -f /etc/sudoers.d/*; " + trustAdmin)
	revision("2", nil)
	s.deploy().require("refused", 5).requireFailure("does not linger", "loginctl enable-linger admin")
	s.requireStanding(k, one)

	// What loginctl asks logind for, which in a container has no devices to tell of it.
	s.on("mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/admin && systemctl start user@$(id -u admin).service")
	s.deploy().require("committed", 0)
	two := s.standing(k)
	if !strings.HasPrefix(two.active, "2") {
		t.Fatalf("after a deployment without root: %+v", two)
	}
	if state := s.on("ls /home/admin/.local/state/hdeploy/per-profile; stat -c %U /home/admin/.local/state/hdeploy/agent/*"); state != profileName+"\n"+owner {
		t.Errorf("the user's state is %q", state)
	}
	s.deploy().require("unchanged", 0)

	revision("3", k.failing)
	s.deploy().require("rolled-back", 7).requireFailure("the activation program failed")
	s.requireStanding(k, two)

	revision("4", nil)
	s.hold(15 * time.Second)
	s.inventory.Tables += declared
	for _, end := range []struct {
		name string
		do   func(*run)
	}{
		{"silence", func(r *run) { r.kill() }},
		{"a power cut", func(r *run) { s.powerCut(); s.powerOn(); r.kill() }},
	} {
		held := s.startSwitch(command{})
		held.awaitPhase(event.Verify, event.Started)
		end.do(held)
		eventually(t, time.Minute, func() string {
			if got := s.standing(k); got != two {
				return fmt.Sprintf("after %s the profile stands at %+v", end.name, got)
			}
			return ""
		})
	}
}
