package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

func TestGoodPathEndsCommitted(t *testing.T) {
	r := newRig(t)
	r.start()
	r.untilJudged()
	if got := r.host.order("activate", "commit", "hold"); !slices.Equal(got, []string{"activate", "hold"}) {
		t.Errorf("before the confirmation: %v", got)
	}
	if _, profile, boots := r.host.state(); profile != oldPath || boots != oldPath {
		t.Errorf("before the confirmation the profile is %s and %s boots", profile, boots)
	}
	answer, err := r.Confirm(r.ctx(), id, []probe.Result{{Name: "outside", Verdict: probe.Pass}})
	if err != nil || answer.State != Committing {
		t.Fatalf("confirm: %v, %v", answer, err)
	}
	if err := r.supervised(); err != nil {
		t.Fatal(err)
	}
	got := r.load()
	if got.State != Committed || got.Generation.Number != 13 || got.Boots != newPath || got.ExitCode != 0 || got.Ended.IsZero() || got.Reason != "" {
		t.Errorf("record %+v", got)
	}
	if len(got.DeployerResults) != 1 || len(got.Results) != 1 {
		t.Errorf("verdicts %v and %v", got.Results, got.DeployerResults)
	}
	r.on(newPath)
	if got := r.host.order("hold", "release", "commit", "finish", "restore"); !slices.Equal(got, []string{"hold", "release", "commit", "finish"}) {
		t.Errorf("order %v: the switch lock must be free for the commit", got)
	}
}

func TestEveryStateIsLogged(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	var seen []State
	r.Log = func(r Record) { mu.Lock(); defer mu.Unlock(); seen = append(seen, r.State) }
	r.start()
	r.untilJudged()
	if _, err := r.Confirm(r.ctx(), id, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.supervised(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := slices.Compact(seen); !slices.Equal(got, []State{Prepared, Trying, Waiting, Committing, Committed}) {
		t.Errorf("logged %v", got)
	}
}

func TestPrepareRecordsThePreviousSystemAndTheDeadlines(t *testing.T) {
	r := newRig(t)
	r.host.arm = func(_ context.Context, armed Record) error {
		if got := r.load(); got.ID != armed.ID || got.State != Prepared {
			t.Errorf("the switch is armed with the record in %s", got.State)
		}
		return nil
	}
	got := r.prepare()
	if got.Previous.Running != oldPath || got.Previous.Profile.Link != "system-12-link" || got.Previous.Boots != oldPath {
		t.Errorf("previous %+v", got.Previous)
	}
	start := Instant(1_000_000)
	for name, pair := range map[string][2]Instant{
		"activate": {got.ActivateBy, start.Add(300 * time.Second)},
		"confirm":  {got.ConfirmBy, start.Add(360 * time.Second)},
		"commit":   {got.CommitBy, 0},
		"dead man": {got.DeadMan, start.Add(795 * time.Second)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s by %d, want %d", name, pair[0], pair[1])
		}
	}
	if got.BootID != "boot-1" || got.ExitCode != -1 || got.Deployer != "ann@desk" || got.Revision != "abc123" {
		t.Errorf("record %+v", got)
	}
	if order := r.host.order("arm", "supervise"); !slices.Equal(order, []string{"arm", "supervise"}) {
		t.Errorf("order %v: the way back comes first", order)
	}
	if b, err := r.Store.LoadBaseline(id); err != nil || b.BootID != "boot-1" {
		t.Errorf("baseline %+v, %v", b, err)
	}
}

func TestPrepareIsRefusedWhileLockedAndSaysByWhom(t *testing.T) {
	for _, s := range States {
		t.Run(string(s), func(t *testing.T) {
			r := newRig(t)
			r.put(s)
			plan := r.plan()
			plan.ID, plan.Deployer = "efgh5678", "bob@lab"
			_, err := r.Prepare(r.ctx(), plan)
			var locked *LockedError
			if s.Final() {
				if err != nil || r.load().ID != plan.ID {
					t.Errorf("after a finished transaction: %v", err)
				}
				return
			}
			if !errors.As(err, &locked) || locked.Holder.ID != id {
				t.Fatalf("got %v", err)
			}
			if text := err.Error(); !strings.Contains(text, "ann@desk") || !strings.Contains(text, newPath) {
				t.Errorf("the refusal does not say who: %s", text)
			}
			if r.load().ID != id || r.host.called("arm") != 0 {
				t.Error("the refused one changed something")
			}
		})
	}
}

func TestOfTwoDeployersOneIsRefused(t *testing.T) {
	r := newRig(t)
	const deployers = 6
	errs := make(chan error, deployers)
	for i := range deployers {
		go func() {
			plan := r.plan()
			plan.ID = fmt.Sprintf("deployer%d", i)
			_, err := r.Prepare(r.ctx(), plan)
			errs <- err
		}()
	}
	won, locked := 0, 0
	for range deployers {
		var holder *LockedError
		switch err := <-errs; {
		case err == nil:
			won++
		case errors.As(err, &holder):
			locked++
		default:
			t.Error(err)
		}
	}
	if won != 1 || locked != deployers-1 || r.host.called("arm") != 1 || r.host.called("supervise") != 1 {
		t.Errorf("%d won, %d were refused, %d armed", won, locked, r.host.called("arm"))
	}
}

func TestPrepareIsRefusedWhenTheHostMoved(t *testing.T) {
	r := newRig(t)
	r.host.run(elsePath)
	_, err := r.Prepare(r.ctx(), r.plan())
	if !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), elsePath) {
		t.Errorf("got %v", err)
	}
	if record, err := r.Store.Load(); record != nil || err != nil {
		t.Errorf("left %v, %v", record, err)
	}
}

