package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestTheMachineThatARunIsMadeOn(t *testing.T) {
	host := protocol.Facts{BootID: "boot-1", MachineID: "machine-1"}
	for _, c := range []struct {
		name          string
		here          Machine
		inEffect, not bool
	}{
		{"the same in all", Machine{"boot-1", "machine-1"}, false, true},
		{"the same in all, by an effect", Machine{"boot-1", "machine-1"}, true, true},
		{"a sandbox without a machine-id", Machine{"boot-1", ""}, true, true},
		{"no machine-id, and no sandbox", Machine{"boot-1", ""}, false, false},
		{"another container of the same kernel", Machine{"boot-1", "machine-2"}, true, false},
		{"another machine", Machine{"boot-2", "machine-1"}, true, false},
		{"nothing is known", Machine{}, true, false},
	} {
		if got := c.here.is(host, c.inEffect); got != c.not {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if (Machine{}).is(protocol.Facts{}, true) {
		t.Error("nothing is taken for the same as nothing")
	}
	if here := ThisMachine(); here.BootID == "" {
		t.Error("the boot id of this machine is not known")
	}
}

// noted makes a run whose notes are kept.
func noted(h *hostRun) *[]string {
	var notes []string
	h.run.Events = func(e event.Event) {
		if e.Note != nil {
			notes = append(notes, e.Note.Text)
		}
	}
	return &notes
}

// onItself is a host that a run is made on.
func onItself(t *testing.T) *hostRun {
	t.Helper()
	h := web1(t)
	h.facts.BootID, h.facts.MachineID = "boot-1", "machine-1"
	h.run.Here = &Machine{"boot-1", "machine-1"}
	h.Mode, h.AutoRollback, h.Timeouts = hosts.ModeAuto, true, hosts.NewHost("web1").Timeouts
	return h
}

func TestWhoConfirms(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*hostRun)
		alone  bool
		says   string // in a refusal, or a note
	}{
		{"a host that deploys itself", func(*hostRun) {}, true, "decides by itself"},
		{"another host", func(h *hostRun) { h.run.Here = &Machine{"boot-2", "machine-2"} }, false, ""},
		{"a container beside an effect", func(h *hostRun) { h.run.Here, h.run.Effect, h.container = &Machine{BootID: "boot-1"}, true, true }, false, ""},
		{"an effect", func(h *hostRun) { h.run.Here, h.run.Effect = &Machine{BootID: "boot-1"}, true }, true, "decides by itself"},
		{"another host that is to decide", func(h *hostRun) { h.Mode, h.run.Here = hosts.ModeSelf, &Machine{"boot-2", "machine-2"} }, true, "confirm_mode"},
		{"remote in spite of that", func(h *hostRun) { h.Mode = hosts.ModeRemote }, false, "where the switch ends it, the host goes back"},
		{"the machine at hand", func(h *hostRun) { h.Local, h.run.Here = true, &Machine{} }, true, "decides by itself"},
		{"what is only booted", func(h *hostRun) { h.run.Action = transaction.Boot }, false, ""},
		{"what is booted once", func(h *hostRun) { h.run.Action = transaction.Reboot }, false, ""},
		{"what is only built", func(h *hostRun) { h.run.Goal = GoalBuild }, false, ""},
		{"a test", func(h *hostRun) { h.run.Action = transaction.Test }, true, ""},
		{"a rollback", func(h *hostRun) { h.run.Action = transaction.Rollback }, true, ""},
		{"a system that is kept", func(h *hostRun) { h.run.Keep = true }, false, "--no-rollback leaves"},
		{"one that is kept, in an effect", func(h *hostRun) { h.run.Effect, h.AutoRollback = true, false }, false, "auto_rollback = false leaves"},
		{"several profiles", func(h *hostRun) { h.later = []*hostRun{h.another()} }, false, "for the NixOS system alone"},
		{"several profiles that are to be decided", func(h *hostRun) { h.Mode, h.later = hosts.ModeSelf, []*hostRun{h.another()} }, false, "for the NixOS system alone"},
		{"the agent's restart, elsewhere", func(h *hostRun) { h.run.Here, h.RestartAgent = &Machine{}, hosts.RestartLast }, false, "restart it afterwards"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := onItself(t)
			notes := noted(h)
			c.change(h)
			err := h.chooseMode()
			if err != nil {
				refusal(t, err, "judge", c.says, `confirm_mode = "remote"`)
			} else if !strings.Contains(strings.Join(*notes, "\n"), c.says) {
				t.Errorf("said %q", *notes)
			}
			if (h.alone != nil) != c.alone {
				t.Errorf("it decides alone: %v", h.alone != nil)
			}
			refuses := c.name == "one that is kept, in an effect" || c.name == "several profiles that are to be decided"
			if (err != nil) != refuses {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatAHostIsAskedToProve(t *testing.T) {
	h := onItself(t)
	h.User, h.OnUnknown, h.RestartAgent = "ann", hosts.OnUnknownRollback, hosts.RestartLast
	hercules := hosts.Probe{Name: "hercules-ci-agent", Kind: string(probe.KindHercules)}
	h.Probes = []hosts.Probe{hercules}
	if h.aloneRequest() != nil {
		t.Error("a host is asked for a proof that a deployer confirms")
	}
	if err := h.chooseMode(); err != nil {
		t.Fatal(err)
	}
	a := h.aloneRequest()
	if !slices.Equal(a.Question.Users, []string{"ann", "root"}) || a.OnUnknown != reach.GoBack || !slices.Equal(a.RestartLast, []string{herculesUnit}) ||
		!slices.Equal(a.Question.Outward, []string{"https://hercules-ci.com"}) {
		t.Errorf("got %+v", a)
	}
	hercules.Parameters = map[string]any{"unit": "ci.service", "api_base_url": "http://127.0.0.1:1"}
	h.Probes, h.User, h.OnUnknown = []hosts.Probe{hercules}, "root", hosts.OnUnknownChanged
	if a = h.aloneRequest(); !slices.Equal(a.Question.Users, []string{"root"}) || a.OnUnknown != reach.WhenChanged || !slices.Equal(a.RestartLast, []string{"ci.service"}) || a.Question.Outward != nil {
		t.Errorf("got %+v", a)
	}
	h.Outward = []string{"https://cache.example.org"}
	h.run.Action = transaction.Rollback
	if a = h.aloneRequest(); a.OnUnknown != reach.Commit || !slices.Equal(a.Question.Outward, h.Outward) {
		t.Errorf("a rollback is taken back for what nobody can tell: %+v", a)
	}
	h.bootInstead = "the init differs"
	if h.aloneRequest() != nil {
		t.Error("what is only booted ends nothing that runs")
	}
}

func TestTheTimeToDecide(t *testing.T) {
	h := onItself(t)
	specs := []probe.Spec{{Settle: 10 * time.Second, Deadline: time.Minute}}
	confirmed := h.limits(specs).Confirm
	if err := h.chooseMode(); err != nil {
		t.Fatal(err)
	}
	if got := h.limits(specs).Confirm - confirmed; got != proofLimit {
		t.Errorf("alone it takes %v more", got)
	}
	h.RestartAgent = hosts.RestartLast
	if got := h.limits(specs).Confirm - confirmed; got != proofLimit+transaction.RestartLastLimit+70*time.Second {
		t.Errorf("with a late restart it takes %v more", got)
	}
}

func TestProbesOfAHostThatDecides(t *testing.T) {
	of := func(name string, kind probe.Kind, from string) probe.Spec {
		s := probe.Defaults(kind)
		s.Name, s.From = name, from
		return s
	}
	alerts := of("tells", probe.KindCommand, probe.FromDeployer)
	alerts.OnFail, alerts.OnUnknown = probe.Alert, probe.Alert
	specs := []probe.Spec{of("unit", probe.KindUnit, probe.FromHost), of("site", probe.KindHTTP, probe.FromDeployer), alerts}
	h := onItself(t)
	notes := noted(h)
	if same, err := h.seenFromHere(specs); err != nil || len(same) != 3 || same[1].From != probe.FromDeployer {
		t.Errorf("a deployer that confirms asks others: %v, %v", same, err)
	}
	if err := h.chooseMode(); err != nil {
		t.Fatal(err)
	}
	asked, err := h.seenFromHere(specs)
	if err != nil || len(asked) != 2 || asked[1].Name != "site" || asked[1].From != probe.FromHost {
		t.Errorf("got %v, %v", asked, err)
	}
	if said := strings.Join(*notes, "\n"); !strings.Contains(said, "probe site is asked from the host") || !strings.Contains(said, "probe tells is not asked") {
		t.Errorf("said %q", said)
	}
	_, err = h.seenFromHere([]probe.Spec{of("smoke", probe.KindCommand, probe.FromDeployer)})
	refusal(t, err, "judge", "probe smoke decides", `from = "host"`, `confirm_mode = "remote"`)
}

func TestVerdictOfAnEarlierRun(t *testing.T) {
	const other = "/nix/store/00000000000000000000000000000000-other"
	for _, c := range []struct {
		name   string
		change func(*hostRun, *protocol.Status)
		joins  bool
	}{
		{"under way", func(_ *hostRun, s *protocol.Status) { s.State = transaction.Waiting }, true},
		{"under way, with force", func(h *hostRun, s *protocol.Status) { s.State, h.run.Force = transaction.Trying, true }, true},
		{"under way for another system", func(_ *hostRun, s *protocol.Status) { s.State, s.New = transaction.Waiting, other }, false},
		{"under way as a test", func(_ *hostRun, s *protocol.Status) { s.State, s.Action = transaction.Waiting, transaction.Test }, false},
		{"committed", func(*hostRun, *protocol.Status) {}, true},
		{"committed, and a person asks", func(h *hostRun, _ *protocol.Status) { h.run.Effect = false }, false},
		{"committed, and another runs since", func(h *hostRun, _ *protocol.Status) { h.facts.Running = other }, false},
		{"committed, and another boots since", func(h *hostRun, _ *protocol.Status) { h.facts.Boots.System = other }, false},
		{"committed, with force", func(h *hostRun, _ *protocol.Status) { h.run.Force = true }, false},
		{"rejected by a probe", func(_ *hostRun, s *protocol.Status) {
			s.State, s.Cause = transaction.RolledBack, transaction.ProbeFailed
		}, true},
		{"rejected, as it was not reachable", func(_ *hostRun, s *protocol.Status) {
			s.State, s.Cause = transaction.RolledBack, transaction.NotReachable
		}, true},
		{"rejected, and nobody watches", func(h *hostRun, s *protocol.Status) {
			h.run.Effect, h.run.Automatic = false, true
			s.State, s.Cause = transaction.RolledBack, transaction.ActivationFailed
		}, true},
		{"rejected, and a person asks", func(h *hostRun, s *protocol.Status) {
			h.run.Effect = false
			s.State, s.Cause = transaction.RolledBack, transaction.ActivationFailed
		}, false},
		{"rejected, with force", func(h *hostRun, s *protocol.Status) {
			h.run.Force = true
			s.State, s.Cause = transaction.RolledBack, transaction.ProbeFailed
		}, false},
		{"gone back in silence", func(_ *hostRun, s *protocol.Status) {
			s.State, s.Cause = transaction.RolledBack, transaction.NobodyConfirmed
		}, false},
		{"gone back by a power cut", func(_ *hostRun, s *protocol.Status) {
			s.State, s.Cause = transaction.RolledBack, transaction.HostRestarted
		}, false},
		{"somebody else's since", func(_ *hostRun, s *protocol.Status) { s.State = transaction.Superseded }, false},
		{"a dry run", func(h *hostRun, _ *protocol.Status) { h.run.DryRun = true }, false},
		{"a host that another machine deploys", func(h *hostRun, _ *protocol.Status) { h.alone, h.run.Effect = nil, false }, false},
		{"a host that an effect elsewhere deploys", func(h *hostRun, _ *protocol.Status) { h.alone = nil }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := onItself(t)
			h.run.Effect = true
			if err := h.chooseMode(); err != nil {
				t.Fatal(err)
			}
			h.system.OutPath = "/nix/store/11111111111111111111111111111111-nixos-system-web1"
			h.facts.Running, h.facts.Profile.Path, h.facts.Boots = h.system.OutPath, h.system.OutPath, bootloader.Default{System: h.system.OutPath}
			h.facts.Transaction = &protocol.Status{ID: "abcd1234", State: transaction.Committed, New: h.system.OutPath, Action: transaction.Switch}
			c.change(h, h.facts.Transaction)
			if got := h.earlier() != nil; got != c.joins {
				t.Errorf("it takes that verdict: %v", got)
			}
			open := !h.facts.Transaction.State.Final()
			if err := h.checkJoin(); (err != nil) != (open && !c.joins) {
				t.Errorf("it is refused with %v", err)
			}
		})
	}
}

func TestTasksOfOthers(t *testing.T) {
	task := func(own bool) protocol.Task { return protocol.Task{PID: 7, Own: own} }
	for _, c := range []struct {
		tasks    []protocol.Task
		inEffect bool
		want     int
	}{
		{nil, true, 0},
		{[]protocol.Task{task(false)}, false, 1},
		{[]protocol.Task{task(true)}, true, 0},
		{[]protocol.Task{task(false), task(true), task(false)}, true, 2},
		{[]protocol.Task{task(false), task(false)}, true, 1}, // one of them is this effect's
	} {
		if got := others(c.tasks, c.inEffect); got != c.want {
			t.Errorf("%+v: %d, want %d", c, got, c.want)
		}
	}
}

func TestARestartThatIsNotLast(t *testing.T) {
	top := newSystem(t)
	const unit = herculesUnit
	file := top + "/etc/systemd/system/" + unit
	if why := restartedAnyway(top, unit); why != "" {
		t.Errorf("without the unit: %s", why)
	}
	put(t, file, "[Service]\nExecStart=/x\n")
	if restartedAnyway(top, unit) == "" {
		t.Error("a unit that says nothing is restarted")
	}
	put(t, file, "[Unit]\nX-RestartIfChanged=false\n[Service]\nExecStart=/x\n")
	if why := restartedAnyway(top, unit); why != "" {
		t.Error(why)
	}
	put(t, file+".d/overrides.conf", "[Unit]\nX-RestartIfChanged=true\n")
	if restartedAnyway(top, unit) == "" {
		t.Error("what stands in a drop-in holds")
	}
}

// leaving is a context that was told to end for the reason.
func toldToEnd(t *testing.T, cause error) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

func TestWhoeverIsToldToLeaveTakesNothingBack(t *testing.T) {
	h := onItself(t)
	if h.leaves(toldToEnd(t, ErrLeave)) {
		t.Error("a host that waits for this deployer is left alone")
	}
	if err := h.chooseMode(); err != nil {
		t.Fatal(err)
	}
	if !h.leaves(toldToEnd(t, ErrLeave)) || h.leaves(toldToEnd(t, nil)) || h.leaves(t.Context()) {
		t.Error("SIGTERM leaves, SIGINT aborts, and nothing does nothing")
	}
	h.run.Effect = true
	if !h.leaves(toldToEnd(t, nil)) {
		t.Error("in an effect every signal leaves")
	}
	h.alone.decidesBy = time.Now().Add(time.Minute)
	h.id = "abcdefgh12345678"
	for _, part := range []string{"web1", h.id, "hdeploy-abcdefgh12345678-supervisor", h.alone.decidesBy.Local().Format("15:04:05"), "hdeploy attach web1 " + h.id, "next run"} {
		if !strings.Contains(h.leaving(), part) {
			t.Errorf("%q does not say %q", h.leaving(), part)
		}
	}
	h.fail(h.leftBeginning())
	o := h.finish(toldToEnd(t, ErrLeave))
	if o.Code != CodeInterrupted || strings.Contains(o.Failure.Cause, "nothing was changed") || !strings.Contains(o.Failure.Cause, "where it has begun") || o.Transaction != h.id {
		t.Errorf("got %+v, %+v", o, o.Failure)
	}
}

// The answer to a request to begin is waited for, but not for longer than a killed
// process has.
func TestLeavingWhileTheHostIsAskedToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := onItself(t)
		if err := h.chooseMode(); err != nil {
			t.Fatal(err)
		}
		told, tell := context.WithCancelCause(t.Context())
		request, cut := context.WithCancel(context.Background())
		defer cut()
		defer h.leavesSoon(told, cut)()
		tell(ErrLeave)
		synctest.Wait()
		if request.Err() != nil {
			t.Error("the request is cut at once")
		}
		time.Sleep(leaveGrace)
		synctest.Wait()
		if !errors.Is(request.Err(), context.Canceled) {
			t.Error("the request goes on")
		}
	})
}

