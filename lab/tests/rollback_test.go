//go:build lab

package tests

import (
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// rollback runs `hdeploy rollback --yes` to its end.
func (s *site) rollback(args ...string) *run {
	s.t.Helper()
	return s.start("rollback", command{args: append([]string{"--yes"}, args...)}).wait()
}

// committed deploys revisions one after the other and returns their systems.
func (s *site) committed(revisions ...string) []string {
	s.t.Helper()
	var systems []string
	for _, revision := range revisions {
		s.faulty(revision, nil)
		systems = append(systems, s.deploy().require("committed", 0).Outcome.Closure)
	}
	return systems
}

// requireCommitted checks that the run made the host run and boot a system.
func (r *run) requireCommitted(s *site, system string) *run {
	r.t.Helper()
	r.require("committed", 0)
	after := s.snapshot()
	requireRuns(r.t, after, system)
	requireBoots(r.t, s, system)
	requireNothingLeft(r.t, after)
	return r
}

func TestRollbackGoesToTheLastConfirmedSystem(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			systems := s.committed("1", "2", "3")
			r := s.rollback().requireCommitted(s, systems[1])
			if plan := r.plan(); plan.Verdict != "confirmed" || plan.To != systems[1] || plan.From != systems[2] {
				t.Errorf("the plan was %+v", plan)
			}
			// Not back to what was just left.
			s.rollback().requireCommitted(s, systems[0])
		})
	}
}

// plan is what the run said it would do.
func (r *run) plan() event.Plan {
	r.t.Helper()
	for _, e := range r.events() {
		if e.Plan != nil {
			return *e.Plan
		}
	}
	r.t.Fatalf("no plan was told; %s", r.story())
	return event.Plan{}
}
