package transaction

import (
	"context"
	"slices"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// act prepares and supervises a transaction of an action.
func (r *rig) act(a Action, change ...func(*Plan)) {
	r.t.Helper()
	plan := r.plan()
	plan.Action = a
	for _, c := range change {
		c(&plan)
	}
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		r.t.Fatalf("prepare: %v", err)
	}
	r.supervise()
}

// holds fails unless the host runs one system, and has another as its profile and
// boot default.
func (r *rig) holds(running, boots string) {
	r.t.Helper()
	if isRunning, isProfile, isBoots := r.host.state(); isRunning != running || isProfile != boots || isBoots != boots {
		r.t.Errorf("the host runs %s, its profile is %s, it boots %s; want %s and %s", isRunning, isProfile, isBoots, running, boots)
	}
}

func failedProbe(context.Context) []probe.Result {
	return []probe.Result{{Name: "web", Verdict: probe.Fail, Policy: "rollback", Expected: "status 200", Seen: "status 502"}}
}

func withProbes(p *Plan) { p.Probes = []probe.Spec{probe.Defaults(probe.KindCurrentSystem)} }

func TestBootNeitherActivatesNorProbes(t *testing.T) {
	r := newRig(t)
	r.host.probe = failedProbe
	r.act(Boot, withProbes)
	waiting := r.untilJudged()
	if len(waiting.Results) != 0 {
		t.Errorf("judged: %v", waiting.Results)
	}
	r.on(oldPath)
	if err := r.confirmed(); err != nil {
		t.Fatal(err)
	}
	got := r.untilState(Committed)
	r.holds(oldPath, newPath)
	if got.Boots != newPath || got.Generation.Path != newPath {
		t.Errorf("the record has generation %+v and boots %s", got.Generation, got.Boots)
	}
	if calls := r.host.order("activate", "probe", "restore"); len(calls) > 0 {
		t.Errorf("called: %v", calls)
	}
	if verdict := VerdictOn(r.Store.History(), newPath); verdict != NotDecided {
		t.Errorf("a system that never ran is %s", verdict)
	}
}

func TestBootThatNobodyConfirmsChangesNothing(t *testing.T) {
	r := newRig(t)
	r.act(Boot)
	r.untilJudged()
	r.clock.advance(limits.Confirm)
	r.untilState(RolledBack)
	r.on(oldPath)
	if calls := r.host.order("activate", "probe", "commit", "uncommit", "restore"); len(calls) > 0 {
		t.Errorf("called: %v", calls)
	}
}

func TestBootWhoseCommitFailsIsUndoneWithoutAnActivation(t *testing.T) {
	r := newRig(t)
	r.host.commit = func(context.Context, Record) error { r.host.point("system-13-link", newPath); return errBroken }
	r.act(Boot)
	r.untilJudged()
	if err := r.confirmed(); err != nil {
		t.Fatal(err)
	}
	r.untilState(RolledBack)
	r.on(oldPath)
	if calls := r.host.order("activate", "uncommit", "restore"); !slices.Equal(calls, []string{"uncommit"}) {
		t.Errorf("called: %v", calls)
	}
}

func TestTestMovesNeitherProfileNorBootDefault(t *testing.T) {
	r := newRig(t)
	r.act(Test)
	r.untilJudged()
	r.holds(newPath, oldPath)
	if err := r.confirmed(); err != nil {
		t.Fatal(err)
	}
	got := r.untilState(Committed)
	r.holds(newPath, oldPath)
	if got.Boots != oldPath || got.Generation.Number != 0 {
		t.Errorf("the record has generation %+v and boots %s", got.Generation, got.Boots)
	}
	if err := r.supervised(); err != nil {
		t.Fatal(err)
	}
	if calls := r.host.order("commit", "uncommit", "restore"); len(calls) > 0 {
		t.Errorf("called: %v", calls)
	}
	if verdict := VerdictOn(r.Store.History(), newPath); verdict != NotDecided {
		t.Errorf("a system that is not the boot default is %s", verdict)
	}
}

func TestTestThatFailsGoesBackAsASwitchDoes(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"a probe": func(r *rig) { r.host.probe = failedProbe; r.act(Test) },
		"silence": func(r *rig) { r.act(Test); r.untilJudged(); r.clock.advance(limits.Confirm) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			end(r)
			r.untilState(RolledBack)
			r.on(oldPath)
			if calls := r.host.order("restore", "uncommit", "commit"); !slices.Equal(calls, []string{"restore"}) {
				t.Errorf("called: %v", calls)
			}
		})
	}
}

