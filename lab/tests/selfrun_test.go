//go:build lab

package tests

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/deployer"
)

// newOwnDeployer is a host that an effect deploys which runs on it, over ssh.
func newOwnDeployer(t *testing.T) self {
	t.Helper()
	s := withHdeploy(t)
	key, err := workstation.ReadFile(t.Context(), "/root/.ssh/id_ed25519")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.host.WriteFile(t.Context(), "/root/.ssh/id_ed25519", key, 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"IN_HERCULES_CI_EFFECT=true"}
	return s
}

// by is the host's table in deploy.toml, with lines and what comes after it.
func (s self) by(lines string) string {
	return fmt.Sprintf("[hosts.%s]\naddress = %q\nhost_keys = [%q]\n%s", hostName, s.host.Address, s.host.HostKey(), lines)
}

// heldBy makes the host's trial wait for a file, and is deployed with.
func (s self) heldBy(lines string, changes settings) {
	s.t.Helper()
	s.heldAs(s.by(lines), changes)
}

func (s self) heldAs(table string, changes settings) {
	s.t.Helper()
	s.configured(table+"\nprobes = [\"hold\"]", changes)
	s.on(`printf '[probes.hold]\nkind = "command"\nargv = ["test", "-e", "/srv/release"]\ninterval = "200ms"\ndeadline = "60s"\n' >> /srv/deploy.toml`)
}

func (s self) release() { s.on("touch /srv/release") }

// inTrial waits until the new system of a run waits for its probes.
func (s self) inTrial(r *deployer.Run) {
	s.t.Helper()
	limit, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	err := r.Await(limit, "the verification", func(e event.Event) bool { return e.Phase == event.Verify && e.Step != nil })
	if err != nil {
		s.t.Fatalf("%v; %s", err, r.Story())
	}
}

// ends requires how a run that was started ends.
func (s self) ends(r *deployer.Run, word string, code int) *event.Outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		s.t.Fatalf("%v; %s", err, r.Story())
	}
	o := r.Outcome()
	if o == nil || o.Outcome != word || r.Code() != code {
		s.t.Fatalf("it did not end %s with %d; %s", word, code, r.Story())
	}
	return o
}

// begun is how many transactions the host has begun.
func (s self) begun() string {
	s.t.Helper()
	return s.on(`sed -n 's/.*"id":"[a-z0-9]*","number":\([0-9]*\),"state".*/\1/p' /var/lib/hdeploy/transaction.json`)
}

func TestAHostCommitsByItselfAndTheNextRunSaysSo(t *testing.T) {
	s := newOwnDeployer(t)
	s.configured(s.by(""), settings{"revision": "1"})
	first := s.runs("committed", 0, "switch", hostName)
	o := first.Outcome()
	if o.Proof == "" || o.Reach == nil || !strings.Contains(o.Reach.Summary, "inbound ") || !strings.Contains(first.Story(), "decides by itself") {
		t.Errorf("it does not say how it was proven; %s", first.Story())
	}
	requireRuns(t, s.snapshot(), o.Closure)
	begun, before := s.begun(), s.snapshot()
	again := s.runs("committed", 0, "switch", hostName).Outcome()
	if again.Transaction != o.Transaction || s.begun() != begun {
		t.Errorf("it was deployed again: %+v", again)
	}
	given := s.runs("committed", 0, "switch", hostName, "--closure", o.Closure).Outcome()
	if t.Logf("the verdict was told within %.2f s", given.Seconds); given.Transaction != o.Transaction || given.Seconds > 10 {
		t.Errorf("it was deployed again, or took too long: %+v", given)
	}
	requireUntouched(t, before, s.snapshot())
	// A person who asks is told how the host is now.
	s.env = nil
	if now := s.runs("unchanged", 0, "switch", hostName).Outcome(); now.Transaction != "" {
		t.Errorf("got %+v", now)
	}
}