func TestPrepareIsRefusedWithoutSpaceForItsRecords(t *testing.T) {
	r := newRig(t)
	r.Store.Dir = belowFile(t)
	if _, err := r.Prepare(r.ctx(), r.plan()); err == nil || !strings.Contains(err.Error(), "reserve") {
		t.Errorf("got %v", err)
	}
	if r.host.called("arm") != 0 {
		t.Error("armed without a place for the record")
	}
}

func TestPrepareThatFailsLeavesNothing(t *testing.T) {
	for _, step := range []string{"arm", "supervise"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			fails := func(context.Context, Record) error { return errBroken }
			if step == "arm" {
				r.host.arm = fails
			} else {
				r.host.supervise = fails
			}
			if _, err := r.Prepare(r.ctx(), r.plan()); !errors.Is(err, errBroken) {
				t.Fatalf("got %v", err)
			}
			got := r.load()
			if got.State != RolledBack || !strings.Contains(got.Reason, errBroken.Error()) || got.Ended.IsZero() {
				t.Errorf("left %s (%s)", got.State, got.Reason)
			}
			if r.host.called("fence") == 0 || r.host.called("finish") != 1 || r.host.Armed(r.ctx(), id) {
				t.Errorf("left behind: %v", r.host.calls)
			}
			if r.host.called("activate") != 0 || r.host.called("restore") != 0 {
				t.Errorf("nothing was changed, yet %v", r.host.calls)
			}
			r.on(oldPath)
			r.host.arm, r.host.supervise = nil, nil
			plan := r.plan()
			plan.ID = "efgh5678"
			if _, err := r.Prepare(r.ctx(), plan); err != nil {
				t.Errorf("the host stays locked: %v", err)
			}
		})
	}
}

// A start that was given up can have happened all the same: the caller's patience
// ended, PID 1's work did not.
func TestPrepareThatFailsAfterTheTrialBeganGoesBack(t *testing.T) {
	r := newRig(t)
	r.host.supervise = func(ctx context.Context, record Record) error {
		r.host.run(record.New)
		if _, err := r.Store.update(ctx, id, func(r *Record) error { return r.apply(Begin) }); err != nil {
			t.Fatal(err)
		}
		return errBroken
	}
	if _, err := r.Prepare(r.ctx(), r.plan()); err == nil {
		t.Fatal("no error")
	}
	if got := r.load(); got.State == RolledBack {
		r.on(oldPath)
	} else if got.State.Final() {
		t.Errorf("ended %s", got.State)
	}
}

// Between the record and the armed switch nobody acts for the transaction yet. A
// second deployer who looks at the host in this moment must not end it.
func TestASecondDeployersLookDoesNotEndATransactionThatIsBeingPrepared(t *testing.T) {
	for _, step := range []string{"arm", "supervise"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			look := func(ctx context.Context, _ Record) error {
				if got, err := r.Settle(ctx); err != nil || got.State != Prepared {
					t.Errorf("the look found %v, %v", got, err)
				}
				return nil
			}
			if step == "arm" {
				r.host.arm = look
			} else {
				r.host.supervise = look
			}
			r.prepare()
			if got := r.load(); got.State != Prepared {
				t.Errorf("it is %s (%s)", got.State, got.Reason)
			}
		})
	}
}

