package deploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// glance learns, before a trial, which of this side's required probes do not pass:
// what is broken already is not held against a rollback.
func (h *hostRun) glance(ctx context.Context, specs []probe.Spec) {
	h.specsHere = from(specs, probe.FromDeployer)
	if probe.NeedsGlance(h.specsHere, probe.FromDeployer) {
		h.failedBefore = probe.Glance(ctx, h.specsHere, nil)
	}
}

// probeRestored asks this side's probes after the host was seen to be back, and
// tells them beside those that the host has asked itself.
func (h *hostRun) probeRestored(ctx context.Context) error {
	h.judgedAfter(h.status.AfterRollback)
	// Who interrupted the run does not wait for more than the way back.
	if h.status.Action.Switches() && !h.status.Restarted && !h.interrupted.Load() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.Timeouts.Rollback)
		defer cancel()
		h.judgedAfter(probe.RunRestored(limit, h.specsHere, nil, h.failedBefore))
	}
	return h.ill()
}

// ill is why the previous system, which runs, is not well; nil where it is, as far
// as required probes tell.
func (h *hostRun) ill() error {
	for _, p := range h.after {
		if probe.Judge(probe.AfterRollback, []probe.Result{p}) == probe.RollbackFailed {
			return fmt.Errorf("after the rollback probe %s from the %s failed, which is required: expected %s, saw %s", p.Name, p.From, p.Expected, p.Seen)
		}
	}
	return nil
}

// judgedAfter keeps the verdicts of probes about the previous system and tells them.
func (h *hostRun) judgedAfter(results []probe.Result) {
	h.after = append(h.after, results...)
	for _, p := range results {
		e := toEvent(p)
		e.AfterRollback = true
		h.run.emit(event.Event{Type: "probe", Host: h.Name, Phase: event.Rollback, Probe: e})
	}
}

// failedAfter are the probes that did not pass after a rollback.
func (h *hostRun) failedAfter() []event.Probe {
	var failed []event.Probe
	for _, p := range h.after {
		if p.Verdict != probe.Pass {
			e := toEvent(p)
			e.AfterRollback = true
			failed = append(failed, *e)
		}
	}
	return failed
}

// restoredIll is the failure of a host that runs what it had, which is not well.
func (h *hostRun) restoredIll(ctx context.Context, ill error) *Failure {
	f := &Failure{Host: h.Name, Step: "rollback", Word: RollbackFailed, Code: CodeLookNow, Cause: errors.New(h.reasons() + "; " + ill.Error()),
		Next: h.ssh("systemctl --failed") + "\n" + h.ssh("journalctl -b -u 'hdeploy-"+h.id+"-*'")}
	f.Log = h.logOf(ctx)
	return f
}

// endedIll tells a rollback that failed for its probes alone, as the host's record
// has it.
func (h *hostRun) endedIll(ctx context.Context) *Failure {
	if h.status.State != transaction.RollbackFailed || len(h.after) > 0 || h.status.Running != h.status.Before.Running {
		return nil
	}
	h.judgedAfter(h.status.AfterRollback)
	ill := h.ill()
	if ill == nil {
		return nil
	}
	h.endLive("", ill)
	return h.restoredIll(ctx, ill)
}