func TestAHostDecidesWithoutTheRunThatBeganIt(t *testing.T) {
	s := newOwnDeployer(t)
	s.heldBy("", settings{"revision": "1"})
	r := s.start("switch", hostName)
	s.inTrial(r)
	told := time.Now()
	if err := r.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o := s.ends(r, "interrupted", 10)
	if took := time.Since(told); took > 3*time.Second {
		t.Errorf("it took %v to leave", took)
	} else {
		t.Logf("it left within %v", took)
	}
	for _, part := range []string{hostName, o.Transaction, "hdeploy-" + o.Transaction + "-supervisor", "hdeploy attach", "next run"} {
		if o.Transaction == "" || !strings.Contains(r.Story(), part) {
			t.Errorf("it does not say %q; %s", part, r.Story())
		}
	}
	// The next run finds it under way, and another closure is refused.
	next := s.start("switch", hostName)
	s.inTrial(next)
	s.release()
	if got := s.ends(next, "committed", 0); got.Transaction != o.Transaction {
		t.Errorf("it is another deployment: %+v", got)
	}
	requireRuns(t, s.snapshot(), o.Closure)
	begun := s.begun()
	if got := s.runs("committed", 0, "switch", hostName).Outcome(); got.Transaction != o.Transaction || s.begun() != begun {
		t.Errorf("it was deployed again: %+v", got)
	}
}

func TestAHostThatIsAskedForSomethingElseMeanwhile(t *testing.T) {
	s := newOwnDeployer(t)
	s.heldBy("", settings{"revision": "1"})
	r := s.start("switch", hostName)
	s.inTrial(r)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	s.heldBy("", settings{"revision": "2"})
	other := s.runs("refused", 5, "switch", hostName)
	if f := other.Outcome().Failure; f.Step != "lock" || !strings.Contains(f.Cause, "locked by root@") {
		t.Errorf("got %+v", f)
	}
	s.release()
	s.awaitStateWithin("committed", patience)
}

// Two effects of one push that deploy the same are one deployment.
func TestTwoRunsOfTheSameClosureAreOneDeployment(t *testing.T) {
	s := newOwnDeployer(t)
	s.configured(s.by(""), settings{"revision": "1"})
	runs := []*deployer.Run{s.start("switch", hostName), s.start("switch", hostName), s.start("switch", hostName)}
	ids := map[string]bool{}
	for _, r := range runs {
		ids[s.ends(r, "committed", 0).Transaction] = true
	}
	if len(ids) != 1 || s.begun() != "1" {
		t.Errorf("there are %d deployments, %s of them on the host", len(ids), s.begun())
	}
}

func TestARejectedSystemIsNotTriedAgain(t *testing.T) {
	s := newOwnDeployer(t)
	before := s.snapshot()
	s.configured(s.by(""), settings{"revision": "1", "faults": settings{"failUnit": "at-once"}})
	first := s.runs("rolled-back", 7, "switch", hostName).Outcome()
	requireRestored(t, before, s.snapshot())
	begun := s.begun()
	again := s.runs("rolled-back", 7, "switch", hostName).Outcome()
	if again.Transaction != first.Transaction || s.begun() != begun || !strings.Contains(again.Failure.Cause, "lab-failing") || !strings.Contains(again.Failure.Next, "--force") {
		t.Errorf("got %+v, %+v", again, again.Failure)
	}
	forced := s.runs("rolled-back", 7, "switch", "--force", hostName).Outcome()
	if forced.Transaction == first.Transaction || s.begun() == begun {
		t.Errorf("it was not tried again: %+v", forced)
	}
}

// No connection from the host to itself is refused by any of these.
func TestAHostThatCouldNotBeReachedGoesBackByItself(t *testing.T) {
	for name, fault := range map[string]settings{
		"sshd takes no keys":            {"sshdRefusesKeys": true},
		"the keys are others":           {"overwriteKeys": true},
		"the packet filter drops ssh":   {"firewallDropSsh": true},
		"the network is what was there": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := newOwnDeployer(t)
			before := s.snapshot()
			if fault == nil {
				s.configured(s.by("on_unknown = \"rollback\""), settings{"revision": "1"})
			} else {
				s.configured(s.by(""), settings{"revision": "1", "faults": fault})
			}
			r := s.start("switch", hostName)
			s.inTrial(r)
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			s.awaitStateWithin("rolled-back", patience)
			requireRestored(t, before, s.snapshot())
			o := s.runs("rolled-back", 7, "switch", hostName).Outcome()
			if o.Reach == nil || !strings.Contains(s.record(), `"cause":"reach"`) {
				t.Errorf("got %+v, %+v; %s", o, o.Failure, s.record())
			}
		})
	}
}

