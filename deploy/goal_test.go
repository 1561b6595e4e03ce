package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// requests are all commands that bring systems to hosts.
var requests = map[string]Request{
	"switch": {Action: transaction.Switch}, "boot": {Action: transaction.Boot}, "test": {Action: transaction.Test},
	"rollback": {Action: transaction.Rollback}, "push": {Goal: GoalPush}, "dry-activate": {Goal: GoalDryActivate}, "build": {Goal: GoalBuild},
}

// wanted is web1 in a run of a command.
func wanted(t *testing.T, command string) *hostRun {
	t.Helper()
	h := web1(t)
	h.run.Goal, h.run.Action = requests[command].Goal, requests[command].Action
	return h
}

func TestCommandsOfRequests(t *testing.T) {
	for command := range requests {
		if got := wanted(t, command).again(); got != "hdeploy "+command+" web1" {
			t.Errorf("%s: %s", command, got)
		}
	}
	h := wanted(t, "switch")
	h.run.Prebuilt = map[string]Prebuilt{h.Name: {Closure: "/nix/store/x-toplevel", File: "/srv/it's.json"}}
	if got, want := h.again(), `hdeploy switch web1 --closure /nix/store/x-toplevel --expectations '/srv/it'\''s.json'`; got != want {
		t.Errorf("a closure that was given: %s, want %s", got, want)
	}
	if got := (Request{}).command(); got != "switch" {
		t.Errorf("nothing said: %s", got)
	}
}

// What is already there differs: boot does not ask what runs, test not what boots,
// and what changes nothing is always done.
func TestUnchangedByAction(t *testing.T) {
	for command, want := range map[string]struct{ runs, boots, both bool }{
		"switch": {both: true}, "rollback": {both: true}, "boot": {boots: true, both: true}, "test": {runs: true, both: true},
		"push": {}, "dry-activate": {}, "build": {},
	} {
		unchanged := func(runs, boots bool) bool {
			h := wanted(t, command)
			if runs {
				h.facts.Running = h.system.OutPath
			}
			if boots {
				h.facts.Profile.Path, h.facts.Boots.System = h.system.OutPath, h.system.OutPath
			}
			return h.unchanged()
		}
		if got := unchanged(true, false); got != want.runs {
			t.Errorf("%s, it runs: %v", command, got)
		}
		if got := unchanged(false, true); got != want.boots {
			t.Errorf("%s, it boots: %v", command, got)
		}
		if got := unchanged(true, true); got != want.both {
			t.Errorf("%s, both: %v", command, got)
		}
		if unchanged(false, false) {
			t.Errorf("%s, neither", command)
		}
	}
}

// Each command is refused what it would do harm with, and nothing else.
func TestChecksByCommand(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*hostRun)
		check func(*hostRun) error
		// refused are the commands that it stops.
		refused string
	}{
		{"frozen", func(h *hostRun) { h.facts.Freeze = &transaction.Freeze{Owner: "ann"} }, (*hostRun).checkHost, "switch boot test rollback"},
		{"/boot full", func(h *hostRun) { h.facts.FreeBoot = 0 }, (*hostRun).checkHost, "switch boot"},
		{"state full", func(h *hostRun) { h.facts.FreeState = 0 }, (*hostRun).checkHost, "switch boot test rollback"},
		{"store full", func(h *hostRun) { h.facts.FreeStore = 0 }, (*hostRun).checkHost, "switch boot test push dry-activate"},
		{"no room for the kernel", func(h *hostRun) {
			h.facts.OwnBoot, h.facts.FreeBoot = true, 0
		}, (*hostRun).checkBootRoom, "switch boot rollback"},
		{"inhibited", func(h *hostRun) {
			h.facts.Inhibitors = []byte(`{"dbus":"daemon"}`)
			_ = os.WriteFile(filepath.Join(h.system.OutPath, "switch-inhibitors"), []byte(`{"dbus":"broker"}`), 0o600)
		}, (*hostRun).checkSystem, "switch test rollback"},
		{"rejected", func(h *hostRun) {
			h.run.Automatic, h.facts.Rejected = true, []string{h.system.OutPath}
			h.sizes = nix.Sizes{h.system.OutPath: 1}
		}, func(h *hostRun) error { return h.judge(t.Context()) }, "switch boot test rollback"},
	} {
		for command := range requests {
			if command == "build" {
				continue // it contacts no host
			}
			h := wanted(t, command)
			c.spoil(h)
			err := c.check(h)
			stops := strings.Contains(" "+c.refused+" ", " "+command+" ")
			var f *Failure
			if errors.As(err, &f) != stops || stops && f.Word != Refused {
				t.Errorf("%s, %s: %v", c.name, command, err)
			}
			if c.name != "frozen" && c.name != "rejected" || !stops {
				continue
			}
			h.run.Force = true
			if err := c.check(h); err != nil {
				t.Errorf("%s, %s --force: %v", c.name, command, err)
			}
		}
	}
}

func TestAPersonIsWarnedOfARejectedSystem(t *testing.T) {
	for command, want := range map[string]int{"switch": 1, "boot": 1, "test": 1, "push": 0} {
		h := wanted(t, command)
		warnings := 0
		h.run.Events = func(e event.Event) {
			if e.Note != nil && e.Note.Level == "warning" && strings.Contains(e.Note.Text, "rejected") {
				warnings++
			}
		}
		h.facts.Rejected, h.sizes = []string{h.system.OutPath}, nix.Sizes{h.system.OutPath: 1}
		if err := h.judge(t.Context()); err != nil || warnings != want {
			t.Errorf("%s: %d warnings, %v", command, warnings, err)
		}
	}
}

