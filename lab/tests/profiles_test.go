//go:build lab

package tests

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// profileKind is one kind of profile as the conformance suite sees it.
type profileKind struct {
	name string
	// lines are those of the profile's table in deploy.toml; link is the profile.
	lines, link string
	// fixed are the settings of the closure beside its revision and its faults.
	fixed settings
	// failing and checked are faults: an activation that fails, a check that fails, none
	// where the kind has none. says is what is told of them.
	failing, checked settings
	says             [2]string
	// system says that it is the host's NixOS system.
	system bool
}

const (
	profileName  = "app"
	owner        = "admin"
	ownProfiles  = "/home/admin/.local/state/nix/profiles/"
	profileTable = "[hosts." + hostName + ".profiles." + profileName + "]\nattribute = \"profiles.app\"\n"
)

func profileKinds() []profileKind {
	kinds := []profileKind{
		{name: "home-manager", lines: "kind = \"home-manager\"\nuser = \"admin\"\n", link: ownProfiles + "home-manager",
			fixed: settings{"kind": "home-manager"}, failing: settings{"exit": 3}},
		{name: "home-manager-legacy", lines: "kind = \"home-manager\"\nuser = \"admin\"\n", link: ownProfiles + "home-manager",
			fixed: settings{"kind": "home-manager", "legacy": true}, failing: settings{"exit": 3}},
		{name: "custom", lines: "kind = \"custom\"\nuser = \"admin\"\nactivate = [\"bin/apply\", \"now\"]\ncheck = [\"bin/check\"]\n", link: ownProfiles + profileName,
			fixed: settings{"kind": "custom"}, failing: settings{"exit": 3}, checked: settings{"check": 1}},
		{name: "custom-root", lines: "kind = \"custom\"\nactivate = [\"bin/apply\"]\n", link: "/nix/var/nix/profiles/per-user/root/" + profileName,
			fixed: settings{"kind": "custom"}, failing: settings{"exit": 4}},
		{name: "deploy-rs", lines: "kind = \"deploy-rs\"\nuser = \"admin\"\n", link: ownProfiles + profileName,
			fixed: settings{"kind": "deploy-rs"}, failing: settings{"exit": 3}},
		{name: "deploy-rs-home", lines: "kind = \"deploy-rs\"\nuser = \"admin\"\n", link: ownProfiles + "home-manager",
			fixed: settings{"kind": "deploy-rs", "wraps": "home-manager"}, failing: settings{"exit": 3}},
		{name: "nixos", link: "/nix/var/nix/profiles/system", system: true, failing: settings{"activateExit": 3}, checked: settings{"failUnit": "at-once"},
			says: [2]string{"activation script failed", "lab-failing.service"}},
	}
	for i := range kinds {
		if !kinds[i].system {
			kinds[i].says = [2]string{"the activation program failed", "check of app"}
		}
	}
	return kinds
}

