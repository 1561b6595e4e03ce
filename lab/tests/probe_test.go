//go:build lab

package tests

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

const markerProbe = "[probes.marker]\nkind = \"unit\"\nunit = \"lab-marker.service\"\n\n" +
	"[probes.ssh]\nkind = \"command\"\nfrom = \"deployer\"\nargv = [\"true\"]\n"

// probed is `hdeploy probe` with its outcome.
func (s *site) probed(args ...string) *run {
	s.t.Helper()
	return s.start("probe", command{args: args}).wait()
}

// verdict is what a probe found.
func (r *run) verdict(name string) event.Probe {
	r.t.Helper()
	for _, p := range r.Outcome.Probes {
		if p.Name == name {
			return p
		}
	}
	r.t.Errorf("probe %s was not asked: %+v", name, r.Outcome.Probes)
	return event.Probe{}
}

func TestProbeAsksWithoutDeploying(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["marker", "ssh", "onepassword-secrets"]`
	s.inventory.Tables = markerProbe
	s.configure(withSecrets(settings{"revision": "1"}))
	s.deploy().require("committed", 0)
	before := s.snapshot()

	r := s.probed().require("healthy", 0)
	if len(r.Outcome.Probes) != 3 || r.Outcome.Action != "probe" || r.noted("does not run what") {
		t.Errorf("the outcome is %+v", r.Outcome)
	}
	for _, p := range r.Outcome.Probes {
		if p.Verdict != "pass" {
			t.Errorf("%+v", p)
		}
	}
	s.ask("probe", hostName).says(t, 0, "healthy: 3 of 3 probes passed", "PROBE", "VERDICT", "onepassword-secrets", "deployer")
	if r := s.probed("ssh").require("healthy", 0); len(r.Outcome.Probes) != 1 {
		t.Errorf("one was named, and asked were %+v", r.Outcome.Probes)
	}
	s.ask("probe", hostName, "markr").says(t, 2, "unknown probe", "did you mean marker?", "hdeploy probe "+hostName+" marker")

	// A failing one is told with what helps, at once, and only once.
	s.on(": >/etc/opnix-token")
	began := time.Now()
	r = s.probed().require("unhealthy", 11)
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it took %v, as if there were something to wait for", took)
	}
	if p := r.verdict("onepassword-secrets"); p.Verdict != "fail" || p.Class != "empty-token" || p.Hint == "" || p.Expected == "" || p.Seen == "" {
		t.Errorf("the failing one is %+v", p)
	}
	answer := s.ask("probe", hostName).says(t, 11, "unhealthy", "empty-token", "expected:", "seen:", "hint:")
	for line := range strings.Lines(answer.stdout) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 80 && !strings.Contains(line, "/") {
			t.Errorf("wider than 80 columns: %s", line)
		}
		if strings.Contains(line, "\x1b") {
			t.Errorf("colour without a terminal: %q", line)
		}
	}
	s.on("echo ops_lab >/etc/opnix-token")

	// The evaluated system is named where it is another one.
	s.configure(withSecrets(settings{"revision": "2"}))
	r = s.probed("marker").require("healthy", 0)
	if !r.noted("does not run what the configuration evaluates to") || !r.noted("evaluated: "+r.Outcome.Closure) || r.Outcome.Closure == r.Outcome.Running {
		t.Errorf("it is not said: %s", r.story())
	}

	// A locked host is asked all the same.
	s.ask("lock", hostName, "-m", "hands off").says(t, 0)
	s.probed("marker").require("healthy", 0)
	s.ask("unlock", hostName).says(t, 0)
	requireUntouched(t, before, s.snapshot())
}

// What the host recorded is asked where it is wanted, and where nothing can be
// evaluated here.
func TestProbeAsksWhatTheHostRecorded(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["marker", "ssh", "onepassword-secrets"]`
	s.inventory.Tables = markerProbe
	s.configure(withSecrets(settings{"revision": "1"}))
	if r := s.probed("--recorded", "marker"); !r.noted("has recorded no probe") {
		t.Errorf("it is not said that nothing is recorded: %s", r.story())
	}
	s.deploy().require("committed", 0)

	r := s.probed("--recorded").require("healthy", 0)
	if len(r.Outcome.Probes) != 3 || !r.noted("recorded at") {
		t.Errorf("asked were %+v", r.Outcome.Probes)
	}
	// The expectations of then: this file is declared by the system that runs.
	s.on("mv /var/lib/opnix/secrets/appSecret /var/lib/opnix/away")
	if p := s.probed("--recorded", "onepassword-secrets").require("unhealthy", 11).verdict("onepassword-secrets"); p.Class != "missing-file" {
		t.Errorf("the verdict is %+v", p)
	}
	s.on("mv /var/lib/opnix/away /var/lib/opnix/secrets/appSecret")

	s.inWorkstation("mkdir -p empty; echo 'not a flake' >flake/flake.nix")
	r = s.probed().require("healthy", 0)
	if len(r.Outcome.Probes) != 3 || !r.noted("nothing could be evaluated here") {
		t.Errorf("asked were %+v, %s", r.Outcome.Probes, r.story())
	}
	without := s.start("probe", command{env: []string{"PATH=" + s.dir + "/empty"}}).wait()
	if without.require("unhealthy", 11); without.verdict("marker").Verdict != "pass" || !without.noted("nothing could be evaluated here", "nix") {
		t.Errorf("without Nix: %s", without.story()) // its probe from here finds no program, either
	}
}

func TestProbeDuringTransaction(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	s.hold(2 * time.Minute)
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "120s"`, 1)
	s.inventory.Probes = `["hold", "marker"]`
	s.inventory.Tables += markerProbe
	deploying := s.startSwitch(command{})
	deploying.awaitPhase(event.Verify, event.Started)
	r := s.probed("marker").require("healthy", 0)
	if !r.noted("is under way", "waiting") {
		t.Errorf("it is not said that a deployment is under way: %s", r.story())
	}
	s.release()
	deploying.wait().require("committed", 0)
}

func TestProbeOfHostThatIsNotReached(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(nil)
	s.inventory.Tables = markerProbe
	s.ask("probe", hostName).says(t, 2, "has no probes", "hdeploy probe --list")
	s.inventory.Probes, s.inventory.Address, s.inventory.Timeouts = `["marker"]`, "10.44.255.254", `{ connect = "2s" }`
	s.probed().require("unreachable", 6).requireFailure("10.44.255.254")
}

// A watch tells each change once, and ends with the last verdict.
func TestProbeWatchTellsChanges(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	s.deploy().require("committed", 0)
	s.inventory.Probes = `["marker"]`
	s.inventory.Tables = markerProbe
	r := s.start("probe", command{args: []string{"--watch", "--interval", "1s"}})
	verdicts := func(word string) int {
		n := 0
		for _, e := range r.events() {
			if e.Probe != nil && e.Probe.Verdict == word {
				n++
			}
		}
		return n
	}
	r.await("a pass", func(event.Event) bool { return verdicts("pass") == 1 })
	s.on("systemctl stop lab-marker.service")
	r.await("a fail", func(event.Event) bool { return verdicts("fail") == 1 })
	s.on("systemctl start lab-marker.service")
	r.await("a second pass", func(event.Event) bool { return verdicts("pass") == 2 })
	s.on("systemctl stop lab-marker.service; sleep 4")
	if n := verdicts("fail"); n != 2 {
		t.Errorf("%d times it was told that it fails, not twice", n)
	}
	if err := r.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.wait().require("unhealthy", 11)
}