func TestNobodyProbesWhatDoesNotRun(t *testing.T) {
	for command, want := range map[string]int{"switch": 1, "test": 1, "rollback": 1, "boot": 0, "push": 0, "dry-activate": 0} {
		h := wanted(t, command)
		h.Probes = []hosts.Probe{{Name: "web", Kind: "unit", OnFail: "alert", Parameters: map[string]any{"unit": "web.service"}}}
		if specs, err := h.specs(); err != nil || len(specs) != want {
			t.Errorf("%s: %v, %v", command, specs, err)
		}
	}
}

func TestARebootIsNeededOnlyForWhatBoots(t *testing.T) {
	for command, want := range map[string]bool{"switch": true, "boot": true, "test": false, "push": false} {
		h := wanted(t, command)
		put(t, filepath.Join(h.system.OutPath, "kernel"), "")
		h.facts.Kernel = map[string]string{"kernel": "/another"}
		h.sizes = nix.Sizes{h.system.OutPath: 1}
		if err := h.judge(t.Context()); err != nil || h.rebootNeeded != want {
			t.Errorf("%s: %v, %v", command, h.rebootNeeded, err)
		}
	}
}

func TestEndsOfTransactions(t *testing.T) {
	for _, c := range []struct {
		command string
		failed  bool
		word    Word
		code    int
	}{
		{"switch", false, Committed, CodeOK},
		{"boot", false, Staged, CodeOK},
		{"test", false, Tested, CodeOK},
		{"test", true, Degraded, CodeDegraded},
	} {
		h := wanted(t, c.command)
		h.status = &protocol.Status{State: transaction.Committed, Running: h.system.OutPath, Previous: "/old", Reason: "probe web failed"}
		if c.failed {
			h.results = append(h.results, probe.Result{Name: "web", Verdict: probe.Fail, Policy: probe.Alert})
		}
		h.fail(h.conclude(t.Context(), nil))
		if o := h.finish(t.Context()); o.Outcome != string(c.word) || o.Code != c.code || o.Action != c.command {
			t.Errorf("%s ended as %+v", c.command, o)
		}
	}
}

func TestWhatWasKeptIsSaidLoudly(t *testing.T) {
	h := wanted(t, "switch")
	h.facts.Boots = bootloader.Default{System: "/old"}
	h.status = &protocol.Status{State: transaction.Kept, Running: h.system.OutPath, Previous: "/old", Reason: "probe web failed: saw 502"}
	h.fail(h.kept())
	o := h.finish(t.Context())
	if o.Outcome != string(Kept) || o.Code != CodeLookNow {
		t.Errorf("outcome %+v", o)
	}
	for _, part := range []string{"saw 502", "NOTHING WAS TAKEN BACK", "it runs " + h.system.OutPath, "boots /old, the old system"} {
		if !strings.Contains(o.Failure.Cause, part) {
			t.Errorf("%q is missing in %q", part, o.Failure.Cause)
		}
	}
	if next := strings.Split(o.Failure.Next, "\n"); next[0] != "hdeploy rollback web1" || !strings.Contains(next[1], "reboot") {
		t.Errorf("next: %q", next)
	}
	if o.Boots != "/old" || o.Running != h.system.OutPath {
		t.Errorf("outcome %+v", o)
	}
}

func TestPlansByCommand(t *testing.T) {
	for command, says := range map[string]string{
		"switch": "switch from /old to ", "boot": "what runs stays /old", "test": "what boots stays /booted", "push": "keep ",
	} {
		h := wanted(t, command)
		h.facts.Profile = profiles.Generation{Path: "/booted"}
		if plan := h.plan(); !strings.Contains(plan, says) || !strings.Contains(plan, h.system.OutPath) {
			t.Errorf("%s: %s", command, plan)
		}
	}
	h := wanted(t, "boot")
	h.facts.Profile.Path, h.facts.Boots.System = h.system.OutPath, h.system.OutPath
	if plan := h.plan(); plan != "already boots "+h.system.OutPath {
		t.Error(plan)
	}
}

func TestReadChanges(t *testing.T) {
	for _, c := range []struct {
		name, said string
		want       event.Changes
	}{
		{"nothing", "would activate the configuration...\n\n", event.Changes{}},
		{"all kinds", `would stop the following units: a.service, b.socket
would NOT stop the following changed units: getty@tty1.service
would activate the configuration...
would restart systemd
would reload the following units: dbus.service, firewall.service
would restart the following units: nginx.service
would start the following units: a.service`, event.Changes{
			Stop: []string{"a.service", "b.socket"}, Keep: []string{"getty@tty1.service"}, Other: []string{"would restart systemd"},
			Reload: []string{"dbus.service", "firewall.service"}, Restart: []string{"nginx.service"}, Start: []string{"a.service"},
		}},
		{"asked for by the activation script", `would restart the following units: a.service
would restart the following units as well: a.service, b.service
would NOT restart the following changed units as well: c.service
setting up /etc...`, event.Changes{
			Restart: []string{"a.service", "b.service"}, Keep: []string{"c.service"}, Other: []string{"setting up /etc..."},
		}},
		{"almost", "would stop the following units:\nwould burn the following units: a", event.Changes{
			Other: []string{"would stop the following units:", "would burn the following units: a"},
		}},
	} {
		got := readChanges(strings.Split(c.said, "\n"))
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: got %+v", c.name, *got)
		}
	}
	if n := (event.Changes{Stop: []string{"a", "b"}, Start: []string{"a"}, Keep: []string{"c"}}).Count(); n != 2 {
		t.Errorf("%d units", n)
	}
}
