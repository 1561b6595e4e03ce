package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// settledFacts are those of a host that runs, and boots, the system "a".
func settledFacts() protocol.Facts {
	return protocol.Facts{Running: "a", Booted: "a", Profile: profiles.Generation{Path: "a"}, Boots: bootloader.Default{System: "a"},
		Kernel: map[string]string{"kernel": "k1", "initrd": "i1"}, NextKernel: map[string]string{"kernel": "k1", "initrd": "i1"}}
}

func TestWhyReboot(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*protocol.Facts)
		why    string
	}{
		{"nothing to do", func(*protocol.Facts) {}, ""},
		{"a specialisation runs", func(f *protocol.Facts) { f.Running = "a-variant" }, ""},
		{"kernel", func(f *protocol.Facts) { f.NextKernel["kernel"] = "k2" }, "differs from what it boots next: kernel"},
		{"both", func(f *protocol.Facts) { f.NextKernel = map[string]string{"kernel": "k2", "initrd": "i2"} }, "initrd, kernel"},
		{"what was booted is not known", func(f *protocol.Facts) { f.Kernel = nil }, ""},
		{"staged", func(f *protocol.Facts) { f.Boots.System = "b" }, "it runs a and boots b"},
		{"staged, and an unknown loader", func(f *protocol.Facts) { f.Boots.System, f.Profile.Path = "", "b" }, "it runs a and boots b"},
	} {
		h := &hostRun{facts: settledFacts()}
		c.change(&h.facts)
		if why := h.whyReboot(); why != c.why && (c.why == "" || !strings.Contains(why, c.why)) {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

func TestWayBackIsJudgedBeforeTheCopy(t *testing.T) {
	for _, c := range []struct {
		name, want string
		action     transaction.Action
		noWayBack  string
		says       string
	}{
		{"a way back", "b", transaction.Reboot, "", ""},
		{"no way back", "b", transaction.Reboot, "extlinux", "extlinux"},
		{"a plain boot asks for none", "b", transaction.Boot, "extlinux", ""},
		{"it is there already", "a", transaction.Reboot, "", "runs or boots this system already"},
	} {
		h := &hostRun{Host: hosts.NewHost("web1"), run: &run{Request: Request{Action: c.action}}, facts: settledFacts(), system: nix.Evaluated{OutPath: c.want}}
		h.facts.NoWayBack = c.noWayBack
		err := h.checkWayBack()
		var f *Failure
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says != "" && (!errors.As(err, &f) || f.Code != CodeRefused || f.Next == "" || !strings.Contains(f.Cause.Error(), c.says)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRunsThatRebootHaveTimeForIt(t *testing.T) {
	plain := &hostRun{Host: hosts.NewHost("web1"), run: &run{}, status: &protocol.Status{DeadManIn: time.Minute}}
	once := &hostRun{Host: hosts.NewHost("web1"), run: &run{Request: Request{Action: transaction.Reboot}}, status: plain.status}
	if more := once.longest() - plain.longest(); more != time.Minute+2*10*time.Minute {
		t.Errorf("%v more than a switch", more)
	}
}

func TestCommandsAreNamedAsTheyAreTyped(t *testing.T) {
	for want, r := range map[string]Request{
		"switch": {}, "boot": {Action: transaction.Boot}, "boot --reboot": {Action: transaction.Reboot},
		"boot --reboot --no-fallback": {Action: transaction.Boot, ThenReboot: true}, "reboot": {Goal: GoalReboot}, "push": {Goal: GoalPush},
	} {
		if got := r.command(); got != want {
			t.Errorf("%q is called %q", want, got)
		}
	}
}

func TestRunsThatTakeARebootBackHaveTimeForIt(t *testing.T) {
	h := &hostRun{Host: hosts.NewHost("web1"), run: &run{Request: Request{Action: transaction.Rollback}}}
	h.adopt(protocol.Status{ID: "a", Action: transaction.Reboot, Restarted: true, Reboots: 1, DeadManIn: time.Minute})
	if least := 2 * h.Timeouts.Reboot; h.longest() < least {
		t.Errorf("%v, and two reboots may take %v", h.longest(), least)
	}
	if h.rebootsTold != 1 {
		t.Error("a reboot of before is told as one to come")
	}
}

// Probes that were not asked are no verdict, and a reboot is not "nothing".
func TestInterruptionOfProbesSaysHowTheHostIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	specs := []probe.Spec{{Name: "web", From: probe.FromDeployer}}
	for _, c := range []struct {
		name string
		back *protocol.Facts
		says string
	}{
		{"unchanged", nil, "before anything was changed"},
		{"rebooted", &protocol.Facts{Running: "b"}, "came back from its reboot, and runs b"},
	} {
		h := &hostRun{Host: hosts.NewHost("web1"), run: &run{Request: Request{Goal: GoalReboot}}, back: c.back}
		h.fail(h.probeAll(ctx, specs))
		o := h.finish(ctx)
		if o.Code != CodeInterrupted || o.Outcome != string(Interrupted) || !strings.Contains(o.Failure.Cause, c.says) || len(o.Failed) > 0 {
			t.Errorf("%s: %+v, %+v", c.name, o, o.Failure)
		}
		if err := h.probeAll(ctx, nil); err != nil {
			t.Errorf("%s: without probes: %v", c.name, err)
		}
	}
}

// Ctrl-C must not turn "look at it now" into "nothing was changed".
func TestInterruptionHidesNoDoubt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for code, want := range map[int]int{CodeLookNow: CodeLookNow, CodeBuild: CodeInterrupted} {
		h := &hostRun{Host: hosts.NewHost("web1"), run: &run{Request: Request{Goal: GoalReboot}}}
		h.fail(&Failure{Host: "web1", Step: "reboot", Cause: errors.New("not known"), Word: Unknown, Code: code})
		if o := h.finish(ctx); o.Code != want {
			t.Errorf("%d ended as %+v", code, o)
		}
	}
}
