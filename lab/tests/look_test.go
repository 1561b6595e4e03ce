//go:build lab

package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// answered is a command that only asks, at its end.
type answered struct {
	stdout, stderr string
	code           int
}

// ask runs hdeploy as alice with the site's inventory.
func (s *site) ask(args ...string) answered { s.t.Helper(); return s.askAs("alice", args...) }

func (s *site) askAs(user string, args ...string) answered {
	s.t.Helper()
	s.write("deploy.toml", s.inventory.String())
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	process, err := workstation.Start(ctx, lab.ExecOptions{
		Dir: s.dir, Env: []string{"XDG_STATE_HOME=" + s.dir + "/state", "USER=" + user}, Stdout: &stdout, Stderr: &stderr,
	}, append([]string{"/hdeploy/hdeploy"}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	code, err := process.Wait()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("hdeploy %s: code %d\n%s%s", strings.Join(args, " "), code, stdout.String(), stderr.String())
	return answered{stdout.String(), stderr.String(), code}
}

// says fails the test unless the command ended with code and its output has all
// words.
func (a answered) says(t *testing.T, code int, words ...string) answered {
	t.Helper()
	if a.code != code {
		t.Errorf("exit code %d, not %d: %s%s", a.code, code, a.stdout, a.stderr)
	}
	for _, word := range words {
		if !strings.Contains(a.stdout+a.stderr, word) {
			t.Errorf("it does not say %q:\n%s%s", word, a.stdout, a.stderr)
		}
	}
	return a
}

// lines reads the JSON lines of an answer.
func lines[T any](t *testing.T, a answered) []T {
	t.Helper()
	var list []T
	for line := range strings.Lines(a.stdout) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, one)
	}
	return list
}

type generationLine struct {
	Number                                   int
	Path, Verdict, Version, Kernel, Deployer string
	Date                                     time.Time
	Current, Running, Boots                  bool
	LastKnownGood                            bool `json:"last_known_good"`
}

type transactionLine struct {
	ID, State, Deployer, Closure, Reason, Cause string
	Number, Generation                          int
	Seconds                                     float64
	ExitCode                                    int `json:"exit_code"`
	Steps                                       []struct{ State string }
	Probes                                      []event.Probe
	Journal                                     []event.UnitLog
	Stale                                       string
}

type statusLine struct {
	Host                           string
	Reachable                      bool
	Running, Profile, Boots, Flake string
	FlakeError                     string `json:"flake_error"`
	Generation, Code               int
	FailedUnits                    []string `json:"failed_units"`
	RebootNeeded                   bool     `json:"reboot_needed"`
	Transaction                    *transactionLine
	Freeze                         *struct{ Owner, Message string }
	Failure                        *event.Failure
}

