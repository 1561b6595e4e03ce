//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

func TestRollbackToAGenerationOrAPath(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	systems := s.committed("1", "2", "3")
	s.rollback("--to", "2").requireCommitted(s, systems[0]) // generation 1 is the factory's
	s.rollback("--to", systems[1]).requireCommitted(s, systems[1])

	before := s.snapshot()
	r := s.rollback("--to", systems[1]).require("unchanged", 0)
	if !r.noted("already runs and boots", systems[1]) {
		t.Errorf("it does not say that there was nothing to do; %s", r.story())
	}
	stranger := strings.Replace(systems[0], "/nix/store/", "/nix/store/0", 1)
	stranger = stranger[:len("/nix/store/")+32] + stranger[len("/nix/store/")+33:]
	for _, c := range []struct{ to, says string }{
		{"77", "there is no generation 77"},
		{"yesterday", "neither the number of a generation nor a store path"},
		{stranger, "not on the host any more"},
	} {
		r := s.rollback("--to", c.to).require("refused", 5).requireFailure(c.says)
		if r.Outcome.Failure.Step != "choose" {
			t.Errorf("--to %s: the step is %q", c.to, r.Outcome.Failure.Step)
		}
	}
	requireUntouched(t, before, s.snapshot())
}

func TestRollbackNeedsNoNixDaemonOnTheHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	s.on("systemctl stop nix-daemon.socket nix-daemon.service; rm -f /nix/var/nix/daemon-socket/socket; ! nix --extra-experimental-features nix-command store ping --store daemon")
	s.rollback().requireCommitted(s, systems[0])
	if state := s.on("systemctl is-active nix-daemon.service || true"); state == "active" {
		t.Error("the daemon was started for it")
	}
}

func TestRollbackNeedsNoDatabaseOfTheStore(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	systems := s.committed("1", "2")
	s.on("cp -r /nix/var/nix/db /nix/var/nix/db.good; head -c 65536 /dev/urandom > /nix/var/nix/db/db.sqlite; rm -f /nix/var/nix/db/db.sqlite-*; ! nix-store --check-validity " + systems[0])
	s.rollback().requireCommitted(s, systems[0])
	s.on("rm -rf /nix/var/nix/db; mv /nix/var/nix/db.good /nix/var/nix/db")
	s.requireWorks()
}

func TestRollbackNeedsNeitherNixNorAFlakeOnTheDeployer(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	inShell(t, workstation, "rm -rf "+s.dir+"/flake "+s.dir+"/state")
	bare := []string{"PATH=/nonexistent", "NIX_REMOTE=", "XDG_STATE_HOME="}
	s.start("rollback", command{args: []string{"--yes"}, env: bare}).wait().requireCommitted(s, systems[0])
}

func TestRollbackOfAHostWithoutAHistoryIsUnproven(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	factory := s.running()
	systems := s.committed("1", "2")
	// The supervisor of the last deployment may still be writing its history.
	forget := func(what string) { s.on("for i in 1 2 3 4 5; do rm -rf " + what + " && exit; sleep 1; done; exit 1") }
	forget("/var/lib/hdeploy /run/hdeploy /nix/var/nix/gcroots/hdeploy")
	for _, want := range []string{systems[0], factory} {
		// Each time without what the last rollback has left.
		r := s.rollback().requireCommitted(s, want)
		if plan := r.plan(); plan.Verdict != "unproven" || plan.To != want {
			t.Errorf("the plan was %+v", plan)
		}
		number := s.on("readlink /nix/var/nix/profiles/system | tr -dc 0-9")
		forget("/var/lib/hdeploy")
		s.on("cd /nix/var/nix/profiles; ln -sfn $(ls -d system-*-link | sort -t- -k2 -n | while read l; do [ $(readlink $l) = " + want + " ] && { echo $l; break; }; done) system; rm system-" + number + "-link")
	}
	r := s.rollback().require("refused", 5).requireFailure("there is no system to go back to")
	if r.Outcome.Failure.Step != "choose" {
		t.Errorf("the step is %q", r.Outcome.Failure.Step)
	}
}

func TestRollbackThatLocksTheDeployerOutGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.committed("1")
	s.faulty("locked out", settings{"firewallDropSsh": true})
	locked := s.byHand("nix-env -p /nix/var/nix/profiles/system --set")
	s.committed("2")
	before := s.snapshot()
	s.rollback("--to", locked).require("rolled-back", 7).requireFailure("could not be reached over a new connection")
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

// byHand builds what is configured, copies it without hdeploy, and runs a command
// with it as its last argument on the host.
func (s *site) byHand(command string) string {
	s.t.Helper()
	system := inShell(s.t, workstation, "nix build --no-link --print-out-paths path:"+s.dir+"/flake#nixosConfigurations."+hostName+".config.system.build.toplevel")
	inShell(s.t, workstation, "NIX_SSHOPTS='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null' nix copy --no-check-sigs --to ssh-ng://root@"+s.host.Address+" "+system)
	s.on(command + " " + system)
	return system
}

func TestFailedProbeDoesNotUndoARollback(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	s.inventory.Probes = `["never"]`
	s.inventory.Tables = "[probes.never]\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", \"exit 1\"]\ninterval = \"200ms\"\ndeadline = \"1s\"\n"
	r := s.rollback().require("degraded", 9)
	requireRuns(t, s.snapshot(), systems[0])
	if len(r.Outcome.Failed) != 1 || r.Outcome.Failed[0].Policy != "alert" {
		t.Errorf("the probe is told as %+v", r.Outcome.Failed)
	}
}

func TestRollbackDuringADeploymentTakesItBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.hold(40 * time.Second)
	s.faulty("taken back", nil)
	first := s.startSwitch(command{})
	first.awaitPhase(event.Verify, event.Started)
	id := first.awaitDeadline().Deadline.ID
	r := s.rollback().require("rolled-back", 0)
	if plan := r.plan(); plan.Aborts != id || plan.To != before.Running || r.Outcome.Transaction != id {
		t.Errorf("the plan was %+v, the transaction %s", plan, r.Outcome.Transaction)
	}
	first.wait().require("rolled-back", 7).requireFailure("aborted by root@workstation")
	requireRestored(t, before, s.snapshot())
	// A person's verdict about the system.
	s.release()
	s.deploy().require("refused", 5).requireFailure("rejected on the host before")
}

// delayCommit makes the commit wait for a while.
func (s *site) delayCommit(seconds int) {
	s.t.Helper()
	// With the profile's lock taken nix-env makes the generation, which asks the store.
	for _, lock := range []string{"profiles/system.lock", "db/big-lock"} {
		s.on(fmt.Sprintf("systemd-run --collect flock /nix/var/nix/%s sleep %d", lock, seconds))
	}
}

// switchInCommit begins a deployment and returns when it commits, which takes that
// many seconds then.
func (s *site) switchInCommit(seconds int) *run {
	s.t.Helper()
	s.hold(40 * time.Second)
	s.faulty("in commit", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.delayCommit(seconds)
	s.release()
	r.awaitPhase(event.Commit, event.Started)
	s.inventory.Probes, s.inventory.Tables = "", ""
	return r
}

func TestRollbackDuringACommitWaitsAndGoesBackFromIt(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1")
	first := s.switchInCommit(12)
	r := s.rollback()
	first.wait().require("committed", 0)
	r.requireCommitted(s, systems[0])
	if !r.noted("committed before it could be stopped") {
		t.Errorf("it does not say what it met; %s", r.story())
	}
}

func TestFreezeStopsARollbackOfOthersOnly(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2", "3")
	s.on(`echo '{"owner":"alice@workstation","message":"an incident","since":"2026-11-23T12:00:00Z"}' > /var/lib/hdeploy/freeze.json; chmod 600 /var/lib/hdeploy/freeze.json`)
	before := s.snapshot()
	by := func(user string, args ...string) *run {
		return s.start("rollback", command{args: append([]string{"--yes"}, args...), env: []string{"USER=" + user}}).wait()
	}
	by("bob").require("refused", 5).requireFailure("frozen by alice@workstation", "an incident")
	requireUntouched(t, before, s.snapshot())
	by("alice").requireCommitted(s, systems[1])
	by("bob", "--force").requireCommitted(s, systems[0])
}

func TestRejectedSystemIsRefusedToMachinesUntilForced(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	s.rollback().requireCommitted(s, systems[0])
	before := s.snapshot()
	ci := func(args ...string) *run { return s.startSwitch(command{args: args, env: []string{"CI=true"}}).wait() }
	ci().require("refused", 5).requireFailure("rejected on the host before", systems[1], "--force")
	requireUntouched(t, before, s.snapshot())
	if before.Roots["confirmed-1"] != systems[0] || before.Roots["confirmed-2"] != "" {
		t.Errorf("the roots of the confirmed systems are %v", before.Roots)
	}
	ci("--force").requireCommitted(s, systems[1])
	// That was the newest verdict.
	ci().require("unchanged", 0)
	if roots := s.snapshot().Roots; roots["confirmed-1"] != systems[1] || roots["confirmed-2"] != systems[0] {
		t.Errorf("the roots of the confirmed systems are %v", roots)
	}
}

func TestSilenceRejectsNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	r, since := holdInTrial(s, nil)
	r.kill()
	requireBackAfter(s, before, since.Add(waitsFor))
	s.release()
	s.startSwitch(command{env: []string{"CI=true"}}).wait().require("committed", 0)
}

