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

// A reboot into a new system is held at one of these, until goOn or for half a minute.
const (
	beforeTheChoice = "" // the boot loader is written, and boots what it did
	afterTheChoice  = "chosen"
)

// holdStage makes the choice of what GRUB boots once take its time. It is over with
// the next boot.
func (s *site) holdStage(at string) {
	s.t.Helper()
	s.on(fmt.Sprintf(`tool=$(readlink -f /run/current-system/sw/bin/grub-reboot)
cp "$tool" /root/grub-reboot && rm -f /root/staging /root/go && cat >/root/slow <<'END'
#!/bin/sh
if [ -n "%s" ]; then /root/grub-reboot "$@"; sync; fi
touch /root/staging
for i in $(seq 300); do test -e /root/go && break; sleep 0.1; done
exec /root/grub-reboot "$@"
END
chmod 755 /root/slow && mount --bind /root/slow "$tool"`, at))
}

func (s *site) awaitStage() {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, func() string { return s.on("test -e /root/staging || echo it does not choose what boots once") })
}

func (s *site) goOn() { s.t.Helper(); s.on("touch /root/go") }

// slowDown makes the host answer for that long while it goes down.
func (s *site) slowDown(seconds int) {
	s.t.Helper()
	s.on(fmt.Sprintf("systemd-run --quiet --unit=slow-down -p After=sshd.service -p After=network.target -p ExecStop='/bin/sleep %d' sleep 86400", seconds))
}

// bootOnce starts what these tests interrupt.
func (s *site) bootOnce(user string) *run {
	s.t.Helper()
	return s.startSwitch(command{name: "boot", args: []string{"--reboot"}, env: []string{"USER=" + user}})
}

func (r *run) awaitReboot() {
	r.t.Helper()
	r.await("the reboot", func(e event.Event) bool {
		return e.Note != nil && strings.Contains(e.Note.Text, "reboots into the new")
	})
}

// awaitEnded waits until the host has a transaction with that state, whatever boots
// come in between.
func (s *site) awaitEnded(state string) {
	s.t.Helper()
	eventually(s.t, 3*time.Minute, func() string {
		data, err := s.host.ReadFile(s.t.Context(), "/var/lib/hdeploy/transaction.json")
		if err == nil && strings.Contains(string(data), `"state":"`+state+`"`) && s.host.Running() {
			return ""
		}
		return fmt.Sprintf("the transaction is not %s: %s %v", state, data, err)
	})
	if err := s.host.WaitBoot(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.awaitBoot()
}

// requireInterrupted checks that the outcome is an interruption that tells truly that
// the host runs and boots what it did.
func (r *run) requireInterrupted(s *site, before snapshot) {
	r.t.Helper()
	r.require("interrupted", 10).requireFailure("interrupted by root@workstation")
	if r.Outcome.Running != before.Running || r.Outcome.Boots != before.Running {
		r.t.Errorf("it does not say in which state the host was left: %+v", r.Outcome)
	}
	boot := s.bootID()
	requireRestoredByBoot(r.t, before, s.snapshot())
	requireBoots(r.t, s, before.Running)
	s.noProbes()
	s.requireWorks()
	if s.bootID() != boot {
		r.t.Error("the host rebooted after it was said to be back")
	}
}

func TestInterruptionBeforeTheRebootIsAsked(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	before, boot := s.snapshot(), s.bootID()
	s.holdStage(afterTheChoice)
	s.faulty("never booted", nil)
	r := s.bootOnce("root")
	s.awaitStage()
	r.interrupt()
	if s.bootID() != boot {
		t.Error("it was rebooted")
	}
	r.requireInterrupted(s, before)
}

func TestInterruptionWhileTheHostGoesDown(t *testing.T) {
	eachLoader(t, func(s *site) {
		s.t.Helper()
		before := s.snapshot()
		s.slowDown(8)
		s.faulty("not wanted any more", nil)
		r := s.bootOnce("root")
		r.awaitReboot()
		r.interrupt().requireInterrupted(s, before)
	})
}

// The new system does not finish its boot, so that without being told the host would
// stay in it for long.
func TestInterruptionWhileTheHostIsAway(t *testing.T) {
	s := newBootSite(t, lab.SystemdBoot)
	before := s.snapshot()
	s.inventory.Timeouts = strings.Replace(rebootTimeouts, `activation = "40s"`, `activation = "180s"`, 1)
	s.configure(settings{"revision": "slow", "extraUnits": settings{
		"slow.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n"}})
	leader := s.host.LeaderPID()
	r := s.bootOnce("root")
	r.awaitReboot()
	if err := s.host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string {
		if now := s.host.LeaderPID(); now == 0 || now == leader {
			return "it has not rebooted"
		}
		return ""
	})
	told := time.AfterFunc(8*time.Second, func() { _ = s.host.RestoreNetwork(t.Context()) })
	defer told.Stop()
	r.interrupt().requireInterrupted(s, before)
}

