//go:build lab

package tests

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

func TestWhatASwitchWouldRefuseIsFoundBeforeAnythingIsChanged(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	for _, c := range []struct {
		name   string
		faults settings
		step   string
		words  []string
	}{
		{"a pre-switch check", settings{"preSwitchCheck": "the database was not migrated"}, "judge", []string{"pre-switch checks failed", "the database was not migrated", "--or-boot"}},
		{"a check that fails for a boot too", settings{"stcExit": 1}, "judge", []string{"Pre-switch check 'lab' failed"}},
		{"another init interface", settings{"stcExit": 100}, "judge", []string{"init", "systemd 9999", "--or-boot"}},
		{"a lock that is held", settings{"stcExit": 11}, "start", []string{"another switch-to-configuration"}},
		// An older one cannot be asked: it is told from the switch that nothing happened.
		{"a check of an older system", settings{"checkAction": false, "preSwitchCheck": "the database was not migrated"}, "trial", []string{"exit 1", "the database was not migrated"}},
		{"a lock that an older system meets", settings{"checkAction": false, "stcExit": 11}, "trial", []string{"exit 11"}},
	} {
		s.faulty(c.name, c.faults)
		r := s.deploy().require("refused", 5).requireFailure(c.words...)
		if step := r.Outcome.Failure.Step; step != c.step {
			t.Errorf("%s: the step is %q", c.name, step)
		}
		requireUntouched(t, before, s.snapshot())
	}
	s.configure(settings{"revision": "inhibited", "switchInhibitors": settings{"dbus": "broker"}})
	s.deploy().require("refused", 5).requireFailure("dbus", "--or-boot")
	requireUntouched(t, before, s.snapshot())
	s.requireWorks()
}

func TestErrorAfterTheActivationGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("late", settings{"lateError": true})
	s.deploy().require("rolled-back", 7).requireFailure("exit 1")
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestWhatCannotBeSwitchedToIsBootedWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, lines, loader string
		args                []string
		change              settings
	}{
		{"inhibitors", `when_reboot_needed = "boot"`, lab.GRUB, nil, settings{"switchInhibitors": settings{"dbus": "broker"}}},
		{"init interface", "", lab.SystemdBoot, []string{"--or-boot"}, settings{"faults": settings{"stcExit": 100}}},
		{"pre-switch check", "", lab.GRUB, []string{"--or-boot"}, settings{"faults": settings{"preSwitchCheck": "the database was not migrated"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: c.loader})
			before := s.snapshot()
			s.inventory.Lines = c.lines
			s.inventory.Probes = `["current"]`
			s.inventory.Tables = "[probes.current]\nkind = \"unit\"\nunit = \"only-in-the-new.service\"\ndeadline = \"2s\"\n"
			change := settings{"revision": "booted"}
			for key, value := range c.change {
				change[key] = value
			}
			s.configure(change)
			r := s.deploy(c.args...).require("reboot-required", 0)
			if !r.Outcome.RebootNeeded {
				t.Error("the outcome does not say that a reboot is needed")
			}
			after := s.snapshot()
			if after.Running != before.Running {
				t.Errorf("it runs %s", after.Running)
			}
			if now := len(restarted(before, after)); now > 0 {
				t.Errorf("%d units were restarted", now)
			}
			requireBoots(t, s, r.Outcome.Closure)
			requireNothingLeft(t, after)

			s.deploy(c.args...).require("reboot-required", 0)
			requireUntouched(t, after, s.snapshot())

			if err := s.host.Reboot(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.awaitBoot()
			s.inventory.Probes, s.inventory.Tables = "", ""
			s.deploy(c.args...).require("unchanged", 0)
			requireRuns(t, s.snapshot(), r.Outcome.Closure)
		})
	}
}