func TestRollbackKeepsTheLastTwoConfirmedSystems(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2", "3")
	want := func(first, second string) {
		t.Helper()
		if roots := s.snapshot().Roots; roots["confirmed-1"] != first || roots["confirmed-2"] != second {
			t.Errorf("the roots are %v, not %s and %s", roots, first, second)
		}
	}
	want(systems[2], systems[1])
	s.rollback().requireCommitted(s, systems[1]) // which rejects 3
	want(systems[1], systems[0])
	s.on("nix-env -p /nix/var/nix/profiles/system --delete-generations old; nix-collect-garbage; ! test -e " + systems[2])
	s.rollback().requireCommitted(s, systems[0])
	want(systems[0], "")
}

// A question needs a terminal: script(1) makes one.
func TestRollbackAsksOnATerminal(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	before := s.snapshot()
	s.write("deploy.toml", s.inventory.String())
	answer := func(word string) string {
		return inShell(t, workstation, fmt.Sprintf("cd %s; (sleep 3; echo %s; sleep 1) | TERM=screen timeout 60 script -qec '/hdeploy/hdeploy rollback %s; echo code $?' /dev/null", s.dir, word, hostName))
	}
	said := answer("n")
	for _, word := range []string{"Go back? [y/N]", systems[0], systems[1], "confirmed healthy", "code 10"} {
		if !strings.Contains(said, word) {
			t.Errorf("it does not say %q:\n%s", word, said)
		}
	}
	requireUntouched(t, before, s.snapshot())
	if said = answer("y"); !strings.Contains(said, "committed") || !strings.Contains(said, "code 0") {
		t.Errorf("it did not go back:\n%s", said)
	}
	requireRuns(t, s.snapshot(), systems[0])
}

func TestTwoRollbacksAtOnceDoNotUndoEachOther(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	s.hold(40 * time.Second)
	first := s.start("rollback", command{args: []string{"--yes"}, env: []string{"USER=alice"}})
	first.awaitPhase(event.Verify, event.Started)
	s.rollback().require("refused", 5).requireFailure("alice@workstation is going back already", systems[0], "hdeploy attach")
	s.release()
	first.wait().requireCommitted(s, systems[0])
}

func TestRollbackAsksThePresetsWithoutAnEvaluation(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["onepassword-secrets", "hercules-ci-agent"]`
	s.inventory.Tables = quickHercules
	var systems []string
	for _, revision := range []string{"1", "2"} {
		s.configure(settings{"revision": revision, "opnix": settings{}, "hercules": settings{"restarter": false}})
		systems = append(systems, s.deploy().require("committed", 0).Outcome.Closure)
	}
	r := s.rollback().requireCommitted(s, systems[0])
	judged := 0
	for _, e := range r.events() {
		if e.Probe != nil && e.Probe.Verdict == "pass" && e.Probe.Policy == "alert" && !strings.Contains(e.Probe.Seen, "evaluated configuration") {
			judged++
		}
	}
	if judged != 2 {
		t.Errorf("%d probes passed; %s", judged, r.story())
	}
}
