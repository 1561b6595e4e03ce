//go:build lab

package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// probeCase is a system that a probe finds wanting.
type probeCase struct {
	name           string
	changes        settings
	probes, tables string
	// probe is the one that fails; it expects and sees these words.
	probe, expected, seen string
}

func TestPresetThatFailsRollsBackAndSaysWhatItSaw(t *testing.T) {
	t.Parallel()
	for _, c := range []probeCase{{
		name: "secrets with another mode", changes: settings{"opnix": settings{"wrongMode": true}},
		probes: `["onepassword-secrets"]`, tables: "[probes.onepassword-secrets]\ndeadline = \"2s\"\n",
		probe: "onepassword-secrets", expected: "secret", seen: "0644",
	}, {
		name: "agent with caches that it cannot read", changes: settings{"hercules": settings{"badCaches": "schema", "restarter": false}},
		probes: `["hercules-ci-agent"]`, tables: "[probes.hercules-ci-agent]\nsettle = \"1s\"\nquiet = \"1s\"\nsoak = \"1s\"\ndeadline = \"4s\"\n",
		probe: "hercules-ci-agent", expected: "CachixCache or NixCache", seen: "a CachixCache needs publicKeys",
	}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			requireProbeRollsBack(s, c)
			s.requireWorks()
		})
	}
}

func TestProbeThatFailsRollsBackAndSaysWhatItSaw(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	for _, c := range []probeCase{{
		name:   "unit",
		probes: `["web"]`, tables: "[probes.web]\nkind = \"unit\"\nunit = \"web.service\"\ndeadline = \"2s\"\n",
		probe: "web", expected: "web.service is active", seen: "web.service is not-found",
	}, {
		name:   "http from the deployer",
		probes: `["site"]`,
		tables: fmt.Sprintf("[probes.site]\nkind = \"http\"\nurl = \"http://%s:8080/health\"\nstatus = 200\nfrom = \"deployer\"\ndeadline = \"2s\"\n", s.host.Address),
		probe:  "site", expected: "200", seen: "refused",
	}, {
		name:   "command on the host",
		probes: `["file"]`, tables: "[probes.file]\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", \"echo no such thing; exit 3\"]\ndeadline = \"2s\"\n",
		probe: "file", expected: "0", seen: "3",
	}} {
		requireProbeRollsBack(s, c)
	}
	s.requireWorks()
}

func requireProbeRollsBack(s *site, c probeCase) {
	s.t.Helper()
	before := s.snapshot()
	changes := settings{"revision": c.name}
	for key, value := range c.changes {
		changes[key] = value
	}
	s.configure(changes)
	s.inventory.Probes, s.inventory.Tables = c.probes, c.tables
	r := s.deploy().require("rolled-back", 7).requireFailure(c.probe)
	requireRestored(s.t, before, s.snapshot())
	failed := r.Outcome.Failed
	if len(failed) != 1 || failed[0].Name != c.probe {
		s.t.Fatalf("%s: failed probes of the outcome: %+v", c.name, failed)
	}
	if f := failed[0]; !strings.Contains(f.Expected, c.expected) || !strings.Contains(f.Seen, c.seen) {
		s.t.Errorf("%s: expected %q and saw %q, which does not speak of %q and %q", c.name, f.Expected, f.Seen, c.expected, c.seen)
	}
	if cause := r.Outcome.Failure.Cause; !strings.Contains(cause, failed[0].Expected) || !strings.Contains(cause, failed[0].Seen) {
		s.t.Errorf("%s: the text does not say what was expected and seen: %s", c.name, cause)
	}
	if !slices.ContainsFunc(r.events(), func(e event.Event) bool {
		return e.Probe != nil && e.Probe.Name == c.probe && e.Probe.Verdict == "fail"
	}) {
		s.t.Errorf("%s: no event tells the verdict; %s", c.name, r.story())
	}
}

func TestFailedProbeIsToldInPlainWords(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("plain", nil)
	s.inventory.Probes = `["web"]`
	s.inventory.Tables = "[probes.web]\nkind = \"unit\"\nunit = \"web.service\"\ndeadline = \"1s\"\n"
	s.write("deploy.toml", s.inventory.String())
	result, err := workstation.Exec(t.Context(), "env", "-C", s.dir, "XDG_STATE_HOME="+s.dir+"/state", "/hdeploy/hdeploy", "switch", hostName, "--output", "plain")
	if err != nil {
		t.Fatal(err)
	}
	if result.Code != 7 {
		t.Errorf("exit code %d", result.Code)
	}
	for name, text := range map[string]string{"answer": result.Stdout, "story": result.Stderr} {
		for _, word := range []string{hostName, "web", "web.service is active", "web.service is not-found"} {
			if !strings.Contains(text, word) {
				t.Errorf("the %s does not say %q:\n%s", name, word, text)
			}
		}
	}
	requireRestored(t, before, s.snapshot())
}

