//go:build lab

package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// newBootSite is a site whose deployer waits longer for a boot.
func newBootSite(t *testing.T, loader string) *site {
	t.Helper()
	s := newSite(t, lab.HostOptions{Loader: loader})
	s.inventory.Timeouts = rebootTimeouts
	return s
}

// eachLoader runs a test on a host of each kind.
func eachLoader(t *testing.T, test func(*site)) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) { test(newBootSite(t, loader)) })
	}
}

func TestSystemThatIsBootedOnceAndProvesHealthyIsCommitted(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		s.inventory.Probes = `["up"]`
		s.inventory.Tables = "[probes.up]\nkind = \"unit\"\nunit = \"lab-marker.service\"\n"
		before, boot := s.snapshot(), s.bootID()
		s.configure(settings{"revision": "booted", "kernel": "6.12.31", "switchInhibitors": settings{"dbus": "another one"}})
		r := s.run("boot", "--reboot").require("committed", 0)
		after := s.snapshot()
		requireRuns(s.t, after, r.Outcome.Closure)
		requireBoots(s.t, s, r.Outcome.Closure)
		requireNothingLeft(s.t, after)
		if s.bootID() == boot || len(after.Generations) != len(before.Generations)+1 || r.Outcome.RebootNeeded || !r.noted("reboots into the new system") {
			s.t.Errorf("generations %v, outcome %+v; %s", after.Generations, r.Outcome, r.story())
		}
		boot = s.bootID()
		s.run("boot", "--reboot").require("unchanged", 0)
		if s.bootID() != boot {
			s.t.Error("a host that needs nothing was rebooted")
		}
	})
}

func TestSystemThatDoesNotBootIsGoneAfterAPowerCycle(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		before := s.snapshot()
		s.faulty("panics", settings{"kernelPanic": true})
		r := s.startSwitch(command{name: "boot", args: []string{"--reboot"}})
		eventually(s.t, time.Minute, func() string {
			if s.host.Running() {
				return "it still runs"
			}
			return ""
		})
		s.powerOn()
		r.wait().require("rolled-back", 7).requireFailure("came back with the previous one")
		requireRestoredByBoot(s.t, before, s.snapshot())
		requireBoots(s.t, s, before.Running)
		s.noProbes()
		s.requireWorks()
	})
}

func TestHostThatStaysOffIsNamed(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	s.inventory.Timeouts = strings.Replace(rebootTimeouts, "90s", "15s", 1)
	before := s.snapshot()
	s.faulty("panics", settings{"kernelPanic": true})
	s.run("boot", "--reboot").require("unknown", 8).requireFailure("did not come back within 15s", "power cycle boots the previous one", before.Running)
	s.powerOn()
	s.awaitState("rolled-back")
	requireRestoredByBoot(t, before, s.snapshot())
	requireBoots(t, s, before.Running)
}

func TestBootedSystemWhoseProbeFailsIsRebootedAway(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		before := s.snapshot()
		s.missingUnit("rollback")
		s.faulty("sick", nil)
		r := s.run("boot", "--reboot").require("rolled-back", 7).requireFailure("probe web failed")
		if !r.noted("reboots into the previous system") {
			s.t.Errorf("the second reboot is not told; %s", r.story())
		}
		after := s.snapshot()
		requireRestoredByBoot(s.t, before, after)
		requireNothingLeft(s.t, after)
		requireBoots(s.t, s, before.Running)
		s.noProbes()
		s.requireWorks()
	})
}

func TestUnitThatFailsInTheBootOfTheNewSystem(t *testing.T) {
	s := newBootSite(t, lab.SystemdBoot)
	before := s.snapshot()
	s.faulty("fails", settings{"failUnit": "at-once"})
	s.run("boot", "--reboot").require("rolled-back", 7).requireFailure("lab-failing.service")
	requireRestoredByBoot(t, before, s.snapshot())
}

func TestBootedSystemThatLocksTheDeployerOutGoesBack(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	before := s.snapshot()
	s.faulty("locked out", settings{"firewallDropSsh": true})
	s.run("boot", "--reboot").require("rolled-back", 7)
	requireRestoredByBoot(t, before, s.snapshot())
	requireBoots(t, s, before.Running)
	s.requireWorks()
}

