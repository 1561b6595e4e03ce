//go:build lab

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// weaknesses are the ways in which deploy-rs was seen to fail, each with the test
// by which hdeploy shows that it does not.
var weaknesses = map[string]string{
	"an activation is killed by SIGPIPE when the session goes":                       "TestActivationSurvivesTheLossOfItsSession",
	"a canary that was left behind confirms the next deployment of the same closure": "TestSilenceRejectsNothing",
	"a rollback goes to the generation minus one":                                    "TestFailureAfterAnUnchangedDeploymentKeepsTheCurrentGeneration",
	"a rollback after a manual rollback goes to the bad system":                      "TestFailureAfterAManualRollbackReturnsToWhatRan",
	"the first generation has no predecessor, and the new system stays":              "TestFirstGenerationIsGoneBackTo",
	"a profile that could not be set is rolled back one generation too far":          "TestCommitThatFailsIsUndone",
	"hosts that needed nothing are downgraded when another one fails":                "TestUnchangedHostIsNotDowngradedWhenAnotherFails",
	"a dry run can roll back": "TestDryRunChangesNothing",
	"two deployers at once activate and confirm each other's systems":              "TestSecondDeployerIsRefusedAndTheFirstIsUnharmed",
	"a confirmation that comes fast is lost":                                       "TestFirstDeploymentThenUnchangedThenChanged",
	"any file that vanishes confirms":                                              "TestFilesThatVanishConfirmNothing",
	"files with names that can be guessed lie where everybody can write":           "TestFilesOnTheHostArePrivate",
	"a confirmation over an old connection proves nothing":                         "TestSystemThatLocksTheDeployerOutGoesBack",
	"there is one attempt to confirm":                                              "TestConfirmationIsTriedUntilTheDeadline",
	"a change of address cannot be confirmed":                                      "TestConfirmByHand",
	"a system that was installed by another tool cannot be gone back to":           "TestSystemOfAnotherToolIsGoneBackTo",
	"a peer's confirmation makes the deployer panic":                               "TestAttachFollowsWhatSomebodyElseDeploys",
	"the boot loader names the new system before it has run":                       "TestPowerCutDuringTheTrialBootsTheOldSystem",
	"a garbage collection takes the closure away in the middle":                    "TestGarbageCollectionWhileTheHostIsDeployedTo",
	"a program of another version on the host breaks the deployment":               "TestAgentsOfOtherVersionsAreReplaced",
	"options of ssh with blanks are taken apart":                                   "TestIdentityFileWithBlanksInItsName",
	"children of the deployer outlive it":                                          "TestNoProcessOutlivesTheDeployer",
	"an activation goes on after the deployer has given it up":                     "TestActivationThatHangsIsKilledAtItsDeadline",
	"a connection that drops while the host waits rolls a good system back":        "TestConnectionThatIsLostWhileTheHostWaitsIsMadeAnew",
	"a deployer that is killed between two hosts leaves both undecided":            "TestDeployerThatDiesBetweenTwoHosts",
	"a failed boot is answered with a switch of what runs":                         "TestBootThatFailsLeavesWhatRunsAlone",
	"a file system that is mounted over /tmp hides the confirmation":               "TestFilesystemOverTheTemporaryFolderDisturbsNothing",
	"a deployer that is killed leaves no record":                                   "TestAttachSeesTheWayBack",
	"a host that restarts in between boots into what nobody confirmed":             "TestPowerCutWhileTheHostWaitsBootsTheOldSystem",
	"the closure runs already, and the profile that points elsewhere is forgotten": "TestClosureThatRunsWhileTheProfilePointsElsewhere",
	"a failed deployment exits with 0":                                             "TestProbeThatFailsRollsBackAndSaysWhatItSaw",
}

func TestEveryWeaknessHasItsTest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for weakness, test := range weaknesses {
		if !strings.Contains(all.String(), "\nfunc "+test+"(t *testing.T) {") {
			t.Errorf("%s: there is no %s", weakness, test)
		}
	}
}

// slowUnit makes an activation take some seconds, and say something after that.
func slowUnit(seconds int) settings {
	return settings{"slow.service": fmt.Sprintf("[Unit]\nDescription=Takes its time\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'sleep %d'\n[Install]\nWantedBy=multi-user.target\n", seconds)}
}

