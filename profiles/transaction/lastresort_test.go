package transaction

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// powered gives the rig a machine that restarts into what it boots, and counts.
func (r *rig) powered() *int {
	restarts := 0
	r.Reboot = func(context.Context, Record) error {
		restarts++
		_, _, boots := r.host.state()
		r.host.run(boots)
		return nil
	}
	return &restarts
}

func mayRestart(r *Record) { r.LastResort = Restart }

func (r *rig) takeOver() {
	r.t.Helper()
	if err := r.TakeOver(r.ctx(), id, "the supervisor is gone"); err != nil {
		r.t.Fatal(err)
	}
}

func TestRollbackThatFailsRestartsTheHostOnce(t *testing.T) {
	r := newRig(t)
	restarts := r.powered()
	r.put(Waiting, mayRestart)
	r.host.run(newPath)
	r.host.reset = func(context.Context, Record) error { return errBroken }
	r.takeOver()
	if got := r.load(); *restarts != 1 || got.State != RollingBack || !got.HasRestarted {
		t.Fatalf("%d restarts, %+v", *restarts, got)
	}
	r.clock.reboot("boot-2")
	got, err := r.settle()
	if err != nil || got.State != RolledBack || !strings.Contains(got.Reason, "supervisor is gone") || !strings.Contains(strings.Join(got.Notes, "; "), "last resort") {
		t.Fatalf("settled as %+v, %v", got, err)
	}
	r.on(oldPath)
	if r.host.called("restore") != 1 {
		t.Errorf("after the restart it was activated again: %v", r.host.calls)
	}
}

func TestRestartThatDoesNotComeAboutIsARollbackThatFailed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*rig, *Record)
		why    string
	}{
		{"not allowed", func(_ *rig, r *Record) { r.LastResort = NoLastResort }, ""},
		{"restarted before", func(_ *rig, r *Record) { r.HasRestarted = true }, "once already"},
		{"another profile", func(r *rig, _ *Record) { r.host.point("system-13-link", newPath) }, "would not bring"},
		{"another boot default", func(r *rig, _ *Record) { r.host.boots = newPath }, "not the last confirmed"},
		{"a boot default that never ran", func(r *rig, now *Record) {
			now.Previous.Boots, now.Previous.Profile.Path, r.host.boots = elsePath, elsePath, elsePath
			r.host.at.Path = elsePath
			r.archive(&Record{ID: "efgh5678", Number: 1, State: Committed, Action: Boot, New: elsePath})
		}, "never proved healthy"},
		{"a power button that is stuck", func(r *rig, _ *Record) {
			r.Reboot = func(context.Context, Record) error { return errBroken }
		}, "could not be restarted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			restarts := r.powered()
			r.host.run(newPath)
			r.put(Waiting, mayRestart, func(now *Record) { c.change(r, now) })
			r.host.reset = func(context.Context, Record) error { return errBroken }
			r.takeOver()
			got := r.load()
			if *restarts != 0 || got.State != RollbackFailed || !strings.Contains(strings.Join(got.Notes, "; "), c.why) {
				t.Errorf("%d restarts, %s: %q", *restarts, got.State, got.Notes)
			}
		})
	}
}

func TestHostThatNobodyReachesAfterARollbackRestarts(t *testing.T) {
	r := newRig(t)
	restarts := r.powered()
	r.put(Waiting, mayRestart)
	r.host.run(newPath)
	done := make(chan error, 1)
	go func() { done <- r.TakeOver(r.ctx(), id, "the supervisor is gone") }()
	r.until("a rollback", func(now Record) bool { return now.SeeBy != 0 })
	r.clock.advance(limits.Confirm)
	// Whoever waits looks at the clock when the record changes.
	if err := r.Store.Note(r.ctx(), id, "time has passed"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := r.load()
	if *restarts != 1 || got.State != RolledBack || !strings.Contains(strings.Join(got.Notes, "; "), "nobody reached it within 1m0s") {
		t.Fatalf("%d restarts, %+v", *restarts, got)
	}
	r.clock.reboot("boot-2")
	if got, err := r.settle(); err != nil || got.State != RolledBack || *restarts != 1 || r.host.called("finish") != 1 {
		t.Errorf("settled as %+v, %v after %v", got, err, r.host.calls)
	}
}

func TestHostThatIsReachedAfterARollbackDoesNotRestart(t *testing.T) {
	for name, contact := range map[string]func(*rig) error{
		"a new connection": func(r *rig) error { return r.See(r.ctx()) },
		"another deployment": func(r *rig) error {
			p := r.plan()
			p.ID = "efgh5678"
			_, err := r.Prepare(r.ctx(), p)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			restarts := r.powered()
			r.put(Waiting, mayRestart)
			r.host.run(newPath)
			done := make(chan error, 1)
			go func() { done <- r.TakeOver(r.ctx(), id, "the supervisor is gone") }()
			r.until("a rollback", func(now Record) bool { return now.SeeBy != 0 })
			if err := contact(r); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if *restarts != 0 || r.host.called("finish") != 1 {
				t.Errorf("%d restarts after %v", *restarts, r.host.calls)
			}
		})
	}
}

