package transaction

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

func TestExitCodesOfTheActivation(t *testing.T) {
	for _, c := range []struct {
		name    string
		exit    int
		runs    string
		failing []string
		failErr error
		want    State
		reason  string
	}{
		{"0", 0, newPath, nil, nil, Waiting, ""},
		{"0 and the old system runs", 0, oldPath, nil, nil, RolledBack, "runs " + oldPath},
		{"1, nothing activated", 1, oldPath, nil, nil, RolledBack, "exit 1"},
		{"1, late internal error", 1, newPath, nil, nil, RolledBack, "exit 1"},
		{"2", 2, newPath, nil, nil, RolledBack, "activation script failed"},
		{"4 and units that failed before", 4, newPath, nil, nil, Waiting, ""},
		{"4 and units newly failing", 4, newPath, []string{"nginx.service (exit-code)", "web.service (timeout)"}, nil, RolledBack, "nginx.service (exit-code), web.service (timeout)"},
		{"4 and units unreadable", 4, newPath, nil, errBroken, RolledBack, errBroken.Error()},
		{"4 and the old system runs", 4, oldPath, nil, nil, RolledBack, "runs " + oldPath},
		{"11", 11, oldPath, nil, nil, RolledBack, "lock"},
		{"100", 100, oldPath, nil, nil, RolledBack, "init interface"},
		{"101", 101, newPath, nil, nil, RolledBack, "crashed"},
		{"42", 42, newPath, nil, nil, RolledBack, "exit code 42"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.host.activate = func(context.Context, Record) (int, error) { r.host.run(c.runs); return c.exit, nil }
			r.host.failing = func(context.Context) ([]string, error) { return c.failing, c.failErr }
			r.start()
			got := r.untilState(c.want)
			if got.ExitCode != c.exit || !strings.Contains(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") {
				t.Errorf("exit code %d, reason %q", got.ExitCode, got.Reason)
			}
			if c.want == RolledBack {
				r.on(oldPath)
				if r.host.called("restore") != 1 || r.host.called("uncommit") != 0 {
					t.Errorf("calls %v", r.host.calls)
				}
			} else if c.exit == 4 && len(got.Notes) != 1 {
				t.Errorf("notes %v", got.Notes)
			}
		})
	}
}

func TestActivationThatCannotBeRun(t *testing.T) {
	r := newRig(t)
	r.host.activate = func(context.Context, Record) (int, error) { return -1, errBroken }
	r.start()
	if got := r.untilState(RolledBack); !strings.Contains(got.Reason, errBroken.Error()) || got.ExitCode != -1 {
		t.Errorf("record %+v", got)
	}
}

// Units that cannot be asked after the activation must not delay the way back.
func TestAHungJudgementEndsAtTheDeadlineOfItsStep(t *testing.T) {
	for name, action := range map[string]Action{"switch": Switch, "reboot": Reboot} {
		t.Run(name, func(t *testing.T) {
			b := newBootable(t)
			hang, began := entered()
			b.host.activate = func(_ context.Context, record Record) (int, error) { b.host.run(record.New); return 4, nil }
			b.host.failing = func(ctx context.Context) ([]string, error) { return nil, hang(ctx, Record{}) }
			if action == Reboot {
				b.begin()
				b.awaitRestart()
				b.goDown("boot-2")
			} else {
				b.start()
			}
			b.awaitStep(began)
			b.clock.advance(limits.Activation)
			if got := b.until("going back", func(r Record) bool { return r.State == RollingBack || r.State == RolledBack }); !strings.Contains(got.Reason, "could not be read") {
				t.Errorf("because %s", got.Reason)
			}
		})
	}
}

func TestAHungActivationIsKilledAtItsDeadline(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.host.activate = func(ctx context.Context, record Record) (int, error) {
		r.host.run(newPath)
		return -1, hang(ctx, record)
	}
	r.start()
	r.awaitStep(began)
	r.clock.advance(limits.Activation)
	got := r.untilState(RolledBack)
	if !strings.Contains(got.Reason, "activation did not end within 5m0s") {
		t.Errorf("reason %q", got.Reason)
	}
	if got := r.host.order("activate ended", "restore"); !slices.Equal(got, []string{"activate ended", "restore"}) {
		t.Errorf("order %v", got)
	}
	r.on(oldPath)
}