func TestActivationSurvivesTheLossOfItsSession(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "slow", "extraUnits": slowUnit(6)})
	r := s.startSwitch(command{})
	r.await("the activation", func(e event.Event) bool {
		return e.Line != nil && strings.Contains(e.Line.Text, "activating the configuration")
	})
	s.endLogins()
	r.wait().requireCommittedNow(s)
	if log := s.on("cat /run/hdeploy/*/activation.log"); !strings.Contains(log, "lab-marker.service") {
		t.Errorf("the activation did not come to its end:\n%s", log)
	}
}

func TestFailureAfterAnUnchangedDeploymentKeepsTheCurrentGeneration(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.committed("1", "2")
	s.deploy().require("unchanged", 0)
	before := s.snapshot()
	s.faulty("bad", settings{"activateExit": 1})
	s.deploy().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
}

func TestFailureAfterAManualRollbackReturnsToWhatRan(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	systems := s.committed("1", "2")
	s.on("nix-env -p /nix/var/nix/profiles/system --rollback && /nix/var/nix/profiles/system/bin/switch-to-configuration switch")
	before := s.snapshot()
	requireRuns(t, before, systems[0])
	s.faulty("bad", settings{"activateExit": 1})
	s.deploy().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
	// And a person who goes back further does not land on it either.
	r := s.rollback().require("committed", 0)
	if plan := r.plan(); plan.To == systems[1] || plan.Verdict != "unproven" {
		t.Errorf("the plan was %+v", plan)
	}
}

func TestFirstGenerationIsGoneBackTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	if len(before.Generations) != 1 {
		t.Fatalf("there are more generations: %v", before.Generations)
	}
	s.faulty("bad", settings{"failUnit": "at-once"})
	s.deploy().require("rolled-back", 7)
	after := s.snapshot()
	requireRestored(t, before, after)
	s.rollback().require("refused", 5).requireFailure("there is no system to go back to")
	requireUntouched(t, after, s.snapshot())
}

func TestUnchangedHostIsNotDowngradedWhenAnotherFails(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	other, err := world.NewHost(t.Context(), s.host.Name+"b", lab.HostOptions{HostName: "other"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.PowerCut(t.Context()) })
	s.committed("1", "2")
	before, otherBefore := s.snapshot(), takeSnapshot(t, other)
	failing := settings{"loader": other.Loader(), "revision": "bad", "faults": settings{"activateExit": 1}}
	if err := workstation.WriteHostConfig(t.Context(), s.dir+"/flake", "other", failing); err != nil {
		t.Fatal(err)
	}
	s.inventory.Tables = fmt.Sprintf("[hosts.other]\naddress = %q\nhost_keys = [%q]\n", other.Address, other.HostKey())
	s.write("deploy.toml", s.inventory.String())
	said := inShell(t, workstation, "cd "+s.dir+"; XDG_STATE_HOME="+s.dir+"/state /hdeploy/hdeploy switch "+hostName+" other; echo code $?")
	for _, word := range []string{hostName + ": unchanged", "other: rolled-back", "code 7"} {
		if !strings.Contains(said, word) {
			t.Errorf("it does not say %q:\n%s", word, said)
		}
	}
	requireUntouched(t, before, s.snapshot())
	if after := takeSnapshot(t, other); after.Running != otherBefore.Running {
		t.Errorf("the other host runs %s", after.Running)
	}
}

func TestFilesThatVanishConfirmNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	r, since := holdInTrial(s, nil)
	id := r.awaitDeadline().Deadline.ID
	r.kill()
	s.on("find /tmp /var/tmp -mindepth 1 -delete; cd /run/hdeploy/" + id + "; rm -f *.lock *.log *.exit open")
	requireBackAfter(s, before, since.Add(waitsFor))
	requireRestored(t, before, s.snapshot())
}

