//go:build lab

package tests

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// A host as an installer leaves it: no user for the agent, and the token of OpNix a file that is empty. Each run says what is
// missing and changes nothing that lasts, and what the documentation says to do about it does.
func TestAHostFromNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on(": >/etc/opnix-token && chmod 600 /etc/opnix-token && ! id hercules-ci-agent")
	s.inventory.Probes, s.inventory.Tables = `["onepassword-secrets", "hercules-ci-agent"]`, ciProbes
	before := s.snapshot()

	system := settings{"revision": "from nothing", "opnix": settings{}, "hercules": agentKnobs.with(settings{"user": false})}
	s.configure(system)
	first := s.deploy().require("rolled-back", 7)
	requireHint(t, first, "onepassword-secrets", "empty-token", "opnix token set -path /etc/opnix-token")
	requireRestored(t, before, s.snapshot())
	all := s.checked()
	all.requireFinding(event.Obstacle, "owner", "declare users.users.hercules-ci-agent")
	all.requireFinding(event.Obstacle, "token", "/etc/opnix-token", "empty")
	requireRestored(t, before, s.snapshot())

	// The steps of the documentation: the user, and the token.
	system["hercules"] = agentKnobs
	s.configure(system)
	s.on(`printf 'ops_lab\n' | install -m 0600 /dev/stdin /etc/opnix-token`)
	r := s.deploy().require("committed", 0)
	after := s.snapshot()
	requireRuns(t, after, r.Outcome.Closure)
	requireNothingLeft(t, after)

	// From now on OpNix's own command is there.
	s.on(`printf 'ops_lab\n' | opnix token set && [ "$(stat -c %a /etc/opnix-token)" = 600 ]`)
	s.deploy().require("unchanged", 0)
}

// requireHint checks that the failed probe says what kind of failure it is, and what to do.
func requireHint(t *testing.T, r *run, probe, class, hint string) {
	t.Helper()
	for _, f := range r.Outcome.Failed {
		if f.Name == probe && f.Class == class && strings.Contains(f.Hint, hint) {
			return
		}
	}
	t.Errorf("probe %s does not say %s with the hint %q: %+v", probe, class, hint, r.Outcome.Failed)
}