func TestDeployerThatDiesWhileTheHostReboots(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		before := s.snapshot()
		s.faulty("nobody asks", nil)
		r := s.startSwitch(command{name: "boot", args: []string{"--reboot"}})
		r.await("the reboot", func(e event.Event) bool {
			return e.Note != nil && strings.Contains(e.Note.Text, "reboots into the new")
		})
		r.kill()
		var record string
		eventually(s.t, 2*time.Minute, func() string {
			data, err := s.host.ReadFile(s.t.Context(), "/var/lib/hdeploy/transaction.json")
			if record = string(data); err == nil && strings.Contains(record, `"state":"rolled-back"`) {
				return ""
			}
			return "it is not back: " + record
		})
		if !strings.Contains(record, "nobody confirmed") {
			s.t.Errorf("the record says %s", record)
		}
		s.powerOn()
		requireRestoredByBoot(s.t, before, s.snapshot())
		requireBoots(s.t, s, before.Running)
		s.requireWorks()
	})
}

func TestBootWithoutAWayBackIsRefused(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	before := s.snapshot()
	s.on(`cp -a /boot/grub/grub.cfg /root/grub.cfg; sed -i 's/next_entry/another/' /boot/grub/grub.cfg`)
	s.configure(settings{"revision": "booted", "kernel": "6.12.31"})
	s.run("boot", "--reboot").require("refused", 5).requireFailure("does not ask for an entry for one boot", "--no-fallback")
	s.on("mv /root/grub.cfg /boot/grub/grub.cfg")
	s.on("d=/etc/systemd/system.attached; mkdir -p $d && mount -t tmpfs tmpfs $d")
	s.run("boot", "--reboot").require("refused", 5).requireFailure("does not last", "NixOS module")
	s.on("umount /etc/systemd/system.attached && rmdir /etc/systemd/system.attached")
	requireUntouched(t, before, s.snapshot())

	r := s.run("boot", "--reboot", "--no-fallback").require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	requireBoots(t, s, r.Outcome.Closure)
}

func TestRebootOnlyWhenNeeded(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		boot := s.bootID()
		if r := s.run("reboot").require("unchanged", 0); !r.noted("no reboot is needed") {
			s.t.Errorf("it is not said why; %s", r.story())
		}
		if s.bootID() != boot {
			s.t.Error("it was rebooted")
		}
		s.run("reboot", "--force").require("rebooted", 0)
		if s.bootID() == boot {
			s.t.Error("it was not rebooted")
		}
		boot = s.bootID()

		s.configure(settings{"revision": "kernel", "kernel": "6.12.31"})
		kernel := s.deploy().require("committed", 0)
		if r := s.run("reboot", "--dry-run").require("previewed", 0); !r.noted("would reboot", "kernel") || s.bootID() != boot {
			s.t.Errorf("a dry run does not say why, or reboots; %s", r.story())
		}
		if r := s.run("reboot").require("rebooted", 0); !r.noted("kernel") || r.Outcome.Running != kernel.Outcome.Closure {
			s.t.Errorf("the outcome is %+v; %s", r.Outcome, r.story())
		}
		s.run("reboot").require("unchanged", 0)

		s.configure(settings{"revision": "staged"})
		staged := s.run("boot").require("staged", 0)
		s.missingUnit("rollback")
		s.run("reboot").require("degraded", 9)
		requireRuns(s.t, s.snapshot(), staged.Outcome.Closure)
	})
}

func TestRebootRespectsFreezesAndTransactions(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	boot := s.bootID()
	s.on("mkdir -p /var/lib/hdeploy; echo '" + freeze("ann@desk", "a long migration") + "' > /var/lib/hdeploy/freeze.json")
	s.run("reboot").require("refused", 5).requireFailure("frozen by ann@desk", "a long migration")
	s.configure(settings{"revision": "staged"})
	s.on("rm /var/lib/hdeploy/freeze.json")
	s.hold(time.Minute)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.noProbes()
	s.run("reboot", "--force").require("refused", 5).requireFailure("locked by")
	s.release()
	r.wait().require("committed", 0)
	if s.bootID() != boot {
		t.Error("it was rebooted")
	}
}

func TestHostThatDoesNotComeBackFromAReboot(t *testing.T) {
	s := newBootSite(t, lab.SystemdBoot)
	s.inventory.Timeouts = strings.Replace(rebootTimeouts, "90s", "15s", 1)
	s.faulty("panics", settings{"kernelPanic": true})
	s.run("boot").require("staged", 0)
	s.run("reboot").require("unknown", 8).requireFailure("did not come back within 15s")
}
