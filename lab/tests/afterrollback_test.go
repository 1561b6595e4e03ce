//go:build lab

package tests

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// spoiler is a unit that a way back does not undo.
const spoiler = `[Unit]
Description=Removes what no switch brings back
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "rm -f /var/lib/lab-good"
`

// spoiled deploys a system with the spoiler to a host that is judged by what it
// spoils.
func (s *site) spoiled(revision, afterRollback string) *run {
	s.t.Helper()
	s.inventory.Probes = `["good"]`
	s.inventory.Tables = "[probes.good]\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", \"test -e /var/lib/lab-good\"]\ndeadline = \"2s\"\nafter_rollback = \"" + afterRollback + "\"\n"
	s.configure(settings{"revision": revision, "extraUnits": settings{"spoiler.service": spoiler}})
	return s.deploy()
}

func (s *site) requireHistory(words ...string) {
	s.t.Helper()
	for _, format := range []string{"--limit=1", "--json"} {
		result, err := workstation.Exec(s.t.Context(), "env", "-C", s.dir, "XDG_STATE_HOME="+s.dir+"/state", "/hdeploy/hdeploy", "history", format, hostName)
		if err != nil || result.Code != 0 {
			s.t.Fatalf("history: %v, exit code %d, %s", err, result.Code, result.Stderr)
		}
		for _, word := range words {
			if !strings.Contains(result.Stdout, word) {
				s.t.Errorf("the history with %s does not say %q:\n%s", format, word, result.Stdout)
			}
		}
	}
}

func requireAfterRollback(t *testing.T, r *run, policy string) event.Probe {
	t.Helper()
	if len(r.Outcome.AfterRollback) != 1 {
		t.Fatalf("after the rollback: %+v; %s", r.Outcome.AfterRollback, r.story())
	}
	p := r.Outcome.AfterRollback[0]
	if p.Name != "good" || p.Verdict != "fail" || p.Policy != policy || !p.AfterRollback {
		t.Errorf("after the rollback: %+v", p)
	}
	return p
}

// A probe that is required after a rollback and fails there makes it a failed one,
// although the previous system runs.
func TestRequiredProbeThatFailsAfterTheRollback(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on("touch /var/lib/lab-good")
	before := s.snapshot()
	r := s.spoiled("required", "required").require("rollback-failed", 8).requireFailure("after the rollback probe good", "required")
	requireAfterRollback(t, r, "required")
	after := s.snapshot()
	requireRuns(t, after, before.Running)
	s.requireHistory("rollback-failed", "good", "required")

	// What did not pass before the trial is not held against the way back.
	r = s.spoiled("not before either", "required").require("rolled-back", 7)
	if p := requireAfterRollback(t, r, "advisory"); len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "before the trial") {
		t.Errorf("notes: %q", p.Notes)
	}
	s.on("touch /var/lib/lab-good")
	s.requireWorks()
}

func TestAdvisoryProbeThatFailsAfterTheRollbackIsOnlyTold(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on("touch /var/lib/lab-good")
	before := s.snapshot()
	r := s.spoiled("advisory", "advisory").require("rolled-back", 7)
	requireAfterRollback(t, r, "advisory")
	requireRestored(t, before, s.snapshot())
	s.requireHistory("rolled-back", "good", "advisory")
}