func TestASupervisorIsAlone(t *testing.T) {
	r := newRig(t)
	r.start()
	r.untilJudged()
	if err := r.Engine.Supervise(r.ctx(), id); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second supervisor: %v", err)
	}
	if got := r.load(); got.State != Waiting {
		t.Errorf("it moved the transaction to %s", got.State)
	}
	if err := r.Engine.Supervise(r.ctx(), "efgh5678"); err == nil {
		t.Error("supervised a transaction that is not recorded")
	}
}

func TestConfirmIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  State
		change func(*rig, *Record)
		alone  bool
		want   string
	}{
		{name: "after the deadline", state: Waiting, change: func(r *rig, _ *Record) { r.clock.advance(limits.Activation + limits.Confirm) }, want: "deadline"},
		{name: "before the host's judgement", state: Waiting, change: func(_ *rig, r *Record) { r.Judged = false }, want: "not finished"},
		{name: "without a supervisor", state: Waiting, alone: true, want: "supervisor"},
		{name: "after a restart", state: Waiting, change: func(r *rig, _ *Record) { r.clock.reboot("boot-2") }, want: "restarted"},
		{name: "prepared", state: Prepared, want: "prepared"},
		{name: "trying", state: Trying, want: "trying"},
		{name: "rolling back", state: RollingBack, want: "rolling-back"},
		{name: "rolled back", state: RolledBack, want: "rolled-back"},
		{name: "rollback failed", state: RollbackFailed, want: "rollback-failed"},
		{name: "superseded", state: Superseded, want: "superseded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.host.run(newPath)
			r.put(c.state, func(record *Record) {
				if c.change != nil {
					c.change(r, record)
				}
			})
			if !c.alone {
				r.attend()
			}
			answer, err := r.Confirm(r.ctx(), id, nil)
			var refused *ConfirmError
			if !errors.As(err, &refused) || refused.State != c.state || !strings.Contains(refused.Reason, c.want) {
				t.Fatalf("got %v", err)
			}
			if answer == nil || answer.State != c.state || r.load().State != c.state {
				t.Errorf("the state that won is %s, answered %v", r.load().State, answer)
			}
		})
	}
}

func TestConfirmIsAcceptedUntilTheLastInstant(t *testing.T) {
	r := newRig(t)
	r.host.run(newPath)
	r.put(Waiting)
	r.attend()
	r.clock.advance(limits.Activation + limits.Confirm - 1)
	answer, err := r.Confirm(r.ctx(), id, nil)
	if err != nil || answer.State != Committing {
		t.Fatalf("got %v, %v", answer, err)
	}
	if want := r.clock.Now().Add(limits.Commit); answer.CommitBy != want {
		t.Errorf("commit by %d, want %d", answer.CommitBy, want)
	}
}

func TestConfirmMayBeRepeated(t *testing.T) {
	for _, s := range []State{Committing, Committed} {
		t.Run(string(s), func(t *testing.T) {
			r := newRig(t)
			before := r.put(s, func(r *Record) { r.CommitBy = 77; r.DeployerResults = []probe.Result{{Name: "first"}} })
			r.clock.advance(limits.Total())
			answer, err := r.Confirm(r.ctx(), id, []probe.Result{{Name: "second"}})
			if err != nil || answer.State != s {
				t.Fatalf("got %v, %v", answer, err)
			}
			if got := r.load(); got.CommitBy != before.CommitBy || got.DeployerResults[0].Name != "first" {
				t.Errorf("the repetition changed the record: %+v", got)
			}
		})
	}
}

func TestConfirmAndAbortOfAnotherTransaction(t *testing.T) {
	r := newRig(t)
	if _, err := r.Confirm(r.ctx(), id, nil); !errors.Is(err, ErrOther) {
		t.Errorf("confirm without any: %v", err)
	}
	r.put(Waiting)
	if _, err := r.Confirm(r.ctx(), "efgh5678", nil); !errors.Is(err, ErrOther) {
		t.Errorf("confirm another: %v", err)
	}
	if _, err := r.Abort(r.ctx(), "efgh5678", PersonAborted, "no", nil); !errors.Is(err, ErrOther) {
		t.Errorf("abort another: %v", err)
	}
	if err := r.TakeOver(r.ctx(), "efgh5678", "why"); err != nil || r.host.called("fence") != 0 {
		t.Errorf("take over another: %v, %v", err, r.host.calls)
	}
	if got := r.load(); got.State != Waiting {
		t.Errorf("it is %s", got.State)
	}
}