// Whenever power is lost in a test, even between the confirmation and the end, the
// old system boots, and there is nothing to put back.
func TestPowerCutInATestBootsTheOldSystem(t *testing.T) {
	for _, s := range []State{Prepared, Trying, Waiting, Committing} {
		t.Run(string(s), func(t *testing.T) {
			r := newRig(t)
			r.put(s, func(r *Record) { r.Action = Test })
			r.clock.reboot("boot-2")
			got, err := r.settle()
			if err != nil || got.State != RolledBack || got.Cause != HostRestarted {
				t.Fatalf("%+v, %v", got, err)
			}
			r.on(oldPath)
			if calls := r.host.order("activate", "commit", "uncommit", "restore"); len(calls) > 0 {
				t.Errorf("called: %v", calls)
			}
		})
	}
}

func TestPowerCutInTheCommitOfABootIsDecidedByWhatBooted(t *testing.T) {
	for boots, want := range map[string]State{oldPath: RolledBack, newPath: Committed} {
		r := newRig(t)
		r.put(Committing, func(r *Record) { r.Action = Boot })
		r.host.run(boots)
		r.clock.reboot("boot-2")
		if got, err := r.settle(); err != nil || got.State != want {
			t.Errorf("booted %s: %v, %v", boots, got.State, err)
		}
		r.on(boots)
	}
}

func keeping(p *Plan) { p.Keep = true }

func TestKeepLeavesASystemThatFailedItsTrial(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(*rig)
		want Cause
	}{
		{"the activation", func(r *rig) {
			r.host.activate = func(context.Context, Record) (int, error) { r.host.run(newPath); return 2, nil }
			r.act(Switch, keeping)
		}, ActivationFailed},
		{"a probe on the host", func(r *rig) { r.host.probe = failedProbe; r.act(Switch, keeping) }, ProbeFailed},
		{"a probe on the host, in a test", func(r *rig) { r.host.probe = failedProbe; r.act(Test, keeping) }, ProbeFailed},
		{"a probe from the deployer", func(r *rig) {
			r.act(Switch, keeping)
			r.untilJudged()
			if _, err := r.Abort(r.ctx(), id, ProbeFailed, "site is down", nil); err != nil {
				r.t.Fatal(err)
			}
		}, ProbeFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.fail(r)
			r.until("a failure", func(now Record) bool { return now.State == Waiting && now.Judged && now.Reason != "" })
			for range 2 { // the first answer may be lost
				if _, err := r.Confirm(r.ctx(), id, nil); err != nil {
					t.Fatal(err)
				}
			}
			got := r.untilState(Kept)
			if got.Cause != c.want || got.Reason == "" || got.Ended.IsZero() {
				t.Errorf("record %+v", got)
			}
			if err := r.supervised(); err != nil {
				t.Fatal(err)
			}
			r.holds(newPath, oldPath)
			if r.host.called("restore") != 0 || r.host.called("finish") != 1 || r.host.armed {
				t.Errorf("called: %v, armed %v", r.host.calls, r.host.armed)
			}
			if verdict := VerdictOn(r.Store.History(), newPath); verdict != Rejected {
				t.Errorf("a system that failed is %s", verdict)
			}
		})
	}
}

// To keep a failed system for a person is no reason to keep one that nobody can
// reach.
func TestKeepGoesBackInSilenceAllTheSame(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"nobody confirms": func(r *rig) { r.clock.advance(limits.Confirm) },
		"nobody reaches a system that failed": func(r *rig) {
			if _, err := r.Abort(r.ctx(), id, ProbeFailed, "site is down", nil); err != nil {
				r.t.Fatal(err)
			}
			r.clock.advance(limits.Confirm)
		},
		"the deployer cannot reach the host": func(r *rig) {
			if _, err := r.Abort(r.ctx(), id, Disturbed, "not reached over a new connection", nil); err != nil {
				r.t.Fatal(err)
			}
		},
		"a person wants the old system": func(r *rig) {
			if _, err := r.Abort(r.ctx(), id, PersonAborted, "aborted", nil); err != nil {
				r.t.Fatal(err)
			}
		},
		"the dead-man's switch acts": func(r *rig) {
			r.kill()
			<-r.ended
			if err := r.TakeOver(r.ctx(), id, "the supervisor is gone"); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.act(Switch, keeping)
			r.untilJudged()
			end(r)
			r.untilState(RolledBack)
			r.on(oldPath)
		})
	}
}

func TestAKeptSystemStandsInNobodysWay(t *testing.T) {
	r := newRig(t)
	r.host.probe = failedProbe
	r.act(Switch, keeping)
	r.untilJudged()
	if _, err := r.Confirm(r.ctx(), id, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.supervised(); err != nil {
		t.Fatal(err)
	}
	r.host.probe = nil
	plan := r.plan()
	plan.ID, plan.New, plan.Running = "efgh5678", elsePath, newPath
	next, err := r.Prepare(r.ctx(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if next.Previous.Running != newPath || next.Previous.Profile.Path != oldPath {
		t.Errorf("it would go back to %+v", next.Previous)
	}
}
