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

// soonOver makes the dead-man's switch act half a minute after the start, with
// the deployer's probe held that long.
func (s *site) soonOver(held time.Duration) {
	s.t.Helper()
	s.inventory.Timeouts = `{ activation = "8s", confirm = "2s", commit = "6s", rollback = "12s", grace = "1s", connect = "5s" }`
	s.hold(held)
}

// deadMan is the instant at which the dead-man's switch of a run acts.
func deadMan(armed event.Event) time.Time {
	return armed.Time.Add(time.Duration(armed.Deadline.DeadMan * float64(time.Second)))
}

func (s *site) running() string {
	s.t.Helper()
	return s.on("readlink -f /run/current-system")
}

func TestLastResortGoesBackWithoutTheAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, signal string }{
		{"supervisor killed", "KILL"},
		// It holds the lock of switch-to-configuration all the time.
		{"supervisor stands still", "STOP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			before := s.snapshot()
			s.soonOver(4 * time.Second)
			s.faulty("never confirmed", nil)
			r := s.startSwitch(command{})
			armed := r.awaitDeadline()
			r.awaitPhase(event.Verify, event.Started)
			r.kill()
			id := armed.Deadline.ID
			damage := fmt.Sprintf("cd /run/hdeploy/%s; head -c 4096 /dev/urandom > damaged; chmod 700 damaged; mv -f damaged agent", id)
			s.on(damage + "; systemctl kill --kill-whom=all --signal=" + c.signal + " hdeploy-" + id + "-supervisor.service")
			due := deadMan(armed)
			eventually(t, time.Until(due)+late, func() string {
				if running := s.running(); running != before.Running {
					return "it runs " + running
				}
				return ""
			})
			eventually(t, late, func() string {
				return s.on("systemctl list-jobs --no-legend | grep hdeploy || true")
			})
			journal := s.on("journalctl -b --no-pager -u hdeploy-" + id + "-lastresort.service")
			if !strings.Contains(journal, "switch back without hdeploy") {
				t.Errorf("it was not the last resort that went back:\n%s", journal)
			}
			// Only then is the transaction over for the next deployer.
			time.Sleep(time.Until(due.Add(2 * time.Second)))
			if running := s.running(); running != before.Running {
				t.Fatalf("after the deadline it runs %s", running)
			}
			s.requireWorks()
		})
	}
}

func TestCleaningUpThatFailsDoesNotTouchWhatWasCommitted(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.soonOver(15 * time.Second)
	s.faulty("kept", nil)
	r := s.startSwitch(command{})
	armed := r.awaitDeadline()
	r.awaitPhase(event.Verify, event.Started)
	s.on("cd /nix/var/nix/gcroots; mv hdeploy hdeploy.away; touch hdeploy")
	s.release()
	r.wait().require("committed", 0)
	time.Sleep(time.Until(deadMan(armed).Add(late)))
	after := takeSnapshot(t, s.host)
	requireRuns(t, after, r.Outcome.Closure)
	requireBoots(t, s, r.Outcome.Closure)
	s.awaitState("committed")
	if journal := s.on("journalctl -b --no-pager -u 'hdeploy-*-lastresort.service' -u 'hdeploy-*-deadman.service' || true"); strings.Contains(journal, "Start") {
		t.Errorf("the way back was taken:\n%s", journal)
	}
	s.on("cd /nix/var/nix/gcroots; rm hdeploy; mv hdeploy.away hdeploy")
	s.inventory.Probes, s.inventory.Tables = "", ""
	s.configure(settings{"revision": "after"})
	next := s.deploy().require("committed", 0)
	after = s.snapshot()
	requireRuns(t, after, next.Outcome.Closure)
	// The roots that could not be removed are left for a day.
	after.Roots = confirmed(after.Roots)
	requireNothingLeft(t, after)
}

// longJob is what a timer of the host's starts once it is wanted.
const longJob = `
cd /run/systemd/system
cat > job.service <<'END'
[Unit]
Description=A long job of this host
ConditionPathExists=/run/job-wanted
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/sh -c "rm /run/job-wanted; echo begin >> /run/job-log; sleep 25; echo end >> /run/job-log"
END
cat > job.timer <<'END'
[Timer]
OnCalendar=*:*:0/2
AccuracySec=100ms
END
systemctl daemon-reload
systemctl start job.timer
`

