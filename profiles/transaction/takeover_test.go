package transaction

import (
	"context"
	"slices"
	"testing"
)

func TestTheDeadManTakesOverWhereTheSupervisorDied(t *testing.T) {
	for s, want := range map[State]State{
		Prepared: RolledBack, Trying: RolledBack, Waiting: RolledBack, Committing: RolledBack, RollingBack: RolledBack,
		Committed: Committed, RolledBack: RolledBack, RollbackFailed: RollbackFailed, Superseded: Superseded,
	} {
		t.Run(string(s), func(t *testing.T) {
			r := newRig(t)
			r.put(s)
			if s != Prepared && s != RolledBack {
				r.host.run(newPath)
			}
			if s == Committing {
				r.host.point("system-13-link", newPath)
			}
			if err := r.TakeOver(r.ctx(), id, "the supervisor was gone"); err != nil {
				t.Fatal(err)
			}
			got := r.load()
			if got.State != want {
				t.Fatalf("it is %s (%s)", got.State, got.Reason)
			}
			if r.host.called("finish") != 1 || r.host.order("fence", "restore", "uncommit", "finish")[0] != "fence" {
				t.Errorf("calls %v", r.host.calls)
			}
			if s.Final() {
				if n := r.host.called("restore") + r.host.called("uncommit"); n != 0 {
					t.Errorf("acted after the end: %v", r.host.calls)
				}
				return
			}
			if got.Reason != "the supervisor was gone" {
				t.Errorf("reason %q", got.Reason)
			}
			if s == Committing && r.host.called("uncommit") != 1 {
				t.Error("the half commit was not undone")
			}
			r.on(oldPath)
		})
	}
}

func TestTheDeadManEndsALivingSupervisorFirst(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.host.activate = func(ctx context.Context, record Record) (int, error) {
		r.host.run(newPath)
		return -1, hang(ctx, record)
	}
	ended := make(chan struct{})
	r.host.fence = func(context.Context) error {
		r.kill()
		<-ended
		return nil
	}
	r.prepare()
	ctx, cancel := context.WithCancel(context.Background())
	r.kill = cancel
	go func() { defer close(ended); _ = r.Engine.Supervise(ctx, id) }()
	r.awaitStep(began)
	if err := r.TakeOver(r.ctx(), id, "too late"); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack {
		t.Errorf("it is %s", got.State)
	}
	r.on(oldPath)
}

// An unkillable process must not keep the old system from coming back.
func TestAFenceThatHangsDoesNotStopTheDeadMan(t *testing.T) {
	r := newRig(t)
	r.put(Waiting)
	r.host.run(newPath)
	bounded := false
	r.host.fence = func(ctx context.Context) error {
		_, bounded = ctx.Deadline()
		return errBroken
	}
	if err := r.TakeOver(context.Background(), id, "late"); err != nil {
		t.Fatal(err)
	}
	if !bounded {
		t.Error("the fence has no deadline: a process that cannot be killed holds the dead-man's switch for ever")
	}
	got := r.load()
	if got.State != RolledBack || !slices.Contains(got.Notes, errBroken.Error()) {
		t.Errorf("%s, notes %v", got.State, got.Notes)
	}
}

// settling
