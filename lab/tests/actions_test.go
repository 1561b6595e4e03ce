//go:build lab

package tests

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// missingUnit is a probe that every system of the lab fails.
func (s *site) missingUnit(policy string) {
	s.inventory.Probes = `["web"]`
	s.inventory.Tables = fmt.Sprintf("[probes.web]\nkind = \"unit\"\nunit = \"web.service\"\ndeadline = \"1s\"\non_fail = %q\n", policy)
}

func (s *site) noProbes() { s.inventory.Probes, s.inventory.Tables = "", "" }

// requireUnitsUntouched checks that the same units run, in the same invocations.
func requireUnitsUntouched(t *testing.T, before, after snapshot) {
	t.Helper()
	if after.Running != before.Running {
		t.Errorf("it runs %s, not %s", after.Running, before.Running)
	}
	requireEqual(t, "units", subStates(before.Units), subStates(after.Units))
	if touched := restarted(before, after); len(touched) > 0 {
		t.Errorf("these were restarted: %s", touched)
	}
}

// requireBootsAsBefore checks that profile, generations and boot loader are as they
// were, and that the old system is what the loader's files name.
func requireBootsAsBefore(s *site, before, after snapshot) {
	s.t.Helper()
	if after.Profile != before.Profile || after.BootText != before.BootText {
		s.t.Errorf("the profile was %s and is %s; it boots\n%s", before.Profile, after.Profile, after.BootText)
	}
	requireEqual(s.t, "generations", before.Generations, after.Generations)
	requireEqual(s.t, "/boot", before.Boot, after.Boot)
	requireBoots(s.t, s, before.Generations[before.Profile])
}

func (s *site) reboot() {
	s.t.Helper()
	if err := s.host.Reboot(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.awaitBoot()
}

func TestBootChangesNothingBeforeTheNextBoot(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			s.missingUnit("rollback") // nothing new runs that could be judged
			before := s.snapshot()
			s.configure(settings{"revision": "staged", "kernel": "6.12.31"})
			s.run("boot", "--dry-run").require("previewed", 0)
			requireUntouched(t, before, s.snapshot())

			r := s.run("boot").require("staged", 0)
			after := s.snapshot()
			requireUnitsUntouched(t, before, after)
			requireNothingLeft(t, after)
			if after.Generations[after.Profile] != r.Outcome.Closure || len(after.Generations) != len(before.Generations)+1 {
				t.Errorf("the profile is %s of %v", after.Profile, after.Generations)
			}
			requireBoots(t, s, r.Outcome.Closure)
			if r.Outcome.Running != before.Running || r.Outcome.Boots != r.Outcome.Closure || !r.Outcome.RebootNeeded {
				t.Errorf("the outcome tells otherwise: %+v", r.Outcome)
			}
			s.run("boot").require("unchanged", 0)
			requireUntouched(t, after, s.snapshot())

			s.reboot()
			requireRuns(t, s.snapshot(), r.Outcome.Closure)
			s.noProbes()
			s.deploy().require("unchanged", 0)
		})
	}
}

// What a running system refuses to be switched to is what boot is for.
func TestBootTakesWhatCannotBeSwitchedTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "inhibited", "switchInhibitors": settings{"dbus": "another one"}})
	s.run("test").require("refused", 5).requireFailure("dbus", "hdeploy boot "+hostName)
	r := s.run("boot").require("staged", 0)
	s.reboot()
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