func TestFilesOnTheHostArePrivate(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.hold(30 * time.Second)
	s.faulty("private", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	if open := s.on("find /var/lib/hdeploy /run/hdeploy -maxdepth 1 -perm /077; find /tmp /var/tmp -iname '*hdeploy*'"); open != "" {
		t.Errorf("not root's alone:\n%s", open)
	}
	s.release()
	r.wait().requireCommittedNow(s)
}

func TestConfirmationIsTriedUntilTheDeadline(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "60s"`, 1)
	s.hold(60 * time.Second)
	s.faulty("slowly confirmed", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	if err := s.host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.release()
	r.await("a failed attempt", func(e event.Event) bool {
		return e.Note != nil && strings.Contains(e.Note.Text, "not reached over a new connection yet")
	})
	if err := s.host.RestoreNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wait().requireCommittedNow(s)
}

func TestSystemOfAnotherToolIsGoneBackTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.configure(settings{"revision": "by hand"})
	foreign := s.byHand(`set -e; install() { nix-env -p /nix/var/nix/profiles/system --set "$1"; "$1/bin/switch-to-configuration" switch; }; install`)
	before := s.snapshot()
	requireRuns(t, before, foreign)
	s.faulty("bad", settings{"activateExit": 1})
	s.deploy().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
	s.committed("good")
	r := s.rollback().requireCommitted(s, foreign)
	if plan := r.plan(); plan.Verdict != "unproven" {
		t.Errorf("the plan was %+v", plan)
	}
}

func TestAgentsOfOtherVersionsAreReplaced(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	old := "/var/lib/hdeploy/agent/hdeploy-agent-" + strings.Repeat("0", 64)
	s.on("install -d -m 700 /var/lib/hdeploy /var/lib/hdeploy/agent; printf '#!/bin/sh\\nexit 3\\n' > " + old + "; chmod 700 " + old)
	s.committed("1")
	if left := s.on("ls /var/lib/hdeploy/agent | wc -l; ls " + old + " 2>/dev/null || true"); left != "1" {
		t.Errorf("it is still there: %s", left)
	}
}

func TestIdentityFileWithBlanksInItsName(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	inShell(t, workstation, "install -m 600 /root/.ssh/id_ed25519 '"+s.dir+"/my own key'")
	s.inventory.Lines = fmt.Sprintf("identity_files = [%q]", s.dir+"/my own key")
	s.faulty("1", nil)
	s.startSwitch(command{env: []string{"HOME=" + s.dir, "NIX_SSHOPTS=-o 'ProxyCommand=false blank'"}}).wait().requireCommittedNow(s)
}

func TestNoProcessOutlivesTheDeployer(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(payload)
	limitBandwidth(s, slowLine)
	for name, end := range map[string]func(*run){
		"killed":      (*run).kill,
		"interrupted": func(r *run) { r.interrupt().require("interrupted", 10) },
	} {
		r := s.startSwitch(command{})
		r.await("some of the copy", func(e event.Event) bool { return e.Phase == event.Copy && e.Progress != nil && e.Progress.Done > 0 })
		if running := s.children(); running == "" {
			t.Fatalf("%s: no child to outlive it", name)
		}
		end(r)
		eventually(t, 20*time.Second, func() string { return s.children() })
		eventually(t, 20*time.Second, func() string { return s.on("pgrep -af '[h]deploy-agent-.* serve' || true") })
	}
}

// children are the programs that a deployment of this site has started.
func (s *site) children() string {
	s.t.Helper()
	return inShell(s.t, workstation, "for p in /proc/[0-9]*; do tr '\\0' '\\n' 2>/dev/null < $p/environ | grep -qx XDG_STATE_HOME="+s.dir+"/state && [ $(tr '\\0' ' ' < $p/cmdline | cut -c1-15) != /hdeploy/hdeploy ] && tr '\\0' ' ' < $p/cmdline; done; true")
}

func TestClosureThatRunsWhileTheProfilePointsElsewhere(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	systems := s.committed("1", "2")
	s.on("nix-env -p /nix/var/nix/profiles/system --rollback")
	before := s.snapshot()
	s.deploy().requireCommitted(s, systems[1])
	if touched := restarted(before, s.snapshot()); len(touched) > 0 {
		t.Errorf("what ran already was touched: %s", touched)
	}
	// Without a deployment, what runs is what a person goes back to.
	s.on("nix-env -p /nix/var/nix/profiles/system --rollback")
	s.rollback().requireCommitted(s, systems[1])
}
