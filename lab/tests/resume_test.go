//go:build lab

package tests

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

const attachedUnit = "/etc/systemd/system.attached/hdeploy-resume.service"

// cutIn brings a host into a state of a transaction, kills the deployer there and
// pulls the plug: nobody will ask the host anything.
func (s *site) cutIn(state event.Phase) {
	s.t.Helper()
	if state == event.Verify {
		s.hold(time.Minute)
	}
	s.faulty("cut in "+string(state), settings{"activateHang": state == event.Trial})
	r := s.startSwitch(command{})
	r.awaitDeadline()
	r.awaitPhase(state, event.Started)
	if state != event.Commit {
		if unit := s.on("cat " + attachedUnit); !strings.Contains(unit, "hdeploy-agent") {
			s.t.Errorf("the unit for the next boot is %q", unit)
		}
	}
	s.powerCut()
	r.kill()
}

func TestPowerCutIsSettledAtBootWithNobodyAsking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  event.Phase
		loader string
	}{
		{event.Trial, lab.GRUB}, {event.Verify, lab.SystemdBoot}, {event.Commit, lab.GRUB}, {event.Commit, lab.SystemdBoot},
	} {
		t.Run(string(c.state)+" "+c.loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: c.loader})
			before := s.snapshot()
			s.cutIn(c.state)
			s.powerOn()
			eventually(t, time.Minute, func() string {
				if record := s.record(); !strings.Contains(record, `"ended":`) {
					return "nobody settled: " + record
				}
				return ""
			})
			after := s.snapshot()
			requireNothingLeft(t, after)
			if strings.Contains(s.record(), `"state":"committed"`) {
				if c.state != event.Commit || after.Running == before.Running {
					t.Errorf("committed, and it runs %s", after.Running)
				}
				requireRuns(t, after, after.Running)
				requireBoots(t, s, after.Running)
				return
			}
			requireRestoredByBoot(t, before, after)
			requireBoots(t, s, before.Running)
			requireTellsOfRestart(s)
		})
	}
}

// inState says whether the host's transaction is in a state that is not its last.
func (s *site) inState(state string) bool {
	return regexp.MustCompile(`"number":\d+,"state":"` + state + `"`).MatchString(s.record())
}

func TestPowerCutWithoutAUnitIsSettledByTheFirstCall(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"read-only": "mount --bind $d $d && mount -o remount,ro,bind $d",
		"volatile":  "mount -t tmpfs tmpfs $d",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			s.on("d=/etc/systemd/system.attached; mkdir -p $d && " + spoil)
			s.hold(time.Minute)
			s.faulty("cut", nil)
			r := s.startSwitch(command{})
			r.awaitPhase(event.Verify, event.Started)
			if found := s.on("ls -A /etc/systemd/system.attached"); found != "" {
				t.Errorf("left for the next boot: %s", found)
			}
			s.powerCut()
			r.kill()
			s.powerOn()
			s.on("rmdir /etc/systemd/system.attached")
			if !s.inState("waiting") {
				t.Errorf("somebody settled: %s", s.record())
			}
			s.noProbes()
			s.deploy("--dry-run").require("refused", 5)
			requireTellsOfRestart(s)
		})
	}
}

// What settles after a boot has a way back of its own: the connection that asked
// may die at any moment.
func TestSettlingGoesOnWithoutWhoAsked(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(time.Minute)
	s.faulty("cut", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on("rm -r /etc/systemd/system.attached")
	s.powerCut()
	r.kill()
	s.powerOn()
	s.noProbes()
	asks := s.startSwitch(command{})
	asks.awaitPhase(event.Preflight, event.Started)
	eventually(t, time.Minute, func() string {
		if strings.Contains(s.record(), `"restarted":true`) {
			return ""
		}
		return "nobody asked"
	})
	asks.kill()
	s.awaitState("rolled-back")
	if journal := s.on("journalctl -b --no-pager -u 'hdeploy-*-supervisor.service'"); !strings.Contains(journal, "rolled-back") {
		t.Errorf("it was not a unit that settled:\n%s", journal)
	}
	requireRestoredByBoot(t, before, s.snapshot())
	requireTellsOfRestart(s)
}

func TestHostThatForgetsSaysSo(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on("mkdir -p /var/lib/hdeploy && mount -t tmpfs tmpfs /var/lib/hdeploy")
	s.configure(settings{"revision": "first"})
	first := s.deploy().require("committed", 0)
	if !first.noted("does not survive a reboot", "in memory") {
		t.Errorf("it is not said that the state is volatile; %s", first.story())
	}
	s.configure(settings{"revision": "booted"})
	s.run("boot", "--reboot").require("refused", 5).requireFailure("would not come back by itself", "in memory")
	s.configure(settings{"revision": "second"})
	second := s.deploy().require("committed", 0)
	s.powerCut()
	s.powerOn()
	requireEqual(t, "confirmed systems",
		map[string]string{"confirmed-1": second.Outcome.Closure, "confirmed-2": first.Outcome.Closure}, confirmed(s.snapshot().Roots))
	if r := s.deploy().require("unchanged", 0); !r.noted("does not survive a reboot", "was lost") {
		t.Errorf("it is not said that the state was lost; %s", r.story())
	}
	s.configure(settings{"revision": "third"})
	if r := s.deploy().require("committed", 0); !r.noted("does not survive") {
		t.Error("the first deployment after the loss does not say so")
	}
	if r := s.deploy().require("unchanged", 0); r.noted("does not survive") {
		t.Errorf("a disk that lasts now is still said to be volatile; %s", r.story())
	}
}

// bootID names the boot that the host is in.
func (s *site) bootID() string {
	s.t.Helper()
	return s.on("cat /proc/sys/kernel/random/boot_id")
}

// rebootTimeouts are short ones for hosts that may take their time to boot.
var rebootTimeouts = strings.Replace(shortTimeouts, `connect =`, `reboot = "90s", connect =`, 1)

func freeze(owner, message string) string {
	return fmt.Sprintf(`{"owner":%q,"message":%q,"since":"2026-01-02T03:04:05Z"}`, owner, message)
}

// moduleUnit is what the NixOS module adds to a system, with the agent where the
// lab has one.
const moduleUnit = `[Unit]
Description=hdeploy: settle what the boot before left
ConditionPathExists=/var/lib/hdeploy/transaction.json
DefaultDependencies=no
After=local-fs.target

[Service]
Type=exec
ExecStart=-/bin/sh -c 'exec /var/lib/hdeploy/agent/hdeploy-agent-* resume'
`

// The module's unit is part of a system, so that it needs no place of its own.
func TestModuleSettlesWhereNoUnitCanBeLeft(t *testing.T) {
	s := newBootSite(t, lab.SystemdBoot)
	units := settings{"hdeploy-resume.service": moduleUnit}
	s.on("d=/etc/systemd/system.attached; mkdir -p $d && mount -t tmpfs tmpfs $d")
	s.configure(settings{"revision": "with the module", "extraUnits": units})
	s.deploy().require("committed", 0)
	s.configure(settings{"revision": "booted", "extraUnits": units})
	s.run("boot", "--reboot").require("committed", 0)
	s.on("d=/etc/systemd/system.attached; mkdir -p $d && mount -t tmpfs tmpfs $d")
	before := s.snapshot()
	s.hold(time.Minute)
	s.configure(settings{"revision": "cut", "extraUnits": units})
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.powerCut()
	r.kill()
	s.powerOn()
	s.awaitState("rolled-back")
	s.on("rmdir /etc/systemd/system.attached || true")
	requireRestoredByBoot(t, before, s.snapshot())
}
