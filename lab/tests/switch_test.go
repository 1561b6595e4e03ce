//go:build lab

package tests

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

func TestFirstDeploymentThenUnchangedThenChanged(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			services := settings{"revision": "1", "configurationLimit": 2, "opnix": settings{}, "hercules": settings{"restarter": false}}
			s.inventory.Probes = `["onepassword-secrets", "hercules-ci-agent"]`
			s.inventory.Tables = quickHercules

			factory := s.snapshot()
			s.configure(services)
			first := s.deploy().require("committed", 0)
			before := s.snapshot()
			requireRuns(t, before, first.Outcome.Closure)
			requireNothingLeft(t, before)
			if len(before.Generations) != len(factory.Generations)+1 {
				t.Errorf("the first deployment made %d generations", len(before.Generations)-len(factory.Generations))
			}
			if before.Roots["confirmed-1"] != first.Outcome.Closure {
				t.Errorf("the confirmed system is not rooted: %v", before.Roots)
			}
			requireBoots(t, s, first.Outcome.Closure)

			unchanged := s.deploy().require("unchanged", 0)
			requireUntouched(t, before, s.snapshot())
			if unchanged.Outcome.Closure != first.Outcome.Closure {
				t.Errorf("the same flake gave another closure")
			}

			for _, revision := range []string{"2", "3"} {
				services["revision"] = revision
				s.configure(services)
				changed := s.deploy().require("committed", 0)
				after := s.snapshot()
				requireRuns(t, after, changed.Outcome.Closure)
				requireNothingLeft(t, after)
				requireBoots(t, s, changed.Outcome.Closure)
				if touched := restarted(before, after); !slices.Equal(touched, []string{"lab-marker.service"}) {
					t.Errorf("a new revision restarted %s", touched)
				}
				if lost := lostGenerations(before, after); len(lost) > 0 {
					t.Errorf("generations are gone: %s", lost)
				}
				before = after
			}

			if err := s.host.PowerCut(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.host.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			requireRuns(t, s.snapshot(), before.Running)
			s.deploy().require("unchanged", 0)
		})
	}
}

// quickHercules waits less for the agent to prove itself: here nothing restarts it.
const quickHercules = `
[probes.hercules-ci-agent]
settle = "1s"
quiet = "3s"
interval = "1s"
soak = "1s"
deadline = "30s"
[probes.onepassword-secrets]
deadline = "20s"
`

// requireBoots checks, without hdeploy's eyes, that the loader's files name a system.
func requireBoots(t *testing.T, s *site, system string) {
	t.Helper()
	text := s.on(`if [ -e /boot/grub/grub.cfg ]; then sed -n '/^menuentry/,/^}/p' /boot/grub/grub.cfg | sed '/^}/q'
else cat /boot/loader/entries/"$(sed -n 's/^default *//p' /boot/loader/loader.conf)"; fi`)
	if !strings.Contains(text, system+"/init") {
		t.Errorf("it does not boot %s:\n%s", system, text)
	}
}

// restarted names the services that run in both snapshots, in different invocations.
func restarted(before, after snapshot) []string {
	var names []string
	for id, was := range before.Units {
		if is, ok := after.Units[id]; ok && is.Invocation != was.Invocation && strings.HasSuffix(id, ".service") {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	return names
}

func lostGenerations(before, after snapshot) []string {
	lost := maps.Clone(before.Generations)
	maps.DeleteFunc(lost, func(link, _ string) bool { return after.Generations[link] != "" })
	return slices.Sorted(maps.Keys(lost))
}

func TestDryRunChangesNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "dry"})
	before := s.snapshot()
	paths := s.on("ls /nix/store | wc -l")
	r := s.deploy("--dry-run").require("previewed", 0)
	requireUntouched(t, before, s.snapshot())
	if after := s.on("ls /nix/store | wc -l"); after != paths {
		t.Errorf("the dry run copied: %s store paths became %s", paths, after)
	}
	if !r.noted(before.Running, r.Outcome.Closure) {
		t.Errorf("the plan does not name both systems; %s", r.story())
	}
}
