//go:build lab

package tests

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

// snapshot is everything about a host that hdeploy can change.
type snapshot struct {
	// Running is /run/current-system, Profile where the profile's link points.
	Running, Profile string
	// Generations maps the links of generations to their toplevels, Boot the
	// files below /boot to their hashes, BootText shows what boots.
	Generations, Boot map[string]string
	BootText          string
	// Units are those that are active.
	Units map[string]unitState
	// Failed are those that failed.
	Failed map[string]string
	// Roots maps hdeploy's garbage-collection roots to what they keep.
	Roots map[string]string
	// Left is everything that only lives as long as a transaction: hdeploy's units,
	// their files, the agent's copy, uploads, held locks, and the lists by which a
	// switch that was killed would be resumed.
	Left []string
}

type unitState struct{ Sub, Invocation, MainPID string }

// look prints a snapshot. Sections begin with "# ". That PID 1 still knows the unit
// for the next boot does no harm; that its file is there would.
const look = `
section() { echo "# $1"; }
links() { for l in $1; do [ -L "$l" ] && echo "${l##*/} $(readlink "$l")"; done; }
section running; readlink -f /run/current-system
section profile; readlink /nix/var/nix/profiles/system
section generations; links '/nix/var/nix/profiles/system-*-link'
section boot; find /boot -type f -exec sha256sum {} + | sort -k2
section boottext; cat /boot/loader/loader.conf /boot/grub/grub.cfg
section roots; links '/nix/var/nix/gcroots/hdeploy/*'
section units; systemctl show '*' -p Id,ActiveState,SubState,InvocationID,MainPID,Transient
section failed; systemctl list-units --all --failed --plain --no-legend | sed -n 's/^\([^ ]*\) .*/\1 failed/p'
section left
systemctl list-units --all --plain --no-legend 'hdeploy-*' | grep -v '^hdeploy-resume.service ' | sed 's/^/unit /'
find /etc/systemd/system.attached 2>/dev/null | sed 's/^/file /'
find /run/systemd/system /run/systemd/transient -name '*hdeploy-*' | sed 's/^/file /'
find /run/hdeploy -name agent | sed 's/^/file /'
find /root /home /tmp -maxdepth 2 -name '.hdeploy-*' | sed 's/^/upload /'
find /var/lib/hdeploy -name '*.tmp*' -o -path '/var/lib/hdeploy/*' -name '.upload-*' | sed 's/^/file /'
find /run/nixos -name '*-list' | sed 's/^/file /'
for l in /run/nixos/switch-to-configuration.lock /run/hdeploy/lock /run/hdeploy/*/actor.lock; do
  [ ! -e "$l" ] || flock -n "$l" true || echo "locked $l"
done
exit 0
`

func takeSnapshot(t *testing.T, host *lab.Host) snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	result, err := host.Exec(ctx, "sh", "-c", look)
	if err != nil {
		t.Fatalf("look at %s: %v", host.Name, err)
	}
	parts := map[string][]string{}
	section := ""
	for line := range strings.Lines(result.Stdout) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "# "); ok && section != "boottext" || ok && name == "roots" {
			section = name
			continue
		}
		parts[section] = append(parts[section], line)
	}
	return snapshot{
		Running: strings.Join(parts["running"], ""), Profile: strings.Join(parts["profile"], ""),
		Generations: pairs(parts["generations"], 0), Boot: pairs(parts["boot"], 1),
		BootText: strings.Join(parts["boottext"], "\n"), Roots: pairs(parts["roots"], 0),
		Units: activeUnits(parts["units"]), Failed: pairs(parts["failed"], 0), Left: parts["left"],
	}
}

// pairs reads lines of two words, of which word number key is the key.
func pairs(lines []string, key int) map[string]string {
	m := map[string]string{}
	for _, line := range lines {
		if words := strings.Fields(line); len(words) == 2 {
			m[words[key]] = words[1-key]
		}
	}
	return m
}

// passing are units that come and go by themselves: of logins, of timers, of the
// first boot, of whoever asks the bus or a socket.
var passing = regexp.MustCompile(`^(session-|user@|user-|run-user-|hdeploy-|sshd@|nix-daemon\.service|systemd-(hostnamed|timedated|localed|tmpfiles-clean|journal-flush|sysusers|update-done)|run-credentials-|network-online\.target|getty@|console-getty)|\.(device|slice|scope|mount|automount|swap)$`)

func activeUnits(lines []string) map[string]unitState {
	units := map[string]unitState{}
	values := map[string]string{}
	for _, line := range append(lines, "") {
		if key, value, ok := strings.Cut(line, "="); ok {
			values[key] = value
			continue
		}
		id := values["Id"]
		if id != "" && values["ActiveState"] == "active" && values["Transient"] != "yes" && !passing.MatchString(id) {
			units[id] = unitState{Sub: values["SubState"], Invocation: values["InvocationID"], MainPID: values["MainPID"]}
		}
		values = map[string]string{}
	}
	return units
}