func TestTheSameSystemIsNotActivatedAgain(t *testing.T) {
	r := newRig(t)
	plan := r.plan()
	plan.New = oldPath
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Engine.Supervise(r.ctx(), id) }()
	r.untilJudged()
	if err := r.aborted(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack {
		t.Errorf("it is %s", got.State)
	}
	if n := r.host.called("activate") + r.host.called("restore"); n != 0 {
		t.Errorf("switched: %v", r.host.calls)
	}
}

func TestATrialThatCannotBeRecordedDoesNotBegin(t *testing.T) {
	r := newRig(t)
	record := r.put(Prepared)
	r.Store.Dir = belowFile(t)
	r.Engine.Store = r.Store
	writeRecord(t, r.Store.Run, record)
	if err := r.Engine.Supervise(r.ctx(), id); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack || !strings.Contains(got.Reason, "could not be recorded") {
		t.Errorf("%s (%s)", got.State, got.Reason)
	}
	if r.host.called("activate") != 0 {
		t.Error("activated")
	}
}

func TestAFailedProbeGoesBackAndIsNamed(t *testing.T) {
	for _, c := range []struct {
		name    string
		results []probe.Result
		want    State
	}{
		{"failed", []probe.Result{
			{Name: "fine", Verdict: probe.Pass},
			{Name: "only alerts", Verdict: probe.Fail, Policy: probe.Alert},
			{Name: "web", Verdict: probe.Fail, Policy: "rollback", Expected: "status 200", Seen: "status 502"},
		}, RolledBack},
		{"unknown", []probe.Result{{Name: "web", Verdict: probe.Unknown, Policy: "rollback", Expected: "status 200", Seen: "status 502"}}, RolledBack},
		{"alerts", []probe.Result{{Name: "web", Verdict: probe.Fail, Policy: probe.Alert}}, Waiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.host.probe = func(context.Context) []probe.Result { return c.results }
			r.start()
			if c.want == Waiting {
				if got := r.untilJudged(); got.Reason != "" {
					t.Errorf("reason %q", got.Reason)
				}
				return
			}
			got := r.untilState(c.want)
			if got.Reason != "probe web failed: expected status 200, saw status 502" {
				t.Errorf("reason %q", got.Reason)
			}
			if len(got.Results) != len(c.results) {
				t.Errorf("results %v", got.Results)
			}
			r.on(oldPath)
		})
	}
}

func TestProbesThatHangAreOverAtTheDeadline(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.host.probe = func(ctx context.Context) []probe.Result {
		_ = hang(ctx, Record{})
		return []probe.Result{{Name: "late", Verdict: probe.Pass}}
	}
	r.start()
	r.awaitStep(began)
	r.clock.advance(limits.Confirm)
	if got := r.untilState(RolledBack); got.Judged || !strings.Contains(got.Reason, "nobody confirmed") {
		t.Errorf("judged %v, reason %q", got.Judged, got.Reason)
	}
}

func TestSilenceMeansTheOldSystem(t *testing.T) {
	r := newRig(t)
	r.start()
	waiting := r.untilJudged()
	if want := r.clock.Now().Add(limits.Confirm); waiting.ConfirmBy != want {
		t.Errorf("to be confirmed by %d, want %d: counted from the end of the activation", waiting.ConfirmBy, want)
	}
	r.clock.advance(limits.Confirm)
	got := r.untilState(RolledBack)
	if got.Reason != "nobody confirmed within 1m0s" || got.Boots != oldPath || got.Ended.IsZero() {
		t.Errorf("record %+v", got)
	}
	r.on(oldPath)
	if err := r.supervised(); err != nil || r.host.called("finish") != 1 {
		t.Errorf("finish: %v, %v", err, r.host.calls)
	}
}

func TestWaitingGoesOnWithoutTheSwitchLock(t *testing.T) {
	r := newRig(t)
	r.host.hold = func() (func(), error) { return nil, errBroken }
	r.start()
	r.untilJudged()
	if err := r.confirmed(); err != nil {
		t.Fatal(err)
	}
	r.untilState(Committed)
}