// The system that ran has a check of its own, which would refuse it too.
func TestWayBackIsNotStoppedByAPreSwitchCheck(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.faulty("cannot be switched to", settings{"preSwitchCheck": "never while it runs"})
	s.deploy("--or-boot").require("reboot-required", 0)
	if err := s.host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitBoot()
	before := s.snapshot()
	s.faulty("fails", settings{"failUnit": "at-once"})
	s.deploy().require("rolled-back", 7).requireFailure("lab-failing.service")
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

// holdLock makes somebody else's switch hold the lock for that long, once it is
// free.
func (s *site) holdLock(seconds int) {
	s.t.Helper()
	s.on(fmt.Sprintf("systemd-run --quiet --collect --unit=somebody-else flock /run/nixos/switch-to-configuration.lock sleep %d", seconds))
}

func TestSwitchOfSomebodyElseIsNamedAndNotDisturbed(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on("mkdir -p /run/nixos")
	before := s.snapshot()
	s.holdLock(600)
	s.faulty("second", nil)
	s.deploy().require("refused", 5).requireFailure("another switch-to-configuration runs on the host: process", "flock")
	s.on("systemctl stop somebody-else")
	requireUntouched(t, before, s.snapshot())
	s.requireWorks()
}

func TestRollbackWaitsForSomebodyElsesLock(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(20 * time.Second)
	s.faulty("interrupted", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.holdLock(6) // it waits for the supervisor, and then it has the lock
	time.Sleep(time.Second)
	r.interrupt().require("interrupted", 10)
	requireRestored(t, before, s.snapshot())
	if log := strings.Join(r.Outcome.Failure.Log, "\n"); strings.Contains(log, "Could not acquire lock") {
		t.Errorf("the rollback did not wait:\n%s", log)
	}
	s.requireWorks()
}

func TestSpecialisationThatRanIsRestored(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.configure(settings{"revision": "1", "specialisations": []string{"desktop"}})
	parent := s.deploy().require("committed", 0).Outcome.Closure
	s.on(parent + "/specialisation/desktop/bin/switch-to-configuration test")
	before := s.snapshot()
	if before.Running == parent || before.Running != s.on("readlink -f "+parent+"/specialisation/desktop") {
		t.Fatalf("it runs %s", before.Running)
	}
	s.configure(settings{"revision": "2", "specialisations": []string{"desktop"}, "faults": settings{"failUnit": "at-once"}})
	s.deploy().require("rolled-back", 7).requireFailure("lab-failing.service")
	requireRestored(t, before, s.snapshot())
	requireBoots(t, s, parent)
	if revision := s.on("cat /etc/lab/revision"); revision != "1+desktop" {
		t.Errorf("/etc is of revision %q", revision)
	}
	s.configure(settings{"revision": "3", "specialisations": []string{"desktop"}})
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	requireBoots(t, s, r.Outcome.Closure)
}

// keysBefore are logins' keys of every kind; keys prints all there is to know of
// them.
const (
	keysBefore = `mkdir -p /root/.ssh && chmod 700 /root/.ssh && echo "# root's own" > /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys
ln -sfn /etc/machine-id /root/.ssh/authorized_keys2
mkdir -p /home/admin/.ssh && chmod 700 /home/admin/.ssh && echo "# the admin's" > /home/admin/.ssh/authorized_keys && chmod 640 /home/admin/.ssh/authorized_keys
chown -R admin:admin /home/admin/.ssh`
	keys = `cd / && for f in root/.ssh root/.ssh/* home/admin/.ssh home/admin/.ssh/* etc/ssh/authorized_keys.d/*; do stat -c '%N %F %U %G %a' $f; done
cat root/.ssh/authorized_keys home/admin/.ssh/authorized_keys etc/ssh/authorized_keys.d/*; ls -A root/.ssh home/admin/.ssh`
)

func TestKeysOfLoginsAreRestored(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root", "admin"} {
		t.Run(user, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			if user != "root" {
				s.inventory.Lines = `user = "admin"`
			}
			s.on(keysBefore)
			if user == "root" { // it only looks at the keys of who logs in, and of root
				s.on("rm -r /home/admin/.ssh && mkdir -p /home/admin/.ssh")
				s.on("touch /home/admin/.ssh/authorized_keys")
			}
			before, was := s.snapshot(), s.on(keys)
			s.faulty("locked out", settings{"overwriteKeys": true})
			s.deploy().require("rolled-back", 7).requireFailure("could not be reached over a new connection")
			requireRestored(t, before, s.snapshot())
			is := s.on(keys)
			if user == "root" {
				is, was = strings.Split(is, "home/admin")[0], strings.Split(was, "home/admin")[0]
			}
			if is != was {
				t.Errorf("the keys were\n%s\nand are\n%s", was, is)
			}
			if record := s.record(); !strings.Contains(record, "authorized_keys of "+user+" was restored") || strings.Contains(record, "# root's own") {
				t.Errorf("the record says: %s", record)
			}
			if left := s.on("ls /var/lib/hdeploy | grep keys || true"); left != "" {
				t.Errorf("left: %s", left)
			}
			s.requireWorks()
		})
	}
}