func TestAConfirmationThatCannotBeRecordedIsNone(t *testing.T) {
	r := newRig(t)
	r.host.run(newPath)
	record := r.put(Waiting)
	r.attend()
	r.Store.Dir = belowFile(t)
	r.Engine.Store = r.Store
	if err := r.Store.save(record); err != nil { // waiting may live in Run
		t.Fatal(err)
	}
	if _, err := r.Confirm(r.ctx(), id, nil); err == nil {
		t.Error("accepted")
	}
	if got := r.load(); got.State != Waiting {
		t.Errorf("it is %s", got.State)
	}
}

func TestAThirdPartyIsNeitherCommittedNorRolledBack(t *testing.T) {
	switched := func(h *memory) { h.run(elsePath) }
	moved := func(h *memory) { h.point("system-13-link", elsePath) }
	for _, c := range []struct {
		name string
		do   func(*memory)
		ask  func(*rig) error
	}{
		{"running system, confirmed", switched, (*rig).confirmed},
		{"profile, confirmed", moved, (*rig).confirmed},
		{"running system, aborted", switched, (*rig).aborted},
		{"profile, aborted", moved, (*rig).aborted},
		{"running system, nobody confirms", switched, func(r *rig) error { r.clock.advance(limits.Confirm); return nil }},
		{"profile, taken over", moved, func(r *rig) error { r.kill(); <-r.ended; return r.TakeOver(r.ctx(), id, "late") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.untilJudged()
			c.do(r.host)
			running, profile, boots := r.host.state()
			if err := c.ask(r); err != nil {
				t.Fatal(err)
			}
			got := r.untilState(Superseded)
			if !strings.Contains(got.Reason+strings.Join(got.Notes, ""), elsePath) {
				t.Errorf("reason %q, notes %v", got.Reason, got.Notes)
			}
			if got.Ended.IsZero() {
				t.Error("it has no end")
			}
			if a, b, c := r.host.state(); a != running || b != profile || c != boots {
				t.Errorf("touched: %s %s %s", a, b, c)
			}
			if n := r.host.called("commit") + r.host.called("restore") + r.host.called("uncommit"); n != 0 {
				t.Errorf("acted: %v", r.host.calls)
			}
		})
	}
}

func (r *rig) confirmed() error { _, err := r.Confirm(r.ctx(), id, nil); return err }

func (r *rig) aborted() error {
	_, err := r.Abort(r.ctx(), id, PersonAborted, "a person said so", nil)
	return err
}

func TestAbortInEveryState(t *testing.T) {
	for s, want := range map[State]State{
		Prepared: RollingBack, Trying: RollingBack, Waiting: RollingBack, RollingBack: RollingBack,
		Committing: Committing, Committed: Committed, RolledBack: RolledBack, RollbackFailed: RollbackFailed, Superseded: Superseded,
	} {
		t.Run(string(s), func(t *testing.T) {
			r := newRig(t)
			r.put(s)
			answer, err := r.Abort(r.ctx(), id, PersonAborted, "a person said so", []probe.Result{{Name: "outside", Verdict: probe.Fail}})
			if err != nil || answer.State != want {
				t.Fatalf("got %v, %v", answer, err)
			}
			got := r.load()
			if got.State != want {
				t.Errorf("it is %s", got.State)
			}
			if moved := s != want; moved && (got.Reason != "a person said so" || len(got.DeployerResults) != 1) {
				t.Errorf("record %+v", got)
			}
			if s == Committing && got.Reason != "" {
				t.Errorf("a refused abort left its reason %q", got.Reason)
			}
		})
	}
}

func TestAbortDuringTheActivationKillsItFirst(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.host.activate = func(ctx context.Context, record Record) (int, error) { return -1, hang(ctx, record) }
	r.start()
	r.awaitStep(began)
	if err := r.aborted(); err != nil {
		t.Fatal(err)
	}
	if got := r.untilState(RolledBack); got.Reason != "a person said so" {
		t.Errorf("reason %q", got.Reason)
	}
	if got := r.host.order("activate ended", "restore"); !slices.Equal(got, []string{"activate ended", "restore"}) {
		t.Errorf("order %v", got)
	}
	r.on(oldPath)
}