func TestACommitThatFailsIsUndoneAndTheOldSystemRestored(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		commit       func(*rig) func(context.Context, Record) error
	}{
		{"it fails", "the commit failed: it is broken", func(*rig) func(context.Context, Record) error {
			return func(context.Context, Record) error { return errBroken }
		}},
		{"it fails half-way", "the commit failed: it is broken", func(r *rig) func(context.Context, Record) error {
			return func(context.Context, Record) error { r.host.point("system-13-link", newPath); return errBroken }
		}},
		{"it hangs", "the commit did not end within 2m0s", func(r *rig) func(context.Context, Record) error {
			return func(ctx context.Context, _ Record) error {
				r.clock.advance(limits.Commit)
				<-ctx.Done()
				return ctx.Err()
			}
		}},
		{"it ends too late", "the commit did not end within 2m0s", func(r *rig) func(context.Context, Record) error {
			return func(ctx context.Context, _ Record) error {
				r.clock.advance(limits.Commit)
				<-ctx.Done()
				return nil
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.host.commit = c.commit(r)
			r.start()
			r.untilJudged()
			if err := r.confirmed(); err != nil {
				t.Fatal(err)
			}
			if got := r.untilState(RolledBack); got.Reason != c.reason {
				t.Errorf("reason %q", got.Reason)
			}
			if got := r.host.order("commit", "uncommit", "restore"); !slices.Equal(got, []string{"commit", "uncommit", "restore"}) {
				t.Errorf("order %v: what boots goes back before what runs", got)
			}
			r.on(oldPath)
		})
	}
}

func TestARollbackThatFailsSaysSo(t *testing.T) {
	for _, c := range []struct {
		name, note string
		change     func(*memory)
		confirm    bool
	}{
		{"restore", "the rollback failed: it is broken", func(h *memory) {
			h.reset = func(context.Context, Record) error { return errBroken }
		}, false},
		{"uncommit", "the commit could not be undone: it is broken", func(h *memory) {
			h.commit = func(context.Context, Record) error { return errors.New("no loader") }
			h.uncommit = func(context.Context, Record) error { return errBroken }
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.change(r.host)
			r.start()
			r.untilJudged()
			if c.confirm {
				if err := r.confirmed(); err != nil {
					t.Fatal(err)
				}
			} else if err := r.aborted(); err != nil {
				t.Fatal(err)
			}
			got := r.untilState(RollbackFailed)
			if !slices.Contains(got.Notes, c.note) {
				t.Errorf("notes %v", got.Notes)
			}
			if got.Reason == c.note || got.Reason == "" {
				t.Errorf("reason %q is not the first one", got.Reason)
			}
		})
	}
}

func TestAHungRestoreEndsAtItsDeadline(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.host.reset = hang
	r.start()
	r.untilJudged()
	if err := r.aborted(); err != nil {
		t.Fatal(err)
	}
	r.awaitStep(began)
	r.clock.advance(limits.Rollback)
	r.untilState(RollbackFailed)
}

// What the store can still do when its disk died in the middle of a trial.
func TestARollbackNeverWaitsForAWrite(t *testing.T) {
	r := newRig(t)
	record := r.put(Waiting)
	r.host.run(newPath)
	r.Store.Dir = belowFile(t)
	r.Engine.Store = r.Store
	writeRecord(t, r.Store.Run, record)
	r.clock.advance(limits.Total())
	if err := r.Engine.Supervise(r.ctx(), id); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack {
		t.Errorf("it is %s (%s)", got.State, got.Reason)
	}
	r.on(oldPath)
}

func TestExitMeaningKnowsEveryDocumentedCode(t *testing.T) {
	seen := map[string]int{}
	for _, code := range []int{0, 1, 2, 4, 11, 100, 101, 7} {
		text := ExitMeaning(code)
		if other, ok := seen[text]; ok || text == "" {
			t.Errorf("%d and %d mean both %q", code, other, text)
		}
		seen[text] = code
	}
}

// take-over