func TestInterruptionBetweenTheBootAndTheCommit(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	before := s.snapshot()
	s.hold(time.Minute)
	s.faulty("not wanted any more", nil)
	r := s.bootOnce("root")
	r.awaitPhase(event.Verify, event.Started)
	r.interrupt()
	if !r.noted("reboots into the previous system") {
		t.Errorf("the second reboot is not told; %s", r.story())
	}
	r.requireInterrupted(s, before)
}

func TestInterruptionOfTheCommitAfterTheBootWaitsForIt(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	s.hold(time.Minute)
	s.faulty("in commit", nil)
	r := s.bootOnce("root")
	r.awaitPhase(event.Verify, event.Started)
	s.delayCommit(6)
	s.release()
	r.awaitPhase(event.Commit, event.Started)
	r.interrupt().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	requireBoots(t, s, r.Outcome.Closure)
}

func TestSecondInterruptionOfARebootLeavesItToTheHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		at   func(*site, *run)
	}{
		{"before", func(s *site, _ *run) { s.awaitStage() }},
		{"away", func(s *site, r *run) { s.goOnAt(r); r.awaitReboot() }},
		{"back", func(s *site, r *run) { s.goOnAt(r); r.awaitPhase(event.Verify, event.Started) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newBootSite(t, lab.GRUB)
			before := s.snapshot()
			s.holdStage(beforeTheChoice)
			s.hold(time.Minute)
			s.faulty("left alone", nil)
			r := s.bootOnce("root")
			c.at(s, r)
			interruptTwice(r)
			if said := r.stderr.String(); !strings.Contains(said, "goes back by itself") {
				t.Errorf("it does not say what becomes of the host:\n%s", tail(said))
			}
			s.awaitEnded("rolled-back")
			requireRestoredByBoot(t, before, s.snapshot())
			requireBoots(t, s, before.Running)
			s.noProbes()
			s.requireWorks()
		})
	}
}

func (s *site) goOnAt(r *run) {
	s.t.Helper()
	r.awaitDeadline()
	s.awaitStage()
	s.goOn()
}