// What a person asks for is done, and what ends the run by itself is not taken for that.
func TestAPersonMayStillAbort(t *testing.T) {
	s := newOwnDeployer(t)
	s.env = nil
	before := s.snapshot()
	s.heldBy("", settings{"revision": "1"})
	r := s.start("switch", hostName)
	s.inTrial(r)
	if err := r.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.ends(r, "interrupted", 10)
	s.awaitStateWithin("rolled-back", patience)
	requireRestored(t, before, s.snapshot())
}

func TestAWitnessDialsIn(t *testing.T) {
	s := newOwnDeployer(t)
	edge, err := world.NewHost(t.Context(), fmt.Sprintf("host%d", hostCount.Add(1)), lab.HostOptions{HostName: "edge"})
	if err != nil {
		t.Fatal(err)
	}
	other := &site{t: t, host: edge}
	t.Cleanup(other.leave)
	other.awaitBoot()
	witness := func(lines string) string {
		return s.by("witness = \"edge\"\n"+lines) + fmt.Sprintf("\n[hosts.edge]\naddress = %q\nhost_keys = [%q]\n", other.host.Address, other.host.HostKey())
	}
	s.configured(witness(""), settings{"revision": "1"})
	o := s.runs("committed", 0, "switch", hostName).Outcome()
	if o.Proof != "witness" || o.Reach.Inbound != "witness" || !strings.Contains(o.Reach.Summary, "edge") {
		t.Errorf("got %q, %+v", o.Proof, o.Reach)
	}
	left := func() string {
		return other.on("ls /run/hdeploy-witness 2>/dev/null; systemctl list-units --plain --no-legend 'hdeploy-*'")
	}
	if left := left(); left != "" {
		t.Errorf("the witness goes on: %s", left)
	}
	before := s.snapshot()
	s.configured(witness("on_unknown = \"commit\""), settings{"revision": "2", "faults": settings{"firewallDropSsh": true}})
	dropped := s.runs("rolled-back", 7, "switch", hostName)
	if o := dropped.Outcome(); !strings.Contains(o.Failure.Cause, "witness edge does not get through") {
		t.Errorf("got %+v", o.Failure)
	}
	requireRestored(t, before, s.snapshot())
	// One that does not reach the host even now would prove nothing.
	s.on("nft add table ip away && nft add chain ip away in '{ type filter hook input priority 0; }' && nft add rule ip away in ip saddr " + other.host.Address + " tcp dport 22 drop")
	s.configured(witness(""), settings{"revision": "3"})
	r := s.runs("refused", 5, "switch", hostName)
	if f := r.Outcome().Failure; f.Step != "witness" || !strings.Contains(f.Cause, "edge cannot reach the host even now") || f.Next == "" {
		t.Errorf("got %+v", f)
	}
	if left := left(); left != "" {
		t.Errorf("the witness goes on: %s", left)
	}
}

// A CI agent that builds two things, of which one is the effect that deploys.
func TestWhatTheAgentBuildsIsSeenBeforeTheSwitch(t *testing.T) {
	s := newOwnDeployer(t)
	s.on(`printf '#!/bin/sh\nexec sleep 600\n' > /srv/build; printf '#!/bin/sh\n/srv/build & wait\n' > /srv/hercules-ci-agent-worker
printf '#!/bin/sh\n/srv/hercules-ci-agent-worker build &\n/srv/hercules-ci-agent-worker effect &\nwait\n' > /srv/agent; chmod 755 /srv/build /srv/agent /srv/hercules-ci-agent-worker
systemd-run --quiet --unit hercules-ci-agent /srv/agent`)
	s.configured(s.by(""), settings{"revision": "1"})
	if r := s.runs("committed", 0, "switch", hostName); !strings.Contains(r.Story(), "1 build of the host's CI agent may be ended") {
		t.Errorf("it does not say what it ends; %s", r.Story())
	}
	s.configured(s.by("drain = \"5m\""), settings{"revision": "2"})
	r := s.start("switch", hostName)
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.Await(limit, "the wait for the agent", func(e event.Event) bool {
		return e.Note != nil && strings.Contains(e.Note.Text, "the host's CI agent is at 1 build: waiting")
	})
	if err != nil {
		t.Fatalf("%v; %s", err, r.Story())
	}
	s.on("kill $(pgrep -f '^/bin/sh /srv/hercules-ci-agent-worker build')")
	s.ends(r, "committed", 0)
}

