package transaction

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSettleLeavesAloneWhatSomebodyActsFor(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*rig)
	}{
		{"supervisor", (*rig).attend},
		{"dead-man's switch", func(r *rig) { r.host.armed = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.put(Trying)
			c.do(r)
			got, err := r.settle()
			if err != nil || got.State != Trying || len(r.host.calls) != 0 {
				t.Errorf("got %v, %v; calls %v", got, err, r.host.calls)
			}
		})
	}
}

func TestSettleTakesOverWhatNobodyActsFor(t *testing.T) {
	r := newRig(t)
	r.put(Waiting)
	r.host.run(newPath)
	got, err := r.settle()
	if err != nil || got.State != RolledBack || !strings.Contains(got.Reason, "gone") {
		t.Errorf("got %v, %v", got, err)
	}
	r.on(oldPath)
}

func TestSettleWithNothingToSettle(t *testing.T) {
	r := newRig(t)
	if got, err := r.settle(); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []State{Committed, RolledBack, RollbackFailed, Superseded} {
		for _, boot := range []string{"boot-1", "boot-0"} {
			r := newRig(t)
			r.put(s, func(r *Record) { r.BootID = boot })
			got, err := r.settle()
			if err != nil || got.State != s {
				t.Errorf("%s: got %v, %v", s, got, err)
			}
			if _, err := r.settle(); err != nil {
				t.Error(err)
			}
			// Power, or who cleaned up, may have been lost before it had done so. Once is enough.
			if calls := fmt.Sprint(r.host.calls); calls != "[finish]" {
				t.Errorf("%s of %s: calls %s", s, boot, calls)
			}
		}
	}
}

func TestSettleAfterARestartGoesByWhatBooted(t *testing.T) {
	for _, c := range []struct {
		state  State
		booted string
		moved  bool // the profile already was the new system's
		want   State
		calls  []string
	}{
		{Prepared, oldPath, false, RolledBack, []string{"finish"}},
		{Trying, oldPath, false, RolledBack, []string{"finish"}},
		{Waiting, oldPath, false, RolledBack, []string{"finish"}},
		{RollingBack, oldPath, false, RolledBack, []string{"finish"}},
		{Committing, oldPath, false, RolledBack, []string{"uncommit", "finish"}},
		{Committing, oldPath, true, RolledBack, []string{"uncommit", "finish"}},
		{Committing, newPath, true, Committed, []string{"commit", "finish"}},
		{Prepared, elsePath, false, Superseded, []string{"finish"}},
		{Trying, elsePath, false, Superseded, []string{"finish"}},
		{Waiting, elsePath, false, Superseded, []string{"finish"}},
		{Committing, elsePath, true, Superseded, []string{"finish"}},
		{RollingBack, elsePath, false, Superseded, []string{"finish"}},
	} {
		name := string(c.state) + " booted " + c.booted[len(c.booted)-4:]
		if c.moved {
			name += " moved"
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put(c.state)
			r.host.run(c.booted)
			if c.moved {
				r.host.point("system-13-link", newPath)
			}
			r.clock.reboot("boot-2")
			got, err := r.settle()
			if err != nil {
				t.Fatal(err)
			}
			if got.State != c.want || got.Ended.IsZero() {
				t.Errorf("it is %s (%s), ended %v", got.State, got.Reason, got.Ended)
			}
			if c.want != Superseded {
				c.calls = append([]string{"arm", "supervise"}, c.calls...)
			}
			if !slices.Equal(r.host.calls, c.calls) {
				t.Errorf("calls %v, want %v", r.host.calls, c.calls)
			}
			if c.want == RolledBack && !strings.Contains(got.Reason, "restarted") {
				t.Errorf("reason %q", got.Reason)
			}
		})
	}
}

// The power went while a failed commit was being undone, and the loader still
// had the new system: it is hdeploy's own, and was rejected.
func TestSettleAfterARestartGoesOnWithARollbackOfACommit(t *testing.T) {
	for _, action := range []Action{Switch, Boot} {
		r := newRig(t)
		r.put(RollingBack, func(r *Record) { r.Action, r.CommitBy, r.Reason = action, 5, "the commit failed" })
		r.host.run(newPath)
		r.host.point("system-13-link", newPath)
		r.host.boots = newPath
		r.clock.reboot("boot-2")
		got, err := r.settle()
		if err != nil || got.State != RolledBack {
			t.Fatalf("%s: got %v, %v", action, got, err)
		}
		r.on(oldPath)
	}
}

func TestSettleAfterARestartEndsEvenWhereTheCommitCannot(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.host.run(newPath)
	r.host.point("system-13-link", newPath)
	r.host.commit = func(context.Context, Record) error { return errBroken }
	r.clock.reboot("boot-2")
	_, _ = r.settle()
	if got := r.load(); !got.State.Final() {
		t.Errorf("it stays %s, and the host locked", got.State)
	}
}

func TestSettleAfterARestartWhereTheCommitCannotBeUndone(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.host.point("system-13-link", newPath)
	r.host.uncommit = func(context.Context, Record) error { return errBroken }
	r.clock.reboot("boot-2")
	got, err := r.settle()
	if err != nil || got.State != RollbackFailed || !slices.Contains(got.Notes, "the commit could not be undone: it is broken") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTwoWhoSettleAfterARestartDoNotActAtOnce(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.host.run(newPath)
	r.clock.reboot("boot-2")
	began := make(chan struct{}, 2)
	release := make(chan struct{})
	r.host.commit = func(context.Context, Record) error { began <- struct{}{}; <-release; return nil }
	done := make(chan struct{}, 2)
	settle := func() { _, _ = r.settle(); done <- struct{}{} }
	go settle()
	<-began
	go settle()
	select {
	case <-began: // both act
	case err := <-done: // the second one left it to the first
		done <- err
	case <-time.After(time.Second): // the second one waits for the first
	}
	close(release)
	if r.untilState(Committed); r.host.most != 1 {
		t.Errorf("%d commits at once", r.host.most)
	}
	for len(done) < 2 {
		select {
		case <-time.After(time.Millisecond):
		case <-r.ctx().Done():
			t.Fatal("a settling hangs")
		}
	}
}