// A reboot that a person asked for cannot be stopped: it is waited for, and told.
func TestInterruptionOfAPlainReboot(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	running, boot := s.running(), s.bootID()
	s.hold(time.Minute)
	r := s.startSwitch(command{name: "reboot", args: []string{"--force"}})
	r.awaitPhase(event.Reboot, event.Started)
	r.interrupt().require("interrupted", 10).requireFailure("came back from its reboot, and runs "+running, "not all of its probes")
	if s.awaitBoot(); s.bootID() == boot {
		t.Error("it was not rebooted")
	}

	leader := s.host.LeaderPID()
	r = s.startSwitch(command{name: "reboot", args: []string{"--force"}})
	eventually(t, time.Minute, func() string {
		if s.host.LeaderPID() == leader {
			return "it does not go down"
		}
		return ""
	})
	interruptTwice(r)
	if said := r.stderr.String(); !strings.Contains(said, "rebooting goes on") {
		t.Errorf("it does not say what becomes of the host:\n%s", tail(said))
	}
	if err := s.host.WaitReboot(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	s.awaitBoot()

	// Without probes there is nothing left to do once the host is back.
	s.noProbes()
	r = s.startSwitch(command{name: "reboot", args: []string{"--force"}})
	r.awaitPhase(event.Reboot, event.Started)
	r.interrupt().require("rebooted", 0)
	s.awaitBoot()
	s.requireWorks()
}

// While one deployer boots a system once, everybody else is told who does, or does
// not reach the host, and changes nothing.
func TestOthersDuringARebootIntoANewSystem(t *testing.T) {
	s := newBootSite(t, lab.GRUB)
	s.holdStage(beforeTheChoice)
	s.slowDown(5)
	s.hold(2 * time.Minute)
	s.inventory.Timeouts = strings.Replace(rebootTimeouts, `confirm = "8s"`, `confirm = "120s"`, 1)
	s.faulty("the first", nil)
	first := s.bootOnce("alice")
	first.awaitDeadline()
	s.awaitStage()
	follower := s.start("attach", command{env: []string{"USER=carol"}})
	follower.await("the transaction", func(e event.Event) bool { return e.Note != nil && strings.Contains(e.Note.Text, "alice@workstation") })
	s.requireLockedByAlice("trying")
	s.goOn()
	first.awaitReboot()
	// It goes down: what is reached is locked, and what is not is not reached.
	if r := s.startSwitch(command{env: []string{"USER=bob"}}).wait(); r.Code != 5 && r.Code != 6 {
		t.Errorf("code %d while the host went down; %s", r.Code, r.story())
	}
	first.awaitPhase(event.Verify, event.Started)
	s.requireLockedByAlice("waiting")
	late := s.start("attach", command{env: []string{"USER=dave"}})
	late.awaitPhase(event.Verify, event.Started)
	s.release()
	first.wait().require("committed", 0)
	for _, r := range []*run{follower, late} {
		if r.wait().require("committed", 0); r.Outcome.Transaction != first.Outcome.Transaction {
			t.Errorf("it tells of another transaction: %+v", r.Outcome)
		}
	}
	if late.noted("the host reboots into") {
		t.Errorf("a reboot of before is told as one to come; %s", late.story())
	}
	requireRuns(t, s.snapshot(), first.Outcome.Closure)
	requireBoots(t, s, first.Outcome.Closure)
	s.noProbes()
	s.requireWorks()
}

// requireLockedByAlice checks that others are refused, and that looking tells why.
func (s *site) requireLockedByAlice(state string) {
	s.t.Helper()
	for _, c := range []command{{}, {name: "boot", args: []string{"--reboot"}}, {name: "reboot", args: []string{"--force"}}} {
		c.env = []string{"USER=bob"}
		s.startSwitch(c).wait().require("refused", 5).requireFailure("locked by alice@workstation")
	}
	shown := lines[statusLine](s.t, s.ask("status", "--no-flake", "--json").says(s.t, 0))[0]
	if now := shown.Transaction; now == nil || now.State != state || now.Stale != "" || !strings.Contains(now.Deployer, "alice") {
		s.t.Errorf("status shows %+v", now)
	}
}

// Nobody reaches a host that is away, and asking does no harm.
func TestOthersWhileTheHostIsAway(t *testing.T) {
	s := newBootSite(t, lab.SystemdBoot)
	s.inventory.Timeouts = strings.Replace(rebootTimeouts, `confirm = "8s"`, `confirm = "90s"`, 1)
	s.faulty("the first", nil)
	first := s.bootOnce("alice")
	first.awaitReboot()
	if err := s.host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	others := []*run{s.startSwitch(command{}), s.start("attach", command{}), s.start("rollback", command{args: []string{"--yes"}})}
	for _, r := range others {
		r.wait().require("unreachable", 6)
	}
	s.ask("status", "--no-flake").says(t, 6)
	if err := s.host.RestoreNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.wait().require("committed", 0)
	requireRuns(t, s.snapshot(), first.Outcome.Closure)
	requireBoots(t, s, first.Outcome.Closure)
}

// A rollback by somebody else is a decision: the first deployer learns of it.
func TestRollbackDuringARebootIntoANewSystem(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before", "going down", "after"} {
		t.Run(at, func(t *testing.T) {
			s := newBootSite(t, lab.GRUB)
			before := s.snapshot()
			s.hold(20 * time.Second) // the first deployer learns of it after that
			s.inventory.Timeouts = strings.Replace(rebootTimeouts, `confirm = "8s"`, `confirm = "60s"`, 1)
			s.holdStage(beforeTheChoice)
			s.slowDown(8)
			s.faulty("taken back", nil)
			first := s.bootOnce("alice")
			s.awaitStage()
			switch at {
			case "going down":
				s.goOn()
				first.awaitReboot()
			case "after":
				s.goOn()
				first.awaitPhase(event.Verify, event.Started)
			}
			second := s.start("rollback", command{args: []string{"--yes"}, env: []string{"USER=bob"}}).wait()
			if at == "going down" && second.Code == 6 { // it came too late to be heard
				s.release()
				first.wait().require("committed", 0)
				return
			}
			second.require("rolled-back", 0)
			first.wait().require("rolled-back", 7).requireFailure("aborted by bob@workstation")
			requireRestoredByBoot(t, before, s.snapshot())
			requireBoots(t, s, before.Running)
			s.noProbes()
			s.requireWorks()
		})
	}
}

// Whenever power goes in a reboot into a new system, the previous one boots in the
// end, with nobody asking.
func TestPowerCutInARebootIntoANewSystem(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before the choice", "after the choice", "going down", "after the boot"} {
		t.Run(at, func(t *testing.T) {
			s := newBootSite(t, lab.GRUB)
			before := s.snapshot()
			if at == "after the boot" {
				s.hold(time.Minute)
			}
			s.slowDown(20)
			s.holdStage(map[bool]string{true: beforeTheChoice, false: afterTheChoice}[at == "before the choice"])
			s.faulty("cut", nil)
			r := s.bootOnce("root")
			s.awaitStage()
			switch at {
			case "going down":
				s.goOn()
				r.awaitReboot()
			case "after the boot":
				s.goOn()
				r.awaitPhase(event.Verify, event.Started)
			}
			s.powerCut()
			r.kill()
			if err := s.host.Boot(t.Context()); err != nil { // which may be followed by a reboot
				t.Fatal(err)
			}
			s.awaitEnded("rolled-back")
			requireRestoredByBoot(t, before, s.snapshot())
			requireBoots(t, s, before.Running)
			s.noProbes()
			s.configure(settings{"revision": "after the power cut"})
			next := s.deploy().require("committed", 0)
			requireRuns(t, s.snapshot(), next.Outcome.Closure)
			if !next.noted("did not end well", "rolled-back") {
				t.Errorf("the next run does not tell of it; %s", next.story())
			}
		})
	}
}
