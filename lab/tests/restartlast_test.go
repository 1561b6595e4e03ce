//go:build lab

package tests

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// leftAlone is an agent that no activation restarts, as modules/ci makes it with restartLast.
var leftAlone = agentKnobs.with(settings{"restartIfChanged": false})

// lastAgent is a host that deploys itself and restarts its agent last.
type lastAgent struct{ self }

func newLastAgent(t *testing.T) lastAgent {
	t.Helper()
	s := lastAgent{newOwnDeployer(t)}
	s.deploys("first", settings{"hercules": leftAlone}, "committed", 0)
	s.requireAgentOfSystem()
	return s
}

// deploys a system and requires how that ends.
func (s lastAgent) deploys(revision string, changes settings, word string, code int) transaction.Record {
	s.t.Helper()
	all := settings{"revision": revision, "opnix": settings{}}.with(changes)
	s.configured(s.by("restart_agent = \"last\"\nprobes = [\"hercules-ci-agent\"]\n"), all)
	s.on("cat >>/srv/deploy.toml <<'END'\n" + ciProbes + "END")
	s.runs(word, code, "switch", hostName)
	var r transaction.Record
	if err := json.Unmarshal([]byte(s.on("cat /var/lib/hdeploy/transaction.json")), &r); err != nil {
		s.t.Fatalf("parse the host's record: %v", err)
	}
	return r
}

func (s lastAgent) invocation() string {
	s.t.Helper()
	return s.on("systemctl show -P InvocationID hercules-ci-agent")
}

// requireAgentOfSystem requires that the agent's process is the one that the running system declares.
func (s lastAgent) requireAgentOfSystem() {
	s.t.Helper()
	declared := s.on("sed -n 's/^ExecStart=.* //p' /run/current-system/etc/systemd/system/hercules-ci-agent.service")
	runs := s.on(`tr '\0' ' ' </proc/$(systemctl show -P MainPID hercules-ci-agent)/cmdline`)
	if declared == "" || !strings.Contains(runs, declared) {
		s.t.Errorf("the agent runs as %q, and the system declares %q", runs, declared)
	}
}

func TestTheAgentIsRestartedAfterEverythingElse(t *testing.T) {
	s := newLastAgent(t)
	before := s.invocation()
	r := s.deploys("last", settings{"hercules": leftAlone}, "committed", 0)
	if !slices.Equal(r.RestartedLast, []string{"hercules-ci-agent.service"}) || r.Proof == nil || len(r.Results) == 0 {
		t.Errorf("restarted %v, proof %v, notes %q", r.RestartedLast, r.Proof, r.Notes)
	}
	if s.invocation() == before {
		t.Error("the agent was not restarted")
	}
	s.requireAgentOfSystem()
	requireNothingLeft(t, s.snapshot())
	// What is the same in both systems is left as it is.
	same := s.invocation()
	knobs := leftAlone.with(settings{"labelRevision": false})
	if r = s.deploys("without a label", settings{"hercules": knobs}, "committed", 0); len(r.RestartedLast) != 1 || s.invocation() == same {
		t.Errorf("restarted %v", r.RestartedLast)
	}
	same = s.invocation()
	if r = s.deploys("the same agent", settings{"hercules": knobs}, "committed", 0); len(r.RestartedLast) != 0 || s.invocation() != same {
		t.Errorf("restarted %v", r.RestartedLast)
	}
}

// What goes back before the agent's turn never touches it, and what goes back after it brings the old one back.
func TestTheAgentOfBeforeIsBackAfterARollback(t *testing.T) {
	s := newLastAgent(t)
	for _, c := range []struct {
		name    string
		system  settings
		cause   transaction.Cause
		touched bool
	}{
		{"sshd refuses keys", settings{"hercules": leftAlone, "faults": settings{"sshdRefusesKeys": true}}, transaction.NotReachable, false},
		{"the agent crashes", settings{"hercules": leftAlone.with(settings{"crash": true})}, transaction.ProbeFailed, true},
	} {
		before, invocation := s.snapshot(), s.invocation()
		r := s.deploys(c.name, c.system, "rolled-back", 7)
		if r.Cause != c.cause {
			t.Errorf("%s: it did not go back for %s: %s: %s", c.name, c.cause, r.Cause, r.Reason)
		}
		if touched := s.invocation() != invocation; touched != c.touched {
			t.Errorf("%s: the agent was restarted: %v", c.name, touched)
		}
		s.requireAgentOfSystem()
		requireRestored(t, before, s.snapshot())
	}
}