// The connection of before proves nothing about the host as it is now.
func TestContactBeforeTheEndOfARollbackDoesNotCount(t *testing.T) {
	r := newRig(t)
	r.put(RollingBack, mayRestart)
	if err := r.See(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.Seen {
		t.Error("it counts as seen")
	}
}

func TestDeployerThatSettlesIsNotMadeToWaitForItself(t *testing.T) {
	r := newRig(t)
	restarts := r.powered()
	r.put(Waiting, mayRestart)
	r.host.run(newPath)
	got, err := r.settle()
	if err != nil || got.State != RolledBack || *restarts != 0 {
		t.Errorf("settled as %+v, %v with %d restarts", got, err, *restarts)
	}
}

func TestSwitchThatDidNothingIsNotTakenBack(t *testing.T) {
	for _, keep := range []bool{false, true} {
		r := newRig(t)
		restarts := r.powered()
		r.host.activate = func(context.Context, Record) (int, error) { return 11, ErrUntouched }
		r.put(Prepared, mayRestart, func(now *Record) { now.Keep = keep })
		if err := r.Supervise(r.ctx(), id); err != nil {
			t.Fatal(err)
		}
		got := r.load()
		if got.State != RolledBack || !got.Untouched || got.ExitCode != 11 || got.Cause != NotSwitched || got.Cause.Rejects() || !strings.Contains(got.Reason, "holds the lock") {
			t.Errorf("keep %v: %+v", keep, got)
		}
		if r.host.called("restore") != 0 || got.SeeBy != 0 || *restarts != 0 {
			t.Errorf("something was brought back: %v", r.host.calls)
		}
	}
}

// While a rollback waited for another switch's lock, that one switched.
func TestRollbackThatLosesToAnotherSwitchIsSuperseded(t *testing.T) {
	r := newRig(t)
	restarts := r.powered()
	r.put(Waiting, mayRestart)
	r.host.run(newPath)
	r.host.reset = func(context.Context, Record) error {
		r.host.run(elsePath)
		return errors.New("somebody else switched")
	}
	r.takeOver()
	if got := r.load(); got.State != Superseded || *restarts != 0 {
		t.Errorf("%d restarts, %+v", *restarts, got)
	}
}

// A record that cannot be written must not make a host restart for ever.
func TestRestartWhoseRecordIsLostIsNotRepeated(t *testing.T) {
	r := newRig(t)
	restarts := r.powered()
	r.put(Waiting, mayRestart, func(now *Record) { now.CommitBy = now.ConfirmBy })
	r.host.run(newPath)
	r.host.reset = func(context.Context, Record) error { return errBroken }
	// What was on the disk at the start is all that is there after the restart.
	disk, err := os.ReadFile(filepath.Join(r.Store.Dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	r.takeOver()
	if err := os.WriteFile(filepath.Join(r.Store.Dir, recordFile), disk, 0o600); err != nil {
		t.Fatal(err)
	}
	r.host.uncommit = func(context.Context, Record) error { return errBroken }
	r.clock.reboot("boot-2")
	got, err := r.settle()
	if err != nil || got.State != RollbackFailed || *restarts != 1 {
		t.Errorf("settled as %+v, %v after %d restarts", got, err, *restarts)
	}
}

func TestExitCodesSayWhatRanAfterThem(t *testing.T) {
	for _, c := range []struct {
		exit    int
		runs    string
		meaning []string
	}{
		{1, newPath, []string{"exit 1", "ran the new system"}},
		{2, newPath, []string{"activation script failed", "ran the new system"}},
		{101, oldPath, []string{"crashed", "ran what it ran before"}},
		{101, elsePath, []string{"crashed", elsePath}},
		{126, oldPath, []string{"another architecture"}},
		{137, oldPath, []string{"exit code 137"}},
	} {
		r := newRig(t)
		r.host.activate = func(context.Context, Record) (int, error) { r.host.run(c.runs); return c.exit, nil }
		r.put(Prepared)
		if err := r.Supervise(r.ctx(), id); err != nil {
			t.Fatal(err)
		}
		for _, part := range c.meaning {
			if got := r.load(); !strings.Contains(got.Reason, part) || got.Untouched {
				t.Errorf("exit %d: %q does not say %q", c.exit, got.Reason, part)
			}
		}
	}
}
