//go:build lab

package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

func TestAttachFollowsWhatSomebodyElseDeploys(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.faulty("followed", nil)
	first := s.startSwitch(command{env: []string{"USER=alice"}})
	first.awaitPhase(event.Verify, event.Started)
	second := s.start("attach", command{})
	second.awaitPhase(event.Verify, event.Started)
	s.release()
	first.wait().require("committed", 0)
	second.wait().require("committed", 0)
	if first.Outcome.Transaction != second.Outcome.Transaction || first.Outcome.Closure != second.Outcome.Closure {
		t.Errorf("they tell of different transactions: %+v, %+v", first.Outcome, second.Outcome)
	}
	if !second.noted("alice@workstation", first.Outcome.Transaction) {
		t.Errorf("it does not say whose transaction it is; %s", second.story())
	}
}

func TestAttachTellsHowThingsEnded(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.start("attach", command{}).wait().require("refused", 5).requireFailure("remembers no transaction")
	s.faulty("good", nil)
	good := s.deploy().require("committed", 0)
	s.faulty("bad", settings{"activateExit": 1})
	bad := s.deploy().require("rolled-back", 7)
	before := s.snapshot()

	last := s.start("attach", command{}).wait().require("rolled-back", 7).requireFailure("the activation script failed")
	if last.Outcome.Transaction != bad.Outcome.Transaction || last.Outcome.Closure != bad.Outcome.Closure || last.Outcome.Failure.Step != "trial" {
		t.Errorf("got %+v, not %+v", last.Outcome, bad.Outcome)
	}
	for _, id := range []string{good.Outcome.Transaction, good.Outcome.Transaction[:8]} {
		earlier := s.start("attach", command{args: []string{id}}).wait().require("committed", 0)
		if earlier.Outcome.Transaction != good.Outcome.Transaction || earlier.Outcome.Generation != good.Outcome.Generation {
			t.Errorf("%s: got %+v, not %+v", id, earlier.Outcome, good.Outcome)
		}
	}
	s.start("attach", command{args: []string{"abcdefgh12345678"}}).wait().require("refused", 5).requireFailure("remembers no transaction abcdefgh12345678")
	requireUntouched(t, before, s.snapshot())
}

func TestAttachSeesTheWayBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	r, _ := holdInTrial(s, nil)
	second := s.start("attach", command{})
	second.awaitPhase(event.Verify, event.Started)
	r.kill()
	second.wait().require("rolled-back", 7).requireFailure("nobody confirmed within")
	requireRestored(t, before, s.snapshot())
}

func TestConfirmByHand(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.start("confirm", command{}).wait().require("refused", 5).requireFailure("remembers no transaction")
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "60s"`, 1)
	s.hold(40 * time.Second)
	s.faulty("confirmed by hand", nil)
	first := s.startSwitch(command{})
	first.awaitPhase(event.Verify, event.Started)
	first.kill() // nobody else will
	r := s.start("confirm", command{env: []string{"USER=bob"}}).wait().requireCommittedNow(s)
	// What is confirmed stays so.
	again := s.start("confirm", command{args: []string{r.Outcome.Transaction}}).wait().require("committed", 0)
	if again.Outcome.Transaction != r.Outcome.Transaction {
		t.Errorf("got %+v", again.Outcome)
	}
}

// requireCommittedNow is requireCommitted for the system that the outcome names.
func (r *run) requireCommittedNow(s *site) *run {
	r.t.Helper()
	return r.requireCommitted(s, r.Outcome.Closure)
}

func TestConfirmIsAcceptedOnlyWhileTheHostWaits(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `activation = "40s"`, `activation = "20s"`, 1)
	s.faulty("hangs", settings{"activateHang": true})
	first := s.startSwitch(command{})
	first.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	s.start("confirm", command{}).wait().require("refused", 5).requireFailure("the transaction is trying", "hdeploy attach")
	first.wait().require("rolled-back", 7)
	s.start("confirm", command{}).wait().require("refused", 5).requireFailure("is over: rolled-back")
	requireRestored(t, before, s.snapshot())
}

func TestConfirmProvesThatTheHostCanBeReached(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("locked out", settings{"firewallDropSsh": true})
	first := s.startSwitch(command{})
	first.awaitPhase(event.Verify, event.Started)
	r := s.start("confirm", command{}).wait()
	if r.Outcome.Outcome == "committed" {
		t.Errorf("it was confirmed; %s", r.story())
	}
	first.wait().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
}

func TestAbortByHand(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.start("abort", command{}).wait().require("refused", 5).requireFailure("remembers no transaction")
	s.hold(40 * time.Second)
	s.faulty("aborted", nil)
	first := s.startSwitch(command{})
	first.awaitPhase(event.Verify, event.Started)
	s.start("abort", command{env: []string{"USER=bob"}}).wait().require("rolled-back", 0)
	first.wait().require("rolled-back", 7).requireFailure("aborted by bob@workstation")
	requireRestored(t, before, s.snapshot())
	s.start("abort", command{}).wait().require("refused", 5).requireFailure("is over: rolled-back")

	s.release()
	s.deploy().require("refused", 5).requireFailure("rejected on the host before")
	s.deploy("--force").requireCommittedNow(s)
	s.start("abort", command{}).wait().require("refused", 5).requireFailure("is over: committed", "hdeploy rollback")
}

func TestAbortOfAnActivationThatHangs(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("hangs", settings{"activateHang": true})
	first := s.startSwitch(command{})
	first.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	s.start("abort", command{}).wait().require("rolled-back", 0)
	first.wait().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
}