func TestProbeThatOnlyAlertsLeavesTheSystemDegraded(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["web"]`
	s.inventory.Tables = "[probes.web]\nkind = \"unit\"\nunit = \"web.service\"\ndeadline = \"1s\"\non_fail = \"alert\"\n"
	s.configure(settings{"revision": "degraded"})
	committed := s.deploy().require("degraded", 9)
	after := s.snapshot()
	requireRuns(t, after, committed.Outcome.Closure)
	requireNothingLeft(t, after)
	unchanged := s.deploy().require("degraded", 9)
	requireUntouched(t, after, s.snapshot())
	for _, r := range []*run{committed, unchanged} {
		if len(r.Outcome.Failed) != 1 || r.Outcome.Failed[0].Policy != "alert" {
			t.Errorf("failed probes: %+v", r.Outcome.Failed)
		}
	}
}

func TestServiceOfSomebodyElseThatIsAwayOnlyAlerts(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["hercules-ci-agent"]`
	s.inventory.Tables = "[probes.hercules-ci-agent]\nsettle = \"0s\"\nquiet = \"1s\"\nsoak = \"0s\"\ninterval = \"500ms\"\ndeadline = \"4s\"\n"
	s.configure(settings{"revision": "offline", "hercules": settings{"offline": true, "restarter": false}})
	r := s.deploy().require("degraded", 9)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	if len(r.Outcome.Failed) != 1 || r.Outcome.Failed[0].Verdict != "unknown" {
		t.Errorf("failed probes: %+v", r.Outcome.Failed)
	}
}

func TestUnitThatFailedBeforeIsNotBlamedAndANewOneIs(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	units := settings{"fragile.service": `[Unit]
Description=Works as long as its file is there
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "test -e /var/lib/fragile"
`}
	s.on("touch /var/lib/fragile")
	s.configure(settings{"revision": "1", "extraUnits": units})
	s.deploy().require("committed", 0)

	s.on("rm /var/lib/fragile; systemctl restart fragile.service || true; systemctl is-failed fragile.service")
	s.configure(settings{"revision": "2", "extraUnits": units})
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	if !r.noted("exited 4", "failed before") {
		t.Errorf("the exit code 4 is not explained; %s", r.story())
	}

	before := s.snapshot()
	s.configure(settings{"revision": "3", "extraUnits": units, "faults": settings{"failUnit": "at-once"}})
	r = s.deploy().require("rolled-back", 7).requireFailure("lab-failing.service")
	if strings.Contains(r.Outcome.Failure.Cause, "fragile.service") {
		t.Errorf("the unit that failed before is blamed: %s", r.Outcome.Failure.Cause)
	}
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestExitCodesOfSwitchToConfiguration(t *testing.T) {
	t.Parallel()
	for _, group := range [][]int{{1, 100}, {2, 11}, {101}} {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			for _, exit := range group {
				before := s.snapshot()
				s.faulty(fmt.Sprintf("exits %d", exit), settings{"stcExit": exit})
				r := s.deploy()
				if !(r.Outcome.Outcome == "rolled-back" && r.Code == 7 || r.Outcome.Outcome == "refused" && r.Code == 5) {
					t.Errorf("exit %d ended as %s, %d; %s", exit, r.Outcome.Outcome, r.Code, r.story())
				}
				if r.Code == 7 {
					r.requireFailure(fmt.Sprintf("exit %d", exit))
				} else {
					r.requireFailure()
				}
				requireRestored(t, before, s.snapshot())
			}
			s.requireWorks()
		})
	}
}

func TestSecondDeployerIsRefusedAndTheFirstIsUnharmed(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.configure(settings{"revision": "alice"})
	first := s.startSwitch(command{env: []string{"USER=alice"}})
	first.awaitPhase(event.Verify, event.Started)

	second := s.startSwitch(command{env: []string{"USER=bob"}}).wait().require("refused", 5)
	second.requireFailure("locked by alice@workstation since", first.awaitDeadline().Deadline.ID)

	s.release()
	first.wait().require("committed", 0)
	after := s.snapshot()
	requireRuns(t, after, first.Outcome.Closure)
	requireNothingLeft(t, after)
}
