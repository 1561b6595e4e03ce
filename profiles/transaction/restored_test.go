package transaction

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// comparer answers for the previous system, and keeps what it was asked.
type comparer struct {
	host    *memory
	failed  []string
	results []probe.Result
	hang    func(context.Context, Record) error

	mu    sync.Mutex
	asked []Record
}

func (c *comparer) Glance(_ context.Context, r Record) []string {
	c.host.note("glance")
	return c.failed
}

func (c *comparer) ProbeRestored(ctx context.Context, r Record) []probe.Result {
	c.host.note("probe restored")
	c.mu.Lock()
	c.asked = append(c.asked, r)
	c.mu.Unlock()
	if c.hang != nil {
		_ = c.hang(ctx, r)
	}
	return c.results
}

func result(verdict, policy string) []probe.Result {
	return []probe.Result{{Name: "web", From: probe.FromHost, Verdict: verdict, Policy: policy, Expected: "a", Seen: "b"}}
}

// goesBack runs a transaction whose activation fails.
func goesBack(r *rig, required bool, want State) Record {
	r.t.Helper()
	r.host.activate = func(context.Context, Record) (int, error) { r.host.run(newPath); return 2, nil }
	plan := r.plan()
	s := probe.Defaults(probe.KindCurrentSystem)
	if required {
		s.AfterRollback = probe.Required
	}
	plan.Probes = []probe.Spec{s}
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		r.t.Fatal(err)
	}
	r.supervise()
	return r.untilState(want)
}

func TestProbesAfterARollback(t *testing.T) {
	for _, c := range []struct {
		name     string
		results  []probe.Result
		required bool
		want     State
		note     string
	}{
		{"all is well", result(probe.Pass, probe.Required), true, RolledBack, ""},
		{"an advisory one fails", result(probe.Fail, probe.Advisory), false, RolledBack, ""},
		{"a required one fails", result(probe.Fail, probe.Required), true, RollbackFailed, "after the rollback probe web failed: expected a, saw b"},
		{"a required one cannot tell", result(probe.Unknown, probe.Required), true, RollbackFailed, "after the rollback probe web"},
		{"nothing is asked", nil, false, RolledBack, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			asks := &comparer{host: r.host, results: c.results, failed: []string{"other"}}
			r.Engine.Comparer = asks
			got := goesBack(r, c.required, c.want)
			r.on(oldPath)
			if len(got.AfterRollback) != len(c.results) || strings.Join(got.Notes, ";") != "" != (c.note != "") || !strings.Contains(strings.Join(got.Notes, ";"), c.note) {
				t.Errorf("results %+v, notes %q", got.AfterRollback, got.Notes)
			}
			if !strings.Contains(got.Reason, "activation script failed") {
				t.Errorf("the reason is %q", got.Reason)
			}
			order := r.host.order("glance", "activate", "restore", "probe restored")
			want := []string{"activate", "restore", "probe restored"}
			if c.required {
				want = append([]string{"glance"}, want...)
			}
			if !slices.Equal(order, want) {
				t.Errorf("order %v, want %v", order, want)
			}
			if c.required && !slices.Equal(asks.asked[0].FailedBefore, []string{"other"}) {
				t.Errorf("what failed before was forgotten: %+v", asks.asked[0].FailedBefore)
			}
		})
	}
}

// Probes that hang have what is left of the rollback's time, and no more.
func TestProbesAfterARollbackEndWithItsTime(t *testing.T) {
	r := newRig(t)
	hang, began := entered()
	r.Engine.Comparer = &comparer{host: r.host, hang: hang, results: result(probe.Unknown, probe.Advisory)}
	go func() {
		<-began
		r.clock.advance(limits.Rollback + time.Second)
	}()
	goesBack(r, false, RolledBack)
	r.on(oldPath)
}

func TestNothingIsAskedAfterARollbackThatHadNothingToDo(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"booted since": func(now *Record) { now.Restarted = true },
		"untouched":    func(now *Record) { now.Untouched = true },
		"only booted":  func(now *Record) { now.Action = Boot },
		"the same":     func(now *Record) { now.New = oldPath },
		"no probes":    func(now *Record) { now.Probes = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.Engine.Comparer = &comparer{host: r.host, results: result(probe.Fail, probe.Required)}
			record := r.put(RollingBack, func(now *Record) { now.Probes = []probe.Spec{probe.Defaults(probe.KindCurrentSystem)} }, change)
			if err := r.drive(r.ctx(), record.ID); err != nil {
				t.Fatal(err)
			}
			if got := r.load(); got.State != RolledBack || r.host.called("probe restored") != 0 {
				t.Errorf("%s after %v", got.State, r.host.calls)
			}
		})
	}
}
