//go:build lab

package tests

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// severalProfiles are a home and an app beside the system; the app is deployed last.
const severalProfiles = `
[hosts.` + hostName + `.profiles.home]
kind = "home-manager"
user = "admin"
attribute = "profiles.home"
after = ["system"]
[hosts.` + hostName + `.profiles.app]
kind = "custom"
attribute = "profiles.app"
activate = ["bin/apply"]
after = ["home"]
`

// several is a host with a system, a home and an app.
type several struct{ *site }

func newSeveral(t *testing.T) several {
	s := several{newSite(t, lab.HostOptions{Loader: lab.GRUB})}
	s.inventory.Tables = severalProfiles
	s.revision("1", nil)
	first := s.deploy().require("committed", 0)
	var names []string
	for _, p := range first.Outcome.Profiles {
		names = append(names, p.Profile+" "+p.Kind+" "+p.Outcome)
	}
	if want := []string{"system nixos committed", "home home-manager committed", "app custom committed"}; !slices.Equal(names, want) {
		t.Fatalf("the profiles are told as %q", names)
	}
	return s
}

func (s several) revision(number string, app settings) {
	s.t.Helper()
	s.configure(settings{"revision": number})
	s.profile("home", settings{"kind": "home-manager", "revision": number})
	s.profile("app", settings{"kind": "custom", "revision": number}, app)
}

// state is all that the profiles are.
func (s several) state() string {
	s.t.Helper()
	return s.on(`readlink -f /run/current-system; ls -l /nix/var/nix/profiles /nix/var/nix/profiles/per-user/root /home/admin/.local/state/nix/profiles | sed -n 's/.* \([^ ]* -> .*\)/\1/p'
cat /home/admin/lab-home /root/lab-app; ls -a /home/admin /home/admin/.config/lab | grep -e only -e home || true`)
}

func (s several) requireState(want string) {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, func() string {
		if got := s.state(); got != want {
			return "the state\n" + got + "\ninstead of\n" + want
		}
		return ""
	})
}

// ended lists the profiles of the host by when their last transactions ended.
func (s several) ended() []string {
	return strings.Fields(s.on(`cd /var/lib/hdeploy; for r in transaction.json per-profile/*/transaction.json; do
  echo "$(sed 's/.*"ended":"\([^"]*\)".*/\1/' "$r") $r"; done | sort | sed 's/.* //; s/.transaction.json//; s/.*\///; s/transaction.json/system/'`))
}

func TestSeveralProfilesAreKeptTogetherOrNotAtAll(t *testing.T) {
	s := newSeveral(t)
	before := s.state()

	s.deploy().require("unchanged", 0)

	// A later one that fails takes the earlier ones back, the last one first.
	s.revision("2", settings{"exit": 3})
	failed := s.deploy().require("rolled-back", 7).requireFailure("activation program failed")
	s.requireState(before)
	for i, want := range []string{"profile app failed", "profile app failed", "the activation program failed (exit 3)"} {
		if p := failed.Outcome.Profiles[i]; p.Outcome != "rolled-back" || p.Failure == nil || !strings.Contains(p.Failure.Cause, want) {
			t.Errorf("profile %s is told as %s: %+v", p.Profile, p.Outcome, p.Failure)
		}
	}
	if order := s.ended(); !slices.Equal(order, []string{"app", "home", "system"}) {
		t.Errorf("the profiles went back in the order %q", order)
	}

	// Only one differs: the others are not touched.
	s.revision("1", settings{"revision": "3"})
	only := s.deploy().require("committed", 0)
	var words []string
	for _, p := range only.Outcome.Profiles {
		words = append(words, p.Outcome)
	}
	if want := []string{"unchanged", "unchanged", "committed"}; !slices.Equal(words, want) {
		t.Errorf("the profiles ended as %q", words)
	}
}

// heldInTrial has a new revision of all profiles in trial, and a deployer who waits.
func (s several) heldInTrial() *run {
	s.t.Helper()
	s.revision("2", nil)
	s.hold(15 * time.Second)
	probes := s.inventory.Tables
	s.inventory.Probes = ""
	s.inventory.Tables = severalProfiles + "probes = [\"hold\"]\n" + probes
	r := s.startSwitch(command{})
	r.await("the last profile in trial", func(e event.Event) bool {
		return e.Profile == "app" && e.Phase == event.Verify && e.Step != nil && e.Step.Status == event.Started
	})
	if state := s.state(); !strings.Contains(state, ".only-2") {
		s.t.Fatalf("the home is not in trial: %s", state)
	}
	return r
}