func TestTestIsNeverTheBootDefault(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			before := s.snapshot()
			s.configure(settings{"revision": "tested"})
			r := s.run("test").require("tested", 0)
			after := s.snapshot()
			if after.Running != r.Outcome.Closure || r.Outcome.Running != r.Outcome.Closure {
				t.Errorf("it runs %s, not %s: %+v", after.Running, r.Outcome.Closure, r.Outcome)
			}
			requireBootsAsBefore(s, before, after)
			requireNothingLeft(t, after)
			requireEqual(t, "confirmed systems", confirmed(before.Roots), confirmed(after.Roots))
			s.run("test").require("unchanged", 0)
			requireUntouched(t, after, s.snapshot())

			s.powerCut()
			s.powerOn()
			requireRestoredByBoot(t, before, s.snapshot())

			// The same system passes its test again, and is then made the boot default
			// without being activated a second time.
			s.run("test").require("tested", 0)
			tested := s.snapshot()
			s.deploy().require("committed", 0)
			committed := s.snapshot()
			requireUnitsUntouched(t, tested, committed)
			requireRuns(t, committed, r.Outcome.Closure)
			requireBoots(t, s, r.Outcome.Closure)
		})
	}
}

func TestPowerCutInTheTrialOfATestBootsTheOldSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(waitsFor)
	s.faulty("never confirmed", nil)
	r := s.startSwitch(command{name: "test"})
	r.awaitPhase(event.Verify, event.Started)
	s.powerCut()
	r.kill()
	s.powerOn()
	requireRestoredByBoot(t, before, takeSnapshot(t, s.host))
	requireTellsOfRestart(s)
}

func TestTestGoesBackAsASwitchDoes(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("locked out", settings{"firewallDropSsh": true})
	s.run("test").require("rolled-back", 7).requireFailure("could not be reached over a new connection")
	requireRestored(t, before, s.snapshot())

	s.configure(settings{"revision": "probed"})
	s.missingUnit("rollback")
	s.run("test").require("rolled-back", 7).requireFailure("web.service is not-found")
	requireRestored(t, before, s.snapshot())

	s.configure(settings{"revision": "alerted"})
	s.missingUnit("alert")
	r := s.run("test").require("degraded", 9)
	after := s.snapshot()
	if after.Running != r.Outcome.Closure {
		t.Errorf("it runs %s, not %s", after.Running, r.Outcome.Closure)
	}
	requireBootsAsBefore(s, before, after)
	s.requireWorks()
}

func TestNoRollbackKeepsWhatFailedAndBootsTheOldSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.missingUnit("rollback")
	s.configure(settings{"revision": "kept"})
	r := s.deploy("--no-rollback").require("kept", 8)
	r.requireFailure("web.service is not-found", "NOTHING WAS TAKEN BACK", r.Outcome.Closure, "boots "+before.Running,
		"hdeploy rollback "+hostName, "reboot")
	if !r.noted("--no-rollback") {
		t.Errorf("it is not told from the beginning; %s", r.story())
	}
	after := s.snapshot()
	if after.Running != r.Outcome.Closure || r.Outcome.Running != r.Outcome.Closure || r.Outcome.Boots != before.Running {
		t.Errorf("it runs %s; %+v", after.Running, r.Outcome)
	}
	requireBootsAsBefore(s, before, after)
	requireNothingLeft(t, after)
	s.awaitState("kept")

	// It stands in nobody's way.
	s.noProbes()
	s.configure(settings{"revision": "mended"})
	mended := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), mended.Outcome.Closure)
	requireBoots(t, s, mended.Outcome.Closure)
}

func TestNoRollbackIsOverWithTheNextBoot(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("kept", settings{"failUnit": "at-once"})
	r := s.run("test", "--no-rollback").require("kept", 8).requireFailure("lab-failing.service")
	if running := s.on("readlink -f /run/current-system"); running != r.Outcome.Closure {
		t.Errorf("it runs %s", running)
	}
	s.powerCut()
	s.powerOn()
	requireRestoredByBoot(t, before, s.snapshot())
}

// A system that nobody can reach is of no use to anybody.
func TestNoRollbackOfASystemThatLocksOutGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("locked out", settings{"firewallDropSsh": true})
	s.deploy("--no-rollback").require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
}

