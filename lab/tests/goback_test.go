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

func TestSystemThatLocksTheDeployerOutGoesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault, loader, cause string
	}{
		{"firewallDropSsh", lab.GRUB, "could not be reached over a new connection"},
		{"sshdRefusesKeys", lab.SystemdBoot, "could not be reached over a new connection"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: c.loader})
			before := s.snapshot()
			s.faulty("locked out", settings{c.fault: true})
			r := s.deploy().require("rolled-back", 7).requireFailure(c.cause)
			requireRestored(t, before, s.snapshot())
			if r.Outcome.Running != before.Running || r.Outcome.Previous != before.Running {
				t.Errorf("the outcome tells of other systems: %+v", r.Outcome)
			}
			s.requireWorks()
		})
	}
}

// waitsFor is how long the host waits in holdInTrial: the confirm timeout and
// the longest probe.
const waitsFor = 13 * time.Second

// holdInTrial deploys a change and returns while the host waits for its
// confirmation, with the instant at which it began to, or little later.
func holdInTrial(s *site, faults settings) (*run, time.Time) {
	s.t.Helper()
	s.inventory.Timeouts = `{ activation = "30s", confirm = "3s", commit = "10s", rollback = "30s", grace = "2s", connect = "5s" }`
	s.hold(waitsFor - 3*time.Second)
	s.faulty("never confirmed", faults)
	r := s.startSwitch(command{})
	return r, r.awaitPhase(event.Verify, event.Started).Time
}

// late is what a slow machine may add to the time that a rollback takes.
const late = 8 * time.Second

// requireBackAfter waits until the host runs its old system again, and checks
// that it went back at the instant due, not before.
func requireBackAfter(s *site, before snapshot, due time.Time) {
	s.t.Helper()
	if running := s.on("readlink -f /run/current-system"); running == before.Running && time.Now().Before(due.Add(-time.Second)) {
		s.t.Fatalf("the host went back %v before its deadline", time.Until(due))
	}
	eventually(s.t, time.Until(due)+late, func() string {
		if running := s.on("readlink -f /run/current-system"); running != before.Running {
			return "it runs " + running
		}
		return ""
	})
	off := time.Since(due)
	if off < -time.Second {
		s.t.Errorf("the host went back %v before its deadline", -off)
	}
	s.t.Logf("back %v after the deadline", off.Round(10*time.Millisecond))
	s.awaitState("rolled-back")
}

// awaitState waits until the record on the host has a state.
func (s *site) awaitState(state string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, func() string {
		record := s.record()
		if strings.Contains(record, fmt.Sprintf(`"state":%q`, state)) {
			return ""
		}
		return "the transaction is not " + state + ": " + record
	})
}

func (s *site) record() string {
	s.t.Helper()
	return s.on("cat /var/lib/hdeploy/transaction.json")
}

func TestDeployerThatIsKilledWhileTheHostWaits(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	r, since := holdInTrial(s, nil)
	r.kill()
	requireBackAfter(s, before, since.Add(waitsFor))
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestManagerThatIsReloadedAllTheTimeDoesNotDelayTheWayBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	r, since := holdInTrial(s, settings{"periodicReload": 3})
	r.kill()
	requireBackAfter(s, before, since.Add(waitsFor))
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestPowerCutWhileTheHostWaitsBootsTheOldSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	r, _ := holdInTrial(s, nil)
	s.powerCut()
	r.kill()
	s.powerOn()
	requireRestoredByBoot(t, before, takeSnapshot(t, s.host))
	requireTellsOfRestart(s)
}

func TestPowerCutDuringTheTrialBootsTheOldSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("cut", settings{"activateHang": true})
	r := s.startSwitch(command{})
	r.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	s.powerCut()
	r.kill()
	s.powerOn()
	requireRestoredByBoot(t, before, takeSnapshot(t, s.host))
	requireTellsOfRestart(s)
}