// A host that was deployed to, changed, and kept a change off tells all of it, and
// is not changed by being asked.
func TestHostTellsWhatWasDeployedToIt(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	first := s.deploy().require("committed", 0)
	s.configure(settings{"revision": "2", "kernel": "6.12.31"})
	second := s.deploy().require("committed", 0)
	s.faulty("3", settings{"failUnit": "at-once"})
	failed := s.deploy().require("rolled-back", 7)
	requireJournal(t, failed)
	before := s.snapshot()

	list := lines[generationLine](t, s.ask("generations", hostName, "--json").says(t, 0))
	if len(list) != 3 {
		t.Fatalf("%d generations", len(list))
	}
	newest, older, factory := list[0], list[1], list[2]
	if newest.Path != second.Outcome.Closure || newest.Verdict != "confirmed" || !newest.Running || !newest.Boots || !newest.LastKnownGood || !newest.Current ||
		newest.Kernel != "6.12.31" || newest.Version == "" || newest.Date.IsZero() || newest.Deployer == "" {
		t.Errorf("the newest generation is %+v", newest)
	}
	if older.Path != first.Outcome.Closure || older.Verdict != "confirmed" || older.Running || older.Boots || older.LastKnownGood || older.Kernel != "6.12.30" {
		t.Errorf("the older generation is %+v", older)
	}
	if factory.Verdict != "unknown" || factory.Deployer != "" {
		t.Errorf("the first generation is %+v", factory)
	}
	s.ask("generations", hostName).says(t, 0, "NUMBER", "runs, boots, last known good", second.Outcome.Closure, "6.12.31", "confirmed", "by ")

	past := lines[transactionLine](t, s.ask("history", hostName, "--json").says(t, 0))
	if len(past) != 3 || past[0].Number != 3 || past[1].Number != 2 || past[2].Number != 1 {
		t.Fatalf("the history is %+v", past)
	}
	if p := past[0]; p.ID != failed.Outcome.Transaction || p.State != "rolled-back" || p.Closure != failed.Outcome.Closure || p.Cause != "activation" ||
		p.ExitCode != 4 || p.Seconds <= 0 || len(p.Steps) < 3 || len(p.Journal) != 1 || !strings.Contains(p.Reason, "lab-failing.service") {
		t.Errorf("the failed one is %+v", p)
	}
	if p := past[1]; p.State != "committed" || p.Closure != second.Outcome.Closure || p.Generation != newest.Number || p.Deployer == "" {
		t.Errorf("the second one is %+v", p)
	}
	s.ask("history", "--limit", "1", hostName).says(t, 0, "rolled-back", "because units failed", failed.Outcome.Closure, "2 older")

	s.ask("log", hostName).says(t, 0, failed.Outcome.Transaction, "lab-failing.service")
	s.ask("log", hostName, second.Outcome.Transaction, "--json").says(t, 0, `"transaction":"`+second.Outcome.Transaction+`"`, "lab-marker.service")
	s.ask("log", hostName, "1").says(t, 0, first.Outcome.Transaction, "activating the configuration")
	s.ask("log", hostName, "9").says(t, 5, "does not remember", "hdeploy history")
	if mode := s.on("stat -c %a /var/lib/hdeploy/history/*.log | sort -u"); mode != "600" {
		t.Errorf("the logs have the modes %s", mode)
	}

	one := lines[statusLine](t, s.ask("status", "--json").says(t, 0))
	if len(one) != 1 {
		t.Fatalf("%d lines", len(one))
	}
	if st := one[0]; !st.Reachable || st.Running != second.Outcome.Closure || st.Profile != st.Running || st.Boots != st.Running ||
		st.Flake != failed.Outcome.Closure || st.Generation != newest.Number || !st.RebootNeeded || st.Transaction != nil || st.Freeze != nil {
		t.Errorf("the status is %+v", st)
	}
	s.ask("status", hostName).says(t, 0, fmt.Sprintf("gen %d", newest.Number), "needed", "other")
	s.ask("status", "--no-flake").says(t, 0, "same")
	requireUntouched(t, before, s.snapshot())
}

// requireJournal checks that the failure report shows why the unit failed.
func requireJournal(t *testing.T, r *run) {
	t.Helper()
	if len(r.Outcome.Journal) != 1 || r.Outcome.Journal[0].Unit != "lab-failing.service" ||
		!strings.Contains(strings.Join(r.Outcome.Journal[0].Lines, "\n"), "giving up") {
		t.Errorf("the journal of the failed unit is %+v", r.Outcome.Journal)
	}
}

// The units behind a probe that failed are shown too, where the activation saw
// nothing.
func TestFailedProbeShowsTheJournal(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.SystemdBoot})
	s.inventory.Probes = `["units"]`
	s.inventory.Tables = "[probes.units]\nkind = \"no-new-failed-units\"\nsettle = \"7s\"\ndeadline = \"2s\"\n"
	s.faulty("late", settings{"failUnit": "after-5s"})
	r := s.deploy().require("rolled-back", 7)
	requireJournal(t, r)
	s.ask("history", hostName).says(t, 0, "because probe units failed", "0 of 1 probes passed")
}

// A host to which nothing is deployed is asked what the unit said.
func TestFailedProbeOfAnUnchangedHostShowsTheJournal(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	s.deploy().require("committed", 0)
	s.on("systemctl stop lab-marker.service")
	s.inventory.Probes = `["marker"]`
	s.inventory.Tables = "[probes.marker]\nkind = \"unit\"\nunit = \"lab-marker.service\"\ndeadline = \"1s\"\n"
	r := s.deploy().require("degraded", 9)
	if len(r.Outcome.Journal) != 1 || r.Outcome.Journal[0].Unit != "lab-marker.service" || len(r.Outcome.Journal[0].Lines) == 0 {
		t.Errorf("the journal is %+v", r.Outcome.Journal)
	}
}