// Whenever a run is told to end, it says the truth about what becomes of the host, and
// the host decides by itself what it has begun.
func TestARunIsToldToEndAtAnyInstant(t *testing.T) {
	s := newOwnDeployer(t)
	s.configured(s.by(""), settings{"revision": "0"})
	s.runs("committed", 0, "switch", hostName)
	const runs = 8
	for i := range runs {
		s.configured(s.by(""), settings{"revision": fmt.Sprint(i + 1)})
		before := s.begun()
		r := s.start("switch", hostName)
		limit, cancel := context.WithTimeout(t.Context(), patience)
		err := r.Await(limit, "the copy", func(e event.Event) bool {
			return e.Phase == event.Copy && e.Step != nil && e.Step.Status == event.Started
		})
		cancel()
		if err != nil {
			t.Fatalf("%v; %s", err, r.Story())
		}
		time.Sleep(time.Duration(i) * 60 * time.Millisecond) // from the middle of the copy to that of the trial
		if err := r.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		told := time.Now()
		<-r.Ended
		if took := time.Since(told); took > 4*time.Second {
			t.Errorf("it took %v to leave; %s", took, r.Story())
		}
		o := r.Outcome()
		if o == nil || o.Outcome != "interrupted" || r.Code() != 10 {
			t.Fatalf("run %d: %s", i, r.Story())
		}
		unsure := strings.Contains(o.Failure.Cause, "where it has begun")
		switch {
		case strings.Contains(o.Failure.Cause, "before anything was changed"):
			if s.begun() != before {
				t.Errorf("it has begun: %s", r.Story())
			}
			continue
		case unsure && s.begun() == before:
			continue
		case !unsure && !strings.Contains(o.Failure.Cause, "goes on by itself"):
			t.Fatalf("run %d says neither: %s", i, r.Story())
		}
		s.awaitStateWithin("committed", patience)
		if !strings.Contains(s.record(), `"id":"`+o.Transaction+`"`) {
			t.Errorf("it names another deployment; %s", r.Story())
		}
	}
	s.snapshot()
}

// Whoever reads what an effect prints may be gone before it.
func TestARunWithoutAReaderStillSaysWhatBecomesOfTheHost(t *testing.T) {
	s := newOwnDeployer(t)
	s.heldBy("", settings{"revision": "1"})
	s.on(`cd /srv; mkfifo out; { IN_HERCULES_CI_EFFECT=true XDG_STATE_HOME=/srv/state /hdeploy/hdeploy switch ` + hostName +
		` --json > out 2> err < /dev/null; echo $? > code; } > /dev/null 2>&1 & head -c 1 /srv/out > /dev/null`)
	eventually(t, patience, func() string {
		return s.on(`grep -qs '"state":"waiting"' /var/lib/hdeploy/transaction.json || echo the host does not wait yet`)
	})
	s.on("kill -TERM $(pgrep -f '^/hdeploy/hdeploy switch')")
	eventually(t, patience, func() string {
		if s.on("cat /srv/code 2>/dev/null || true") == "" {
			return "the run has not ended"
		}
		return ""
	})
	if said := s.on("cat /srv/err"); !strings.Contains(said, "goes on by itself") || !strings.Contains(said, "hdeploy attach") {
		t.Errorf("code %s, it says: %s", s.on("cat /srv/code"), said)
	}
	s.release()
	s.awaitStateWithin("committed", patience)
}