// requireUntouched checks that nothing at all happened to a host.
func requireUntouched(t *testing.T, before, after snapshot) {
	t.Helper()
	requireRestored(t, before, after)
	for id, was := range before.Units {
		if is, ok := after.Units[id]; ok && is.Invocation != was.Invocation {
			t.Errorf("%s was touched: %+v became %+v", id, was, is)
		}
	}
}

// requireRestored checks that a host is exactly what it was, but for units that
// were started anew.
func requireRestored(t *testing.T, before, after snapshot) {
	t.Helper()
	if after.Running != before.Running {
		t.Errorf("it runs %s, not %s", after.Running, before.Running)
	}
	if after.Profile != before.Profile {
		t.Errorf("the profile is %s, not %s", after.Profile, before.Profile)
	}
	if after.BootText != before.BootText {
		t.Errorf("it boots\n%s\nnot\n%s", after.BootText, before.BootText)
	}
	requireEqual(t, "generations", before.Generations, after.Generations)
	requireEqual(t, "/boot", before.Boot, after.Boot)
	requireEqual(t, "roots", confirmed(before.Roots), confirmed(after.Roots))
	requireEqual(t, "units", subStates(before.Units), subStates(after.Units))
	requireEqual(t, "failed units", before.Failed, after.Failed)
	requireNothingLeft(t, after)
}

// requireNothingLeft checks that nothing of a finished transaction is left.
func requireNothingLeft(t *testing.T, after snapshot) {
	t.Helper()
	if len(after.Left) > 0 {
		t.Errorf("left of hdeploy:\n%s", strings.Join(after.Left, "\n"))
	}
	for name, kept := range after.Roots {
		if !lasting(name) {
			t.Errorf("left root %s of %s", name, kept)
		}
	}
}

// lasting are the roots that outlive what made them.
func lasting(root string) bool {
	return strings.HasPrefix(root, "confirmed-") || strings.HasPrefix(root, "pushed-") || strings.HasPrefix(root, "built-")
}

func confirmed(roots map[string]string) map[string]string {
	kept := maps.Clone(roots)
	maps.DeleteFunc(kept, func(name, _ string) bool { return !strings.HasPrefix(name, "confirmed-") })
	return kept
}

func subStates(units map[string]unitState) map[string]string {
	states := map[string]string{}
	for id, unit := range units {
		states[id] = unit.Sub
		if strings.HasSuffix(id, ".socket") { // whether somebody talks to it just now
			states[id] = "active"
		}
	}
	return states
}

func requireEqual(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	if maps.Equal(before, after) {
		return
	}
	var changes []string
	for key, was := range before {
		if is, ok := after[key]; !ok {
			changes = append(changes, fmt.Sprintf("%s %s is gone", key, was))
		} else if is != was {
			changes = append(changes, fmt.Sprintf("%s %s became %s", key, was, is))
		}
	}
	for key, is := range after {
		if _, ok := before[key]; !ok {
			changes = append(changes, fmt.Sprintf("%s %s is new", key, is))
		}
	}
	slices.Sort(changes)
	t.Errorf("%s:\n%s", what, strings.Join(changes, "\n"))
}

// snapshot waits until hdeploy has put its own things away, and looks then: the
// deployer learns of the end of a transaction just before that.
func (s *site) snapshot() snapshot {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		now := takeSnapshot(s.t, s.host)
		unfinished := slices.ContainsFunc(slices.Collect(maps.Keys(now.Roots)), func(name string) bool { return !lasting(name) })
		if len(now.Left) == 0 && !unfinished || time.Now().After(end) {
			return now
		}
	}
}

// requireWorks deploys a harmless change to a host that was rolled back, and
// checks that nothing is left of either run.
func (s *site) requireWorks() {
	s.t.Helper()
	probes, tables := s.inventory.Probes, s.inventory.Tables
	defer func() { s.inventory.Probes, s.inventory.Tables = probes, tables }()
	s.inventory.Probes, s.inventory.Tables = "", ""
	s.configure(settings{"revision": "after"})
	r := s.deploy().require("committed", 0)
	after := s.snapshot()
	requireRuns(s.t, after, r.Outcome.Closure)
	requireNothingLeft(s.t, after)
}

// requireRuns checks that a system runs, is the profile, and boots.
func requireRuns(t *testing.T, s snapshot, system string) {
	t.Helper()
	if s.Running != system {
		t.Errorf("it runs %s, not %s", s.Running, system)
	}
	if s.Generations[s.Profile] != system {
		t.Errorf("the profile is %s, which is %s, not %s", s.Profile, s.Generations[s.Profile], system)
	}
}
