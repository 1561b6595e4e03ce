package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// reboot is a run that brings no system to its hosts and needs no Nix.
func (r *run) reboot(ctx context.Context, hostRuns []*hostRun) {
	r.look(ctx, hostRuns)
	r.deploy(ctx, hostRuns)
}

// bootsOnce says whether the run's systems are booted with a way back.
func (r Request) bootsOnce() bool {
	return r.Goal == GoalTransact && r.Action == transaction.Reboot
}

// reboots says whether the hosts are rebooted without one.
func (r Request) reboots() bool { return r.Goal == GoalReboot || r.ThenReboot }

// reboots says whether the transaction at hand, which may be somebody else's, is one
// that reboots the host.
func (h *hostRun) reboots() bool {
	return h.run.bootsOnce() || h.status != nil && h.status.Action == transaction.Reboot
}

// checkWayBack refuses to boot a system once where the host would not come back
// from it by itself.
func (h *hostRun) checkWayBack() error {
	want, f := h.system.OutPath, h.facts
	switch {
	case !h.run.bootsOnce():
		return nil
	case f.Running == want || f.Profile.Path == want || f.Boots.System == want:
		return refused(h.Name, "judge", "hdeploy switch "+h.Name+"\nhdeploy reboot "+h.Name+"  # where that is what is missing",
			"the host runs or boots this system already, so that there is no other one to fall back to")
	case f.NoWayBack != "":
		return refused(h.Name, "judge", "hdeploy boot --reboot --no-fallback "+h.Name,
			"the host would not come back by itself from a boot that goes wrong: %s", f.NoWayBack)
	}
	return nil
}

// longest is how long the transaction may take until its end is known.
func (h *hostRun) longest() time.Duration {
	limit := h.status.DeadManIn + h.Timeouts.Rollback + h.patience()
	if h.reboots() {
		// All begins anew after the boot, and the way back is one more.
		limit += h.status.DeadManIn + 2*h.Timeouts.Reboot
	}
	return limit
}

// reconnect replaces a connection that died in a transaction. Where the host
// reboots by itself, one that does not come back has a name of its own.
func (h *hostRun) reconnect(ctx context.Context) error {
	if !h.reboots() {
		return h.redial(ctx, redialFirst, patient, h.anywhere(), h.askFacts)
	}
	limited, cancel := context.WithTimeout(ctx, h.Timeouts.Reboot)
	defer cancel()
	err := h.redial(limited, redialFirst, patient, h.anywhere(), h.askFacts)
	if err == nil || ctx.Err() != nil || h.status.Reboots == 0 {
		return err
	}
	return &Failure{Host: h.Name, Step: "reboot", Word: Unknown, Code: CodeLookNow, Next: "hdeploy status " + h.Name,
		Cause: fmt.Errorf("the host did not come back within %v of its reboot (%s); it has the new system for one boot only, so that a power cycle boots the previous one, %s",
			h.Timeouts.Reboot, withoutHost(err), h.status.Previous)}
}

// tellReboots tells each reboot that the host's transaction asks for.
func (h *hostRun) tellReboots() {
	for h.rebootsTold < h.status.Reboots {
		h.rebootsTold++
		if h.rebootsTold == 1 {
			h.note("info", "the host reboots into the new system, once; a power cycle would boot the previous one")
			continue
		}
		h.note("warning", "the host reboots into the previous system")
	}
}

// whyReboot says why a host needs a reboot, empty where it does not.
func (h *hostRun) whyReboot() string {
	f := h.facts
	if boots := h.bootsNext(); f.Running != boots && f.Booted != boots {
		return fmt.Sprintf("it runs %s and boots %s", f.Running, boots)
	}
	var differ []string
	for _, part := range slices.Sorted(maps.Keys(f.NextKernel)) {
		if was := f.Kernel[part]; was != "" && was != f.NextKernel[part] {
			differ = append(differ, part)
		}
	}
	if len(differ) > 0 {
		return "what it booted differs from what it boots next: " + strings.Join(differ, ", ")
	}
	return ""
}

// bootsNext is the system that the host boots, by its profile where the loader
// cannot be read.
func (h *hostRun) bootsNext() string {
	if h.facts.Boots.System != "" {
		return h.facts.Boots.System
	}
	return h.facts.Profile.Path
}

// rebootIfNeeded reboots a host that is where it should be but for its boot.
func (h *hostRun) rebootIfNeeded(ctx context.Context) error {
	h.system.OutPath = h.bootsNext()
	why := h.whyReboot()
	if why == "" && !h.run.Force {
		h.note("info", "no reboot is needed: kernel, initrd and modules are those of what it boots next; --force reboots all the same")
		return h.judgeUnchanged(ctx)
	}
	if why == "" {
		why = "not needed, and asked for with --force"
	}
	if h.run.DryRun {
		h.note("info", "would reboot: %s", why)
		h.done(Previewed, CodeOK)
		return nil
	}
	return h.rebootNow(ctx, why, Rebooted)
}