func TestSilenceTakesSeveralProfilesBack(t *testing.T) {
	s := newSeveral(t)
	s.inventory.Timeouts = strings.ReplaceAll(shortTimeouts, `"40s"`, `"15s"`)
	before := s.state()
	s.heldInTrial().kill()
	s.requireState(before)
}

func TestPowerCutTakesSeveralProfilesBack(t *testing.T) {
	s := newSeveral(t)
	before := s.state()
	held := s.heldInTrial()
	s.powerCut()
	s.powerOn()
	held.kill()
	s.requireState(before)
}

func TestInterruptTakesSeveralProfilesBack(t *testing.T) {
	s := newSeveral(t)
	before := s.state()
	held := s.heldInTrial()
	if err := held.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	held.wait().require("interrupted", 10)
	s.requireState(before)
}

// A profile that cannot be committed, after others were, takes these back.
func TestCommitThatFailsTakesCommittedProfilesBack(t *testing.T) {
	s := newSeveral(t)
	system := s.snapshot()
	home := s.on("readlink /home/admin/.local/state/nix/profiles/home-manager; cat /home/admin/lab-home")
	s.revision("2", nil)
	s.inventory.Tables = severalProfiles + "path = \"/proc/app\"\nrollback = [\"bin/undo\"]\n"
	failed := s.deploy().require("rolled-back", 7).requireFailure("the commit failed")
	for _, p := range failed.Outcome.Profiles {
		if p.Outcome != "rolled-back" {
			t.Errorf("profile %s is told as %s: %+v", p.Profile, p.Outcome, p.Failure)
		}
	}
	after := s.snapshot()
	requireRuns(t, after, system.Running)
	requireBoots(t, s.site, system.Running)
	if now := s.on("readlink -f /home/admin/.local/state/nix/profiles/home-manager; cat /home/admin/lab-home"); !strings.HasSuffix(now, "\n1") || strings.Contains(home, now) {
		t.Errorf("the home is %q", now)
	}
	if app := s.on("cat /root/lab-app"); !strings.HasPrefix(app, "undone") {
		t.Errorf("the app is %q", app)
	}
}

// One that has gone back by itself, while the deployer looked elsewhere, takes the
// others back before any of them is committed.
func TestProfileThatWentBackIsKnownBeforeTheOthersAreCommitted(t *testing.T) {
	s := newSeveral(t)
	before := s.state()
	held := s.heldInTrial()
	s.on("systemctl kill --signal=KILL $(systemctl list-units --plain --no-legend 'hdeploy-*-supervisor.service' | grep 'profile home' | cut -d' ' -f1)")
	eventually(t, 30*time.Second, func() string {
		if !strings.Contains(s.on("cat /var/lib/hdeploy/per-profile/home/transaction.json"), `"state":"rolled-back"`) {
			return "the home has not gone back"
		}
		return ""
	})
	s.release()
	held.wait().require("rolled-back", 7)
	s.requireState(before)
	if made := s.on("ls /nix/var/nix/profiles | grep -c 'system-.*-link'"); made != "2" {
		t.Errorf("the system has %s generations", made)
	}
}

func TestDeployRsWrapperOfASystemIsTheSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.configure(settings{"revision": "1"})
	s.profile("system", settings{"kind": "deploy-rs", "wraps": "nixos", "system": hostName})
	s.inventory.Lines = "system = false"
	s.inventory.Tables = fmt.Sprintf("[hosts.%s.profiles.system]\nkind = \"deploy-rs\"\nattribute = \"profiles.system\"\n", hostName)
	first := s.deploy().require("committed", 0)
	after := s.snapshot()
	requireRuns(t, after, first.Outcome.Closure)
	if strings.Contains(first.Outcome.Closure, "deploy-rs") || !strings.Contains(first.Outcome.Closure, "-nixos-system-") {
		t.Errorf("the profile points at %s", first.Outcome.Closure)
	}
	s.deploy().require("unchanged", 0)

	s.profile("system", settings{"kind": "deploy-rs", "wraps": "darwin"})
	s.deploy().require("refused", 5).requireFailure("nix-darwin")
	s.profile("system", settings{"kind": "deploy-rs", "wraps": "custom"})
	s.deploy().require("refused", 5).requireFailure("no NixOS system")
	requireUntouched(t, after, s.snapshot())
}