func TestDeployerSeesAPowerCutThrough(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	r, _ := holdInTrial(s, nil)
	s.powerCut()
	s.powerOn()
	r.wait().require("rolled-back", 7).requireFailure("restarted")
	after := s.snapshot()
	requireRestoredByBoot(t, before, after)
	requireNothingLeft(t, after)
	s.requireWorks()
}

// requireRestoredByBoot is requireRestored for a host on which nothing of
// hdeploy's has run since its boot.
func requireRestoredByBoot(t *testing.T, before, after snapshot) {
	t.Helper()
	after.Left, after.Roots = nil, before.Roots
	requireRestored(t, before, after)
}

// requireTellsOfRestart checks that the next run says what became of the one
// before, and works.
func requireTellsOfRestart(s *site) {
	s.t.Helper()
	s.inventory.Probes, s.inventory.Tables = "", ""
	s.configure(settings{"revision": "after the power cut"})
	r := s.deploy().require("committed", 0)
	after := s.snapshot()
	requireRuns(s.t, after, r.Outcome.Closure)
	requireNothingLeft(s.t, after)
	if !r.noted("restarted") {
		s.t.Errorf("the next run does not say that the host restarted in the transaction before; %s", r.story())
	}
}

func TestActivationThatHangsIsKilledAtItsDeadline(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Timeouts = `{ activation = "5s", confirm = "8s", commit = "10s", rollback = "40s", grace = "2s", connect = "5s" }`
	s.faulty("hangs", settings{"activateHang": true})
	r := s.deploy().require("rolled-back", 7).requireFailure("the activation did not end within 5s")
	if log := strings.Join(r.Outcome.Failure.Log, "\n"); !strings.Contains(log, "activation hangs") {
		t.Errorf("the log does not show where it hung:\n%s", log)
	}
	requireRestored(t, before, s.snapshot())
	if left := s.on("pgrep -a sleep || true"); left != "" {
		t.Errorf("the activation still runs: %s", left)
	}
	s.requireWorks()
}

func TestNewSystemThatEndsInEmergencyModeGoesBackByItself(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("no such disk", settings{"badMount": true})
	s.deploy().require("rolled-back", 7).requireFailure()
	requireRestored(t, before, s.snapshot())
	if state := s.on("systemctl is-active multi-user.target local-fs.target sshd.service"); strings.Contains(state, "inactive") {
		t.Errorf("not all is active: %s", state)
	}
	s.requireWorks()
}

func TestEmergencyModeWithoutADeployerGoesBackToo(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("no such disk", settings{"badMount": true})
	r := s.startSwitch(command{})
	r.awaitDeadline()
	r.kill()
	s.awaitState("rolled-back")
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestSupervisorThatIsKilledIsReplacedByTheDeadMan(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	r, since := holdInTrial(s, nil)
	id := r.awaitDeadline().Deadline.ID
	s.on("systemctl kill --kill-whom=all --signal=KILL hdeploy-" + id + "-supervisor.service")
	killed := time.Now()
	eventually(t, late, func() string {
		if running := s.on("readlink -f /run/current-system"); running != before.Running {
			return "it runs " + running
		}
		return ""
	})
	t.Logf("back %v after the supervisor was killed, %v before the deadline", time.Since(killed), time.Until(since.Add(waitsFor)))
	r.wait().require("rolled-back", 7).requireFailure("dead-man")
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestSupervisorThatStandsStillIsReplacedByTheDeadManOnTime(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Timeouts = `{ activation = "6s", confirm = "2s", commit = "1s", rollback = "12s", grace = "1s", connect = "5s" }`
	s.hold(4 * time.Second)
	s.faulty("never confirmed", nil)
	r := s.startSwitch(command{})
	armed := r.awaitDeadline()
	r.awaitPhase(event.Verify, event.Started)
	s.on("systemctl kill --kill-whom=all --signal=STOP hdeploy-" + armed.Deadline.ID + "-supervisor.service")
	r.kill()
	due := armed.Time.Add(time.Duration(armed.Deadline.DeadMan * float64(time.Second)))
	requireBackAfter(s, before, due)
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}