// rebootNow reboots the host, waits until it is there again, and shows that it runs
// what it was to boot and that its probes pass.
func (h *hostRun) rebootNow(ctx context.Context, why string, word Word) (err error) {
	if ctx.Err() != nil { // the commit before it was waited for; the reboot is new work
		return &Failure{Host: h.Name, Step: "reboot", Cause: errors.New("interrupted: the host was not rebooted"), Word: Interrupted,
			Code: CodeInterrupted, Next: "hdeploy reboot " + h.Name}
	}
	h.note("info", "reboot: %s", why)
	done := h.phase(event.Reboot)
	detail := ""
	defer func() { done(detail, err) }()
	began := time.Now()
	// An interruption now cannot tell whether the request arrived.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	if err := h.agent.Reboot(asking, protocol.RebootRequest{Deployer: h.run.Deployer, Force: h.run.Force}); err != nil {
		var said *protocol.Error
		if errors.As(err, &said) {
			return h.startFailure(err)
		}
		// The answer may have been overtaken by the reboot itself.
		h.run.Log.Info().Str("host", h.Name).Err(err).Msg("no answer to the request for a reboot")
	}
	// A reboot cannot be stopped: whoever interrupts is told how it ended.
	if err := h.awaitBoot(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	h.back = &h.seen
	if h.seen.Running != h.system.OutPath {
		return h.badBoot("the host came back, and runs %s instead of %s", h.seen.Running, h.system.OutPath)
	}
	detail = "came back within " + rounded(time.Since(began)).String()
	return h.probeBooted(ctx, word)
}

func (h *hostRun) badBoot(format string, args ...any) error {
	return &Failure{Host: h.Name, Step: "reboot", Cause: fmt.Errorf(format, args...), Word: Unknown, Code: CodeLookNow, Next: h.ssh("journalctl -b")}
}

// awaitBoot returns when the host answers in another boot. A host that goes down
// answers for a while.
func (h *hostRun) awaitBoot(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, h.Timeouts.Reboot)
	defer cancel()
	for {
		err := h.redial(limited, redialFirst, patient, h.anywhere(), h.askFacts)
		switch {
		case err == nil && h.seen.BootID != h.facts.BootID:
			return nil
		case err == nil && limited.Err() == nil:
			continue
		case err == nil:
			return h.badBoot("the host did not reboot within %v: it answers, in the boot of before", h.Timeouts.Reboot)
		}
		return &Failure{Host: h.Name, Step: "reboot", Word: Unknown, Code: CodeLookNow, Next: "hdeploy status " + h.Name,
			Cause: fmt.Errorf("the host did not come back within %v of its reboot: %s; look at its console", h.Timeouts.Reboot, withoutHost(err))}
	}
}

// probeBooted judges a host that was rebooted. Nothing can be taken back.
func (h *hostRun) probeBooted(ctx context.Context, word Word) error {
	specs, err := h.specs()
	if err != nil {
		return err
	}
	if err := h.probeAll(ctx, specs); err != nil {
		return err
	}
	if probe.Judge(probe.AtRest, h.results) == probe.Degraded {
		h.askJournal(ctx)
		h.done(Degraded, CodeDegraded)
		return nil
	}
	h.done(word, CodeOK)
	return nil
}

// probeAll asks all probes, of the host and of this side.
func (h *hostRun) probeAll(ctx context.Context, specs []probe.Spec) error {
	if len(specs) == 0 {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, probe.LongestDeadline(specs)+time.Minute)
	defer cancel()
	if err := h.probesStopped(ctx); err != nil {
		return err
	}
	if onHost := from(specs, probe.FromHost); len(onHost) > 0 {
		results, err := h.agent.Probe(limit, onHost, nil)
		if stopped := h.probesStopped(ctx); stopped != nil {
			return stopped
		}
		if err != nil {
			return &Failure{Host: h.Name, Step: "probe", Cause: err, Word: Unknown, Code: CodeLookNow, Next: h.ssh("systemctl --failed")}
		}
		h.judged(results)
	}
	results := probe.Run(limit, from(specs, probe.FromDeployer), nil, nil)
	if err := h.probesStopped(ctx); err != nil {
		return err
	}
	h.judged(results)
	return nil
}

// probesStopped says that the user stopped the run before all probes had judged,
// which is no verdict of theirs, and how the host is.
func (h *hostRun) probesStopped(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	how := "nothing was changed"
	if h.back != nil {
		how = "the host came back from its reboot, and runs " + h.back.Running
	}
	return &Failure{Host: h.Name, Step: "probe", Cause: fmt.Errorf("interrupted: %s; not all of its probes were asked", how), Word: Interrupted,
		Code: CodeInterrupted, Next: h.again()}
}
