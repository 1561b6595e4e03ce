//go:build lab

package tests

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

func TestInterruptionBeforeTheTrialStopsAndChangesNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.configure(payload)
	limitBandwidth(s, slowLine)
	r := s.startSwitch(command{})
	r.await("some of the copy", func(e event.Event) bool { return e.Phase == event.Copy && e.Progress != nil && e.Progress.Paths >= 2 })
	r.interrupt().require("interrupted", 10).requireFailure("before anything was changed")
	limitBandwidth(s, "")
	requireUntouched(t, before, s.snapshot())
	if left := s.on("ls /var/lib/hdeploy/transaction.json /run/hdeploy/*/open 2>/dev/null || true"); left != "" {
		t.Errorf("a transaction was begun: %s", left)
	}
	s.requireWorks()
}

func TestInterruptionOfAnActivationGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("hangs", settings{"activateHang": true})
	r := s.startSwitch(command{})
	r.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	r.interrupt().require("interrupted", 10).requireFailure("interrupted by root@workstation")
	if r.Outcome.Running != before.Running || r.Outcome.Boots != before.Running {
		t.Errorf("it does not say in which state the host was left: %+v", r.Outcome)
	}
	requireRestored(t, before, s.snapshot())
}

func TestInterruptionOfACommitWaitsForIt(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.switchInCommit(8).interrupt().requireCommittedNow(s)
}

func TestSecondInterruptionLeavesTheHostToItsDeadline(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	// Nothing reaches the host anew, so that the first interrupt has to wait.
	s.faulty("locked out", settings{"firewallDropSsh": true, "activateHang": true})
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `activation = "40s"`, `activation = "20s"`, 1)
	r := s.startSwitch(command{})
	r.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	if err := s.host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	interruptTwice(r)
	if err := s.host.RestoreNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.stderr.String(), "goes back by itself") {
		t.Errorf("it does not say what becomes of the host:\n%s", tail(r.stderr.String()))
	}
	s.awaitStateWithin("rolled-back", time.Minute)
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

// interruptTwice does what an impatient person does; the run must be gone at once.
func interruptTwice(r *run) {
	r.t.Helper()
	for range 2 {
		if err := r.process.Signal(syscall.SIGINT); err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // else the kernel makes one signal of two
	}
	select {
	case <-r.ended:
	case <-time.After(5 * time.Second):
		r.t.Fatal("the second interrupt did not end it")
	}
	if r.Code != 10 {
		r.t.Errorf("exit code %d", r.Code)
	}
}

func (s *site) awaitStateWithin(state string, limit time.Duration) {
	s.t.Helper()
	eventually(s.t, limit, func() string {
		if record := s.record(); !strings.Contains(record, `"state":"`+state+`"`) {
			return "the transaction is not " + state
		}
		return ""
	})
}

func TestInterruptionOfARollbackStaysWhereItWas(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.committed("1", "2")
	before := s.snapshot()
	s.hold(40 * time.Second)
	r := s.start("rollback", command{args: []string{"--yes"}})
	r.awaitPhase(event.Verify, event.Started)
	r.interrupt().require("interrupted", 10).requireFailure("interrupted by root@workstation")
	requireRestored(t, before, s.snapshot())
	// The deployer gave up, which is no verdict about any of the two.
	s.release()
	s.rollback().require("committed", 0)
}

func TestInterruptionOfAnAttachmentOnlyStopsFollowing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.faulty("followed", nil)
	first := s.startSwitch(command{})
	first.awaitPhase(event.Verify, event.Started)
	second := s.start("attach", command{})
	second.awaitPhase(event.Verify, event.Started)
	second.interrupt().require("interrupted", 10).requireFailure("no longer followed", "the host decides within")
	s.release()
	first.wait().requireCommittedNow(s)
}