func TestKeysOfLoginsAreRestoredAfterAPowerCut(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on(keysBefore)
	was := s.on(keys)
	s.faulty("locked out", settings{"overwriteKeys": true})
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.powerCut()
	r.kill()
	s.powerOn()
	s.requireWorks()
	if is := s.on(keys); strings.Split(is, "home/admin")[0] != strings.Split(was, "home/admin")[0] {
		t.Errorf("the keys were\n%s\nand are\n%s", was, is)
	}
}

func TestLastResortWithoutTheAgentRestoresRootsKeys(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on(keysBefore)
	before, was := s.snapshot(), s.on("cat /root/.ssh/authorized_keys; stat -c '%U %G %a' /root/.ssh/authorized_keys")
	s.soonOver(4 * time.Second)
	s.faulty("locked out", settings{"overwriteKeys": true})
	r := s.startSwitch(command{})
	armed := r.awaitDeadline()
	r.awaitPhase(event.Verify, event.Started)
	r.kill()
	id := armed.Deadline.ID
	s.on("cd /run/hdeploy/" + id + "; head -c 4096 /dev/urandom > damaged; chmod 700 damaged; mv -f damaged agent; systemctl kill --kill-whom=all --signal=KILL hdeploy-" + id + "-supervisor.service")
	eventually(t, time.Until(deadMan(armed))+late, func() string {
		if running := s.running(); running != before.Running {
			return "it runs " + running
		}
		if is := s.on("cat /root/.ssh/authorized_keys; stat -c '%U %G %a' /root/.ssh/authorized_keys"); is != was {
			return "root's keys are " + is
		}
		return ""
	})
	time.Sleep(time.Until(deadMan(armed).Add(2 * time.Second)))
	s.requireWorks()
}

func TestNewSystemWithoutABusGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	server := func(id int) settings {
		return settings{"server.service": fmt.Sprintf("[Service]\nExecStart=/bin/sleep 86400%d\n", id)}
	}
	s.configure(settings{"revision": "1", "extraUnits": server(1)})
	s.deploy().require("committed", 0)
	before := s.snapshot()
	s.configure(settings{"revision": "2", "extraUnits": server(2), "faults": settings{"dbusDead": true}})
	s.deploy().require("rolled-back", 7).requireFailure()
	requireRestored(t, before, s.snapshot())
	if runs := s.on("pgrep -af 'sleep 86400'"); !strings.Contains(runs, "864001") || strings.Contains(runs, "864002") {
		t.Errorf("the server that runs is %s", runs)
	}
	s.requireWorks()
}

// noBus takes D-Bus away until the host restarts, whatever system runs.
const noBus = "mount --bind /dev/null /usr/bin/dbus-daemon; systemctl stop dbus.socket dbus.service; systemctl is-active dbus.service || true"