func TestJobOfATimerIsNotKilledByARollback(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on(longJob)
	before := s.snapshot()
	s.hold(30 * time.Second)
	s.faulty("interrupted", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on("touch /run/job-wanted")
	eventually(t, late, func() string {
		if log := s.on("cat /run/job-log || true"); log != "begin" {
			return "the job has not begun: " + log
		}
		return ""
	})
	r.interrupt().require("interrupted", 10)
	if state := s.on("systemctl show -P ActiveState job.service; cat /run/job-log"); state != "activating\nbegin" {
		t.Errorf("the job after the rollback: %q", state)
	}
	eventually(t, time.Minute, func() string {
		if log := s.on("cat /run/job-log"); log != "begin\nend" {
			return "the job's log is " + log
		}
		return ""
	})
	after := s.snapshot()
	delete(before.Units, "job.timer") // it elapses all the time
	delete(after.Units, "job.timer")
	requireRestored(t, before, after)
	if state := s.on("systemctl is-active job.timer"); state != "active" {
		t.Errorf("the timer is %s", state)
	}
	s.requireWorks()
}

// interrupt does what Ctrl-C does, and waits for the end of the run.
func (r *run) interrupt() *run {
	r.t.Helper()
	if err := r.process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	return r.wait()
}

// endLogins kills what sshd started for each login, and not sshd itself.
func (s *site) endLogins() {
	s.t.Helper()
	s.on(`kill -KILL $(pgrep -f "^sshd.*: root")`)
}

func TestRefusedLoginAndALostConnectionEndAsRolledBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("locked out", settings{"sshdRefusesKeys": true})
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.endLogins()
	r.wait().require("rolled-back", 7).requireFailure()
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestInterruptionWhileTheTrialStartsGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	// The request is on its way, is being worked on, was answered.
	for _, delay := range []time.Duration{0, 150 * time.Millisecond, 600 * time.Millisecond} {
		s.faulty("interrupted after "+delay.String(), nil)
		r := s.startSwitch(command{})
		r.awaitPhase(event.Trial, event.Started)
		time.Sleep(delay)
		r.interrupt().require("interrupted", 10).requireFailure("interrupted")
		// At its end the run knows that the host is back.
		if record := s.on("cat /var/lib/hdeploy/transaction.json || true"); record != "" && !strings.Contains(record, `"state":"rolled-back"`) {
			t.Errorf("the run is over, and the transaction is not: %s", record)
		}
		requireRestored(t, before, s.snapshot())
	}
	s.requireWorks()
}

// The request may not have arrived, or its answer be lost.
func TestConnectionLostWhileTheTrialStartsLeavesNoDoubt(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	for _, delay := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond} {
		before := s.snapshot()
		s.faulty("lost after "+delay.String(), nil)
		r := s.startSwitch(command{})
		r.awaitPhase(event.Trial, event.Started)
		time.Sleep(delay)
		s.endLogins()
		r.wait()
		after := s.snapshot()
		switch r.Outcome.Outcome {
		case "committed":
			requireRuns(t, after, r.Outcome.Closure)
			requireNothingLeft(t, after)
		case "rolled-back":
			requireRestored(t, before, after)
		default:
			t.Errorf("after %v: %s with %d; %s", delay, r.Outcome.Outcome, r.Code, r.story())
		}
		t.Logf("after %v: %s; %+v", delay, r.Outcome.Outcome, r.Outcome.Failure)
	}
	s.requireWorks()
}

// Nothing but the connection of before the trial reaches the host then.
func TestInterruptionWhileTheHostCannotBeReachedAnew(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "40s"`, 1)
	s.faulty("locked out", settings{"firewallDropSsh": true})
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	time.Sleep(time.Second)
	since := time.Now()
	r.interrupt().require("interrupted", 10).requireFailure("interrupted")
	if took := time.Since(since); took > 30*time.Second {
		t.Errorf("it took %v to end an interrupted run", took)
	}
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}