func TestLockedHostRefusesUntilItIsUnlocked(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.ask("lock", hostName, "-m", "disk is being replaced").says(t, 0, "locked by alice@", "disk is being replaced")
	s.ask("status", "--no-flake").says(t, 0, "alice@", "replaced")
	s.ask("lock", hostName, "-m", "the second disk too").says(t, 0)
	s.askAs("bob", "lock", hostName, "-m", "mine").says(t, 5, "alice@", "the second disk too", "hdeploy unlock --force")

	s.configure(settings{"revision": "1"})
	s.deploy().require("refused", 5).requireFailure("frozen by alice@", "the second disk too", "hdeploy unlock")
	requireUntouched(t, before, s.snapshot())

	s.askAs("bob", "unlock", hostName).says(t, 5, "alice@", "hdeploy unlock --force "+hostName)
	if st := lines[statusLine](t, s.ask("status", "--no-flake", "--json").says(t, 0)); st[0].Freeze == nil || !strings.HasPrefix(st[0].Freeze.Owner, "alice@") {
		t.Errorf("bob unlocked it: %+v", st)
	}
	s.askAs("bob", "unlock", "--force", hostName).says(t, 0, "alice@")
	s.ask("unlock", hostName, "--json").says(t, 0, `"locked":false`)
	s.deploy().require("committed", 0)
	s.ask("lock", hostName, "-m", "by its owner").says(t, 0)
	s.ask("unlock", hostName).says(t, 0, "by its owner")
}

// While a deployment waits, status shows it and its time; after a power cut it is
// shown as stale, and looking at it does not settle it.
func TestStatusShowsDeploymentUnderWayAndStale(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	s.hold(2 * time.Minute)
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "120s"`, 1)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	under := lines[statusLine](t, s.ask("status", "--no-flake", "--json").says(t, 0))[0]
	if under.Transaction == nil || under.Transaction.State != "waiting" || under.Transaction.Stale != "" {
		t.Errorf("under way: %+v", under.Transaction)
	}
	s.ask("status", "--no-flake").says(t, 0, "waiting", "unless it is confirmed within", "@")
	s.ask("lock", hostName, "-m", "later").says(t, 0, "goes on")
	s.ask("unlock", hostName).says(t, 0)

	s.on("rm -r /etc/systemd/system.attached") // nothing settles at boot
	s.powerCut()
	r.kill()
	s.powerOn()
	for range 2 {
		s.ask("status", "--no-flake").says(t, 0, "stale", "left by an earlier boot", "settles it")
	}
	s.ask("history", hostName).says(t, 0, "waiting", "not over")
	s.requireWorks()
	s.ask("status", "--no-flake").says(t, 0, "none")
}

func TestStatusOfHostsThatAreNotReached(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "1"})
	s.inventory.Tables = "[hosts.gone]\naddress = \"10.44.255.254\"\nhost_keys = " + s.inventory.HostKeys + "\ntimeouts = { connect = \"2s\" }\n"
	all := lines[statusLine](t, s.ask("status", "--json").says(t, 6, "gone"))
	if len(all) != 2 {
		t.Fatalf("%d lines", len(all))
	}
	for _, st := range all {
		switch st.Host {
		case hostName:
			if !st.Reachable || st.Code != 0 || st.Flake == "" || st.FlakeError != "" {
				t.Errorf("the one that is there: %+v", st)
			}
		default:
			if st.Reachable || st.Code != 6 || st.Failure == nil || st.FlakeError == "" {
				t.Errorf("the one that is gone: %+v", st)
			}
		}
	}
	s.ask("status").says(t, 6, "gone", "unreachable: ", "gen ")

	// A host without a living Nix daemon is asked all the same.
	s.on("systemctl stop nix-daemon.socket nix-daemon.service")
	s.ask("status", "--no-flake", hostName).says(t, 0, "gen ")
	s.ask("generations", hostName).says(t, 0, "runs")
	s.on("systemctl start nix-daemon.socket")
}