func TestLastResortRestartsAHostWithoutABus(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(20 * time.Second)
	s.inventory.Timeouts, s.inventory.Lines = unhelped, `last_resort = "reboot"`
	s.faulty("no bus", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	leader := s.host.LeaderPID()
	s.on(noBus)
	if err := s.host.WaitReboot(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	s.awaitBoot()
	r.wait().require("rolled-back", 7)
	if !r.noted("as its last resort the host was restarted") {
		t.Errorf("the restart is not told; %s", r.story())
	}
	requireRestoredByBoot(t, before, s.snapshot())
	s.requireWorks()
}

// stopManager makes PID 1 answer nobody, as one that crashed.
func (s *site) stopManager() {
	s.t.Helper()
	if err := syscall.Kill(s.host.LeaderPID(), syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
}

// unhelped makes a rollback that cannot succeed end soon.
const unhelped = `{ activation = "20s", confirm = "8s", commit = "10s", rollback = "15s", grace = "5s", connect = "5s" }`

func TestRollbackThatFailsTellsWhatIsAndWhatToType(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Timeouts = unhelped
	s.hold(20 * time.Second)
	s.faulty("no way back", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.stopManager()
	leader := s.host.LeaderPID()
	r.wait().require("rollback-failed", 8)
	r.requireFailure("runs:    "+r.Outcome.Closure, "profile: generation 1, "+before.Running, "boots:   "+before.Running,
		"activation.log", before.Running+"/bin/switch-to-configuration test", "systemctl reboot", "ssh root@"+s.host.Address)
	if leader != s.host.LeaderPID() {
		t.Error("the host restarted, and nobody allowed that")
	}
	// What it says helps.
	if err := syscall.Kill(leader, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := s.host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitBoot()
	requireRestoredByBoot(t, before, s.snapshot())
	s.on("rm /nix/var/nix/gcroots/hdeploy/*-previous") // it stays for a person, for a day
	s.requireWorks()
}

func TestLastResortRestartsAHostThatCannotGoBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(20 * time.Second)
	s.inventory.Timeouts, s.inventory.Lines = unhelped, `last_resort = "reboot"`
	s.faulty("no way back", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	leader := s.host.LeaderPID()
	s.stopManager()
	if err := s.host.WaitReboot(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	s.awaitBoot()
	r.wait().require("rolled-back", 7)
	requireRestoredByBoot(t, before, s.snapshot())
	if !r.noted("as its last resort the host was restarted") {
		t.Errorf("the restart is not told; %s", r.story())
	}
	s.requireWorks()
}

// lockOut keeps new connections away until the host restarts, whatever it runs.
const lockOut = `nft add table ip lockout && nft 'add chain ip lockout input { type filter hook input priority -10; }' && nft add rule ip lockout input ct state new tcp dport 22 drop`

func TestLastResortRestartsAHostThatNobodyReachesAfterItWentBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.hold(20 * time.Second)
	s.inventory.Lines = `last_resort = "reboot"`
	s.faulty("locked out", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	leader := s.host.LeaderPID()
	s.on(lockOut)
	if err := s.host.WaitReboot(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	again := s.host.LeaderPID()
	s.awaitBoot()
	r.wait().require("rolled-back", 7)
	requireRestoredByBoot(t, before, s.snapshot())
	if !r.noted("nobody reached it within", "as its last resort the host was restarted") {
		t.Errorf("the restart is not told; %s", r.story())
	}
	s.requireWorks()
	if s.host.LeaderPID() != again {
		t.Error("it restarted more than once")
	}
}

func TestHostThatIsReachedAfterItWentBackDoesNotRestart(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Lines = `last_resort = "reboot"`
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "4s"`, 1)
	s.faulty("fails", settings{"failUnit": "at-once"})
	leader := s.host.LeaderPID()
	s.deploy().require("rolled-back", 7)
	time.Sleep(6 * time.Second)
	if leader != s.host.LeaderPID() {
		t.Fatal("it restarted")
	}
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}
