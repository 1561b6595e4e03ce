package transaction

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// Power was lost in a commit and the new system booted; before hdeploy looked
// again somebody made another system the profile.
func TestCommitAfterARestartRespectsAMovedProfile(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.clock.reboot("boot-2")
	r.host.run(newPath)
	r.host.point("system-14-link", elsePath)
	got, err := r.settle()
	if err != nil || got == nil || got.State != Superseded || !strings.Contains(got.Reason, elsePath) {
		t.Fatalf("settled as %+v, %v", got, err)
	}
	if _, profile, _ := r.host.state(); profile != elsePath || r.host.called("commit") != 0 || r.host.called("uncommit") != 0 || r.host.called("restore") != 0 {
		t.Errorf("the profile is %s after %v", profile, r.host.calls)
	}
}

func TestCommitAfterARestartIsFinished(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.clock.reboot("boot-2")
	r.host.run(newPath)
	got, err := r.settle()
	if err != nil || got == nil || got.State != Committed {
		t.Fatalf("settled as %+v, %v", got, err)
	}
	r.on(newPath)
}

// The end of the supervisor's unit with a failure sets the dead-man's switch off.
func TestCleaningUpThatFailsIsNoFailureOfTheTransaction(t *testing.T) {
	r := newRig(t)
	r.host.finish = func(Record) error { return errBroken }
	var said []string
	r.Log = func(now Record) { said = append(said, now.Reason) }
	r.start()
	r.untilJudged()
	if _, err := r.Confirm(r.ctx(), id, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.supervised(); err != nil {
		t.Errorf("the supervisor failed: %v", err)
	}
	if len(said) == 0 || !strings.Contains(said[len(said)-1], errBroken.Error()) {
		t.Errorf("the journal is not told: %q", said)
	}
	if got := r.load(); got.State != Committed || got.Reason != "" {
		t.Errorf("recorded %s, %q", got.State, got.Reason)
	}
	r.on(newPath)
	// What the dead-man's switch then does is to clean up as well.
	if err := r.TakeOver(r.ctx(), id, "its time has come"); err != nil {
		t.Errorf("taken over: %v", err)
	}
	if r.host.called("restore") != 0 || r.host.called("uncommit") != 0 {
		t.Errorf("calls %v", r.host.calls)
	}
	r.on(newPath)
}

func TestCleaningUpThatFailsAfterOtherEnds(t *testing.T) {
	for _, s := range []State{RolledBack, RollbackFailed, Superseded} {
		r := newRig(t)
		r.host.finish = func(Record) error { return errBroken }
		r.put(s)
		if err := r.Supervise(r.ctx(), id); err != nil {
			t.Errorf("%s supervised: %v", s, err)
		}
		if err := r.TakeOver(r.ctx(), id, "late"); err != nil {
			t.Errorf("%s taken over: %v", s, err)
		}
		r.clock.reboot("boot-2")
		if got, err := r.settle(); err != nil || got.State != s {
			t.Errorf("%s settled as %v, %v", s, got, err)
		}
		if r.host.called("finish") != 3 {
			t.Errorf("%s: calls %v", s, r.host.calls)
		}
	}
}

func TestCleaningUpHasADeadline(t *testing.T) {
	r := newRig(t)
	r.put(Committed)
	bounded := &deadlines{memory: r.host}
	r.Host = bounded
	if err := r.Supervise(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if left := bounded.finish; left <= 0 || left > startLimit {
		t.Errorf("%v for cleaning up", left)
	}
}

// deadlines notes how long a host is given.
type deadlines struct {
	*memory
	finish, uncommit time.Duration
}

func left(ctx context.Context) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return time.Until(at)
}

func (d *deadlines) Finish(ctx context.Context, r Record) error {
	d.finish = left(ctx)
	return d.memory.Finish(ctx, r)
}

func TestTheSameRequestTwiceIsAnsweredWithTheTransaction(t *testing.T) {
	r := newRig(t)
	r.prepare()
	for _, s := range []State{Prepared, RolledBack} {
		if s != Prepared {
			r.put(s)
		}
		calls := len(r.host.calls)
		var locked *LockedError
		if _, err := r.Prepare(r.ctx(), r.plan()); !errors.As(err, &locked) || locked.Holder.ID != id || locked.Holder.State != s {
			t.Errorf("%s: %v", s, err)
		}
		if len(r.host.calls) != calls {
			t.Errorf("%s: the repetition did %v", s, r.host.calls[calls:])
		}
		if got := r.load(); got.State != s {
			t.Errorf("%s became %s", s, got.State)
		}
	}
	next := r.plan()
	next.ID = "efgh5678"
	if _, err := r.Prepare(r.ctx(), next); err != nil {
		t.Errorf("a new request after the end: %v", err)
	}
}

// The supervisor's start is told to have failed, though it runs already.
func TestAbandonedTransactionThatBeganIsTakenBack(t *testing.T) {
	r := newRig(t)
	r.host.supervise = func(ctx context.Context, _ Record) error {
		if _, err := r.Store.update(ctx, id, func(r *Record) error { return r.apply(Begin) }); err != nil {
			t.Error(err)
		}
		r.host.run(newPath)
		return errBroken
	}
	if _, err := r.Prepare(r.ctx(), r.plan()); !errors.Is(err, errBroken) {
		t.Errorf("prepared: %v", err)
	}
	if got := r.load(); got.State != RolledBack || !strings.Contains(got.Reason, "could not be started") {
		t.Errorf("recorded %s, %q", got.State, got.Reason)
	}
	if got := r.host.order("fence", "restore", "finish"); len(got) < 3 || got[0] != "fence" || got[len(got)-2] != "restore" || got[len(got)-1] != "finish" {
		t.Errorf("calls %v", got)
	}
	r.on(oldPath)
}

func TestAbandonedTransactionThatDidNotBeginTouchesNothing(t *testing.T) {
	r := newRig(t)
	r.host.supervise = func(context.Context, Record) error { return errBroken }
	r.host.finish = func(Record) error { return errBroken }
	if _, err := r.Prepare(r.ctx(), r.plan()); !errors.Is(err, errBroken) {
		t.Errorf("prepared: %v", err)
	}
	if got := r.load(); got.State != RolledBack || got.Ended.IsZero() {
		t.Errorf("recorded %+v", got)
	}
	if r.host.called("restore") != 0 || r.host.called("activate") != 0 {
		t.Errorf("calls %v", r.host.calls)
	}
	r.on(oldPath)
}

// A boot loader whose installation hangs hangs again when it is undone.
func TestUndoingThatHangsLeavesTimeForTheRunningSystem(t *testing.T) {
	r := newRig(t)
	r.put(Committing, func(r *Record) { r.State, r.Limits.Rollback = RollingBack, 2*time.Second })
	r.host.run(newPath)
	r.host.uncommit = func(ctx context.Context, _ Record) error {
		<-ctx.Done()
		return ctx.Err()
	}
	bounded := &deadlines{memory: r.host}
	r.Host = bounded
	r.host.reset = func(ctx context.Context, _ Record) error { return ctx.Err() }
	if err := r.Supervise(r.ctx(), id); err != nil {
		t.Fatal(err)
	}
	got := r.load()
	if got.State != RollbackFailed || !strings.Contains(got.Reason, "the commit could not be undone") || strings.Contains(got.Reason, "the rollback failed") {
		t.Errorf("recorded %s, %q", got.State, got.Reason)
	}
	if running, _, _ := r.host.state(); running != oldPath {
		t.Errorf("it runs %s", running)
	}
	if bounded.uncommit <= 0 || bounded.uncommit > time.Second {
		t.Errorf("%v to undo the commit", bounded.uncommit)
	}
}

func (d *deadlines) Uncommit(ctx context.Context, r Record) error {
	d.uncommit = left(ctx)
	return d.memory.Uncommit(ctx, r)
}