func TestHowAHostIsKnownToBeReachable(t *testing.T) {
	proof := func(inbound reach.Inbound, detail string) *reach.Proof {
		return &reach.Proof{Inbound: inbound, Findings: []reach.Finding{{Name: "filter", State: reach.Changed}, {Name: "inbound", Detail: detail}}}
	}
	for _, c := range []struct {
		status protocol.Status
		proof  string
		says   string
	}{
		{protocol.Status{State: transaction.Committed}, byNewConnection, ""},
		{protocol.Status{State: transaction.Committed, Alone: true}, bySelf, ""},
		{protocol.Status{State: transaction.Committed, Alone: true, Proof: proof(reach.ByWitness, "web2 has logged in")}, "witness", "inbound proven by a witness: web2 has logged in"},
		{protocol.Status{State: transaction.Committed, Alone: true, Proof: proof(reach.NotProven, "")}, bySelf, "inbound not proven: nothing from outside"},
		{protocol.Status{State: transaction.RolledBack, Alone: true, Proof: proof(reach.NotProven, "no witness")}, "", "inbound not proven: no witness"},
	} {
		h := onItself(t)
		h.proof, h.status = byNewConnection, &c.status
		var o event.Outcome
		h.tellProof(&o)
		if o.Proof != c.proof {
			t.Errorf("%+v: proof %q", c.status, o.Proof)
		}
		if c.says == "" && o.Reach != nil || c.says != "" && (o.Reach == nil || !strings.HasPrefix(o.Reach.Summary, c.says) || len(o.Reach.Looks) != 2) {
			t.Errorf("%+v: %+v", c.status, o.Reach)
		}
	}
}

// A witness dials in for an hour at most: a host with longer limits may decide after that.
func TestAWitnessThatMayHaveEndedIsNotMissed(t *testing.T) {
	for brief, want := range map[bool]bool{false: true, true: false} {
		w := witness{host: onItself(t), said: protocol.WitnessResult{Reached: true}, brief: brief}
		if q := w.asked(reach.Question{}); q.WitnessReached != want || q.Witness == "" {
			t.Errorf("brief %v: %+v", brief, q)
		}
	}
}