// profile writes the closure of a profile.
func (s *site) profile(name string, all ...settings) {
	s.t.Helper()
	merged := settings{}
	for _, some := range all {
		for key, value := range some {
			merged[key] = value
		}
	}
	data, err := json.Marshal(merged)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := workstation.WriteFile(s.t.Context(), path.Join(s.dir, "flake/profiles", name+".json"), data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// standing is what a profile is on its host: what was activated, and the profile.
type standing struct{ active, generation, closure, generations string }

func (s *site) standing(k profileKind) standing {
	s.t.Helper()
	home := "/home/" + owner
	active := func() string { return s.on("cat " + home + "/lab-" + profileName + " 2>/dev/null || true") }
	if k.system {
		active = func() string { return s.on("cat /run/lab-marker 2>/dev/null || true") }
	}
	if strings.HasPrefix(k.link, "/nix") {
		home = "/root"
	}
	return standing{
		active:      active(),
		generation:  s.on("readlink " + k.link + " || true"),
		closure:     s.on("readlink -f " + k.link + " || true"),
		generations: s.on("ls -d " + k.link + "-*-link 2>/dev/null || true"),
	}
}

// requireStanding fails the test unless the profile stands as it stood.
func (s *site) requireStanding(k profileKind, want standing) {
	s.t.Helper()
	if got := s.standing(k); got != want {
		s.t.Fatalf("the profile stands at %+v, not at %+v", got, want)
	}
}

// TestProfileKindsConform runs the same cases against every kind of profile.
func TestProfileKindsConform(t *testing.T) {
	t.Parallel()
	for _, k := range profileKinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
			declared := profileTable + k.lines
			s.inventory.Lines, s.inventory.Tables = "system = false", declared
			revision := func(number string, faults settings) {
				s.profile(profileName, k.fixed, settings{"revision": number}, faults)
			}
			rollback := []string{"--profile", profileName, "--yes"}
			if k.system {
				declared = ""
				s.inventory.Lines, s.inventory.Tables = "", ""
				revision = s.faulty
				rollback = []string{"--yes"}
			}

			// There is nothing before the first one: a home loses its links, and what else
			// was changed can only be told.
			before := s.standing(k)
			revision("0", k.failing)
			if k.system {
				s.deploy().require("rolled-back", 7)
				s.requireStanding(k, before) // it came with the host
			} else if strings.HasPrefix(k.link, ownProfiles+"home-manager") {
				s.deploy().require("rolled-back", 7)
				if left := s.on("ls -d /home/admin/.only-0 " + k.link + "* 2>/dev/null || true"); left != "" {
					t.Errorf("left of the first generation: %s", left)
				}
			} else {
				s.deploy().require("rollback-failed", 8).requireFailure("there was nothing in profile app before")
			}

			revision("1", nil)
			first := s.deploy().require("committed", 0)
			one := s.standing(k)
			if !strings.HasPrefix(one.active, "1") || one.closure != first.Outcome.Closure {
				t.Fatalf("after the first deployment of %s: %+v", first.Outcome.Closure, one)
			}
			s.deploy().require("unchanged", 0)
			s.requireStanding(k, one)

			revision("2", nil)
			second := s.deploy().require("committed", 0)
			two := s.standing(k)
			if !strings.HasPrefix(two.active, "2") || two.closure != second.Outcome.Closure || second.Outcome.Previous != first.Outcome.Closure {
				t.Fatalf("after the second deployment: %+v, %+v", two, second.Outcome)
			}

			revision("3", k.failing)
			s.deploy().require("rolled-back", 7).requireFailure(k.says[0])
			s.requireStanding(k, two)

			if k.checked != nil {
				revision("4", k.checked)
				s.deploy().require("rolled-back", 7).requireFailure(k.says[1])
				s.requireStanding(k, two)
			}

			revision("5", nil)
			s.hold(15 * time.Second)
			s.inventory.Tables += declared
			held := s.startSwitch(command{})
			held.awaitPhase(event.Verify, event.Started)
			s.deploy().require("refused", 5).requireFailure("locked by")
			if active := s.standing(k).active; !strings.HasPrefix(active, "5") {
				t.Errorf("in trial is %q", active)
			}
			held.kill()
			eventually(t, time.Minute, func() string {
				if got := s.standing(k); got != two {
					return fmt.Sprintf("nobody confirmed, and the profile stands at %+v", got)
				}
				return ""
			})

			held = s.startSwitch(command{})
			held.awaitPhase(event.Verify, event.Started)
			s.powerCut()
			s.powerOn()
			held.kill()
			eventually(t, time.Minute, func() string {
				if got := s.standing(k); got != two {
					return fmt.Sprintf("after a power cut the profile stands at %+v", got)
				}
				return ""
			})

			// What was is recorded, and is not the generation before.
			s.inventory.Probes, s.inventory.Tables = "", declared
			revision("6", nil)
			s.deploy().require("committed", 0)
			revision("2", nil)
			s.deploy().require("committed", 0)
			again := s.standing(k)
			if again.closure != two.closure {
				t.Errorf("went back to %+v", again)
			}
			revision("7", k.failing)
			s.deploy().require("rolled-back", 7)
			s.requireStanding(k, again)

			// A person goes back to what was confirmed before.
			s.run("rollback", rollback...).require("committed", 0)
			if active := s.standing(k).active; !strings.HasPrefix(active, "6") {
				t.Errorf("after a rollback %q is active", active)
			}
			revision("2", nil)
			s.deploy().require("refused", 5).requireFailure("was rejected on the host before")
			if left := s.on("systemctl list-units --all --plain --no-legend 'hdeploy-*' | grep -v resume; ls /nix/var/nix/gcroots/hdeploy 2>/dev/null | grep -e '-new$' -e '-previous$' || true"); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}