func TestRejectedSystemIsRefusedUntilSomebodyInsists(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.missingUnit("rollback")
	s.configure(settings{"revision": "rejected"})
	s.deploy().require("rolled-back", 7)
	before := s.snapshot()
	s.noProbes()
	for _, name := range []string{"switch", "boot", "test"} {
		r := s.startSwitch(command{name: name, env: []string{"CI=true"}}).wait().require("refused", 5)
		r.requireFailure("rejected on the host before", "--force")
		requireUntouched(t, before, s.snapshot())
	}
	// A person at a terminal may try once more without insisting.
	s.write("deploy.toml", s.inventory.String())
	typed := fmt.Sprintf("cd %s && XDG_STATE_HOME=%s/state script -qec '/hdeploy/hdeploy switch %s --dry-run' /dev/null", s.dir, s.dir, hostName)
	if answer := inShell(t, workstation, typed); !strings.Contains(answer, "previewed") {
		t.Errorf("with a terminal: %s", answer)
	}
	insisting := command{args: []string{"--force"}, env: []string{"CI=true"}}
	r := s.startSwitch(insisting).wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

func TestFrozenHostIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on(`mkdir -p -m 700 /var/lib/hdeploy
echo '{"owner":"ann@desk","message":"release day","since":"2026-11-23T12:00:00Z"}' > /var/lib/hdeploy/freeze.json`)
	before := s.snapshot()
	s.configure(settings{"revision": "frozen"})
	for _, name := range []string{"switch", "boot", "test"} {
		s.run(name).require("refused", 5).requireFailure("frozen by ann@desk", "release day", "hdeploy unlock "+hostName)
		requireUntouched(t, before, s.snapshot())
	}
	// Neither is a change of the host.
	s.run("dry-activate").require("previewed", 0)
	s.run("push").require("pushed", 0)
	requireUntouched(t, before, s.snapshot())
	r := s.deploy("--force").require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

func TestDryActivateShowsTheUnitsAndChangesNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	unit := func(flags, seconds string) string {
		return "[Unit]\nDescription=Changes\n" + flags + "[Service]\nExecStart=/bin/sleep " + seconds + "\nExecReload=/bin/true\n"
	}
	s.configure(settings{"revision": "1", "extraUnits": settings{
		"gone.service": unit("", "1d"), "reloaded.service": unit("X-ReloadIfChanged=true\n", "1d"), "kept.service": unit("X-RestartIfChanged=false\n", "1d"),
	}})
	s.deploy().require("committed", 0)
	before := s.snapshot()
	s.configure(settings{"revision": "2", "extraUnits": settings{
		"reloaded.service": unit("X-ReloadIfChanged=true\n", "2d"), "kept.service": unit("X-RestartIfChanged=false\n", "2d"),
	}})
	r := s.run("dry-activate").require("previewed", 0)
	requireUntouched(t, before, s.snapshot())
	c := r.Outcome.Changes
	if c == nil {
		t.Fatalf("no changes are told; %s", r.story())
	}
	for what, pair := range map[string][2][]string{
		"stop": {c.Stop, {"gone.service"}}, "reload": {c.Reload, {"reloaded.service"}}, "keep": {c.Keep, {"kept.service"}},
	} {
		if !slices.Contains(pair[0], pair[1][0]) {
			t.Errorf("%s: %v lacks %v", what, pair[0], pair[1])
		}
	}
	if touched := slices.Concat(c.Stop, c.Start, c.Restart); !slices.Contains(touched, "lab-marker.service") {
		t.Errorf("lab-marker.service is not told: %+v", c)
	}
	if s.on("ls -d "+r.Outcome.Closure) == "" || s.on("cat /run/lab-marker") != "1" {
		t.Error("it was not copied, or it was activated")
	}

	// The same in words.
	s.write("deploy.toml", s.inventory.String())
	text := inShell(t, workstation, "cd "+s.dir+" && XDG_STATE_HOME="+s.dir+"/state /hdeploy/hdeploy dry-activate --output quiet "+hostName)
	for _, line := range []string{"would stop:     gone.service", "would reload:   reloaded.service", "would NOT stop: kept.service"} {
		if !strings.Contains(text, line) {
			t.Errorf("the answer does not say %q:\n%s", line, text)
		}
	}
	requireUntouched(t, before, s.snapshot())

	s.faulty("cannot be switched to", settings{"stcExit": 100})
	s.run("dry-activate").require("refused", 5).requireFailure("can only be booted", "hdeploy boot "+hostName)
	requireUntouched(t, before, s.snapshot())
}

func TestPushCopiesAndKeepsAndChangesNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.configure(settings{"revision": "0", "payloadMiB": 2})
	s.run("push", "--dry-run").require("previewed", 0)
	var pushed []string
	for i := range 3 {
		s.configure(settings{"revision": fmt.Sprint(i), "payloadMiB": 2})
		r := s.run("push").require("pushed", 0)
		s.run("push").require("pushed", 0)
		pushed = append(pushed, r.Outcome.Closure)
		after := s.snapshot()
		requireUntouched(t, before, after)
		want := map[string]string{"pushed-1": pushed[i]}
		if i > 0 {
			want["pushed-2"] = pushed[i-1]
		}
		roots := maps.Clone(after.Roots)
		maps.DeleteFunc(roots, func(name, _ string) bool { return !strings.HasPrefix(name, "pushed-") })
		requireEqual(t, "pushed roots", want, roots)
		if kept := inShell(t, workstation, "readlink "+s.dir+"/state/hdeploy/roots/"+hostName+"/system"); kept != pushed[i] {
			t.Errorf("here %s is kept", kept)
		}
	}
	s.on("nix-store --gc >/dev/null 2>&1; ls -d " + pushed[1] + " " + pushed[2])
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), pushed[2])
	if copied := r.awaitPhase(event.Copy, event.Done); strings.Contains(copied.Step.Detail, "MiB") {
		t.Errorf("what was pushed was copied again: %s", copied.Step.Detail)
	}
}

func TestBuildContactsNoHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "built"})
	s.powerCut()
	r := s.run("build").require("previewed", 0)
	if !r.noted("no host was contacted") {
		t.Error(r.story())
	}
	path := inShell(t, workstation, "cd "+s.dir+" && XDG_STATE_HOME="+s.dir+"/state /hdeploy/hdeploy build "+hostName+" 2>/dev/null")
	if path != r.Outcome.Closure {
		t.Errorf("standard output is %q", path)
	}
	inShell(t, workstation, "test -x "+path+"/bin/switch-to-configuration")
}

func TestRecordKnowsTheCommitAndWhetherTheTreeWasDirty(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "committed"})
	// The workstation has no git: a copy of the tree is committed on this machine.
	flake := fmt.Sprintf("/proc/%d/root%s/flake", workstation.LeaderPID(), s.dir)
	git := exec.CommandContext(t.Context(), "sh", "-euc", `cp -R "$0/." .; git init --quiet; git add .
git -c user.name=ann -c user.email=ann@desk commit --quiet --message=first
cp -R .git "$0/"; git rev-parse HEAD`, flake)
	git.Dir = t.TempDir()
	output, err := git.CombinedOutput()
	if err != nil {
		t.Fatalf("git: %v: %s", err, output)
	}
	commit := strings.TrimSpace(string(output))
	s.deploy().require("committed", 0)
	if record := s.record(); !strings.Contains(record, `"revision":"`+commit+`"`) || strings.Contains(record, `"dirty"`) {
		t.Errorf("the commit is %s, and the record says %s", commit, record)
	}
	s.configure(settings{"revision": "with changes"})
	s.deploy().require("committed", 0)
	if record := s.record(); !strings.Contains(record, `"revision":"`+commit+`","dirty":true`) {
		t.Errorf("the commit is %s with changes, and the record says %s", commit, record)
	}
}
