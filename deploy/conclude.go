package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const logLines = 12

// conclude turns how the transaction ended into the host's outcome. followErr is
// why that could not be read, if it could not.
func (h *hostRun) conclude(ctx context.Context, followErr error) error {
	if followErr != nil {
		h.endLive("", followErr)
		return followErr
	}
	switch h.status.State {
	case transaction.Committed:
		return h.committed()
	case transaction.RolledBack:
		return h.rolledBack(ctx)
	case transaction.Kept:
		f := h.kept()
		f.Log = h.logOf(ctx)
		return f
	case transaction.Superseded:
		return h.lookNow(Unknown, "superseded", fmt.Errorf("%s; hdeploy touched nothing after that", h.status.Reason))
	default:
		if f := h.endedIll(ctx); f != nil {
			return f
		}
		return h.rollbackFailed(ctx, strings.Join(append([]string{h.reasons()}, h.status.Notes...), "; "), nil)
	}
}

func (h *hostRun) lookNow(word Word, step string, cause error) *Failure {
	return &Failure{Host: h.Name, Step: step, Cause: cause, Word: word, Code: CodeLookNow,
		Next: h.ssh("journalctl -u 'hdeploy-" + h.id + "-*'")}
}

func (h *hostRun) committed() error {
	if h.bootInstead != "" {
		return h.stagedInstead()
	}
	if h.rebootNeeded && !h.run.ThenReboot {
		h.note("info", "the new kernel runs after a reboot")
	}
	if h.status.Boots == "unknown" {
		h.note("warning", "what the host boots could not be read: its boot loader is not known")
	}
	if probe.Judge(probe.InTrial, h.results) != probe.Committed {
		h.done(Degraded, CodeDegraded)
		return nil
	}
	h.done(h.achieved(), CodeOK)
	return nil
}

func (h *hostRun) achieved() Word {
	switch {
	case !h.run.activates():
		return Staged
	case !h.run.commits():
		return Tested
	}
	return Committed
}

// kept tells of a system that failed and that the user wanted to look at.
func (h *hostRun) kept() *Failure {
	runs, boots := "which failed", h.status.Previous
	if h.status.Running != h.system.OutPath {
		runs = "since the new system was not activated, or not wholly"
	}
	if b := h.facts.Boots.System; b != "" {
		boots = b
	}
	f := h.lookNow(Kept, h.failedStep(), fmt.Errorf(
		"%s\n%s: NOTHING WAS TAKEN BACK, and no deadline takes it back any more\nit runs %s, %s\nit still boots %s, the old system",
		h.reasons(), h.keptBy(), h.status.Running, runs, boots))
	h.status.Boots = h.facts.Boots.System // a trial leaves it alone
	f.Next = "hdeploy rollback " + h.named() + "\n" + h.ssh("systemctl reboot") + "  # boots the old system\n" + f.Next
	return f
}

// rolledBack says so only when the previous system was seen over a connection
// that was made after the rollback.
func (h *hostRun) rolledBack(ctx context.Context) error {
	reason := h.reasons()
	if h.status.Untouched {
		return h.notBegun(ctx, reason)
	}
	ctx, cancel := context.WithTimeout(ctx, h.patience())
	defer cancel()
	h.forgivePassword()
	if err := h.redial(ctx, 0, patient, h.before(), h.askFacts); err != nil {
		h.endLive("", err)
		return h.rollbackFailed(ctx, fmt.Sprintf("%s; the host says that it went back, but could not be reached to see it: %v", reason, err), nil)
	}
	if t := h.seen.Transaction; t != nil && t.ID == h.id {
		h.status = t // it may have been written to since: a host that restarted says so
	}
	h.noteAll()
	if err := h.differs(); err != nil {
		h.endLive("", err)
		return h.rollbackFailed(ctx, fmt.Sprintf("%s; the host says that it went back, but %v", reason, err), &h.seen)
	}
	if ill := h.probeRestored(ctx); ill != nil {
		h.endLive("", ill)
		return h.restoredIll(ctx, ill)
	}
	h.endLive("seen to run what ran before, "+h.anew(), nil)
	if h.wanted {
		h.done(RolledBack, CodeOK)
		return nil
	}
	f := &Failure{Host: h.Name, Step: h.failedStep(), Cause: errors.New(reason), Word: RolledBack, Code: CodeRolledBack,
		Next: h.ssh("journalctl -u 'hdeploy-" + h.id + "-*'")}
	if h.interrupted.Load() {
		f.Word, f.Code = Interrupted, CodeInterrupted
	}
	f.Log = h.logOf(ctx)
	return f
}

// notBegun tells of a trial that switch-to-configuration refused before it did
// anything: nothing was changed, and nothing had to be brought back.
func (h *hostRun) notBegun(ctx context.Context, reason string) error {
	h.endLive("nothing was changed", nil)
	f := refused(h.Name, "trial", "hdeploy switch "+h.Name, "%s", reason)
	if h.interrupted.Load() {
		f.Word, f.Code = Interrupted, CodeInterrupted
	}
	f.Log = h.logOf(ctx)
	return f
}

// differs compares what is seen with what was: the running system, which after a
// restart is the profile's, the profile, and the boot default where it is known.
func (h *hostRun) differs() error {
	was, is := h.facts, h.seen
	restarted := is.BootID != was.BootID && is.Running == was.Profile.Path
	switch {
	case is.Running != was.Running && !restarted:
		return fmt.Errorf("it runs %s", is.Running)
	case is.Profile.Link != was.Profile.Link || is.Profile.Path != was.Profile.Path:
		return fmt.Errorf("its profile is generation %d, %s", is.Profile.Number, is.Profile.Path)
	case was.Boots.System != "" && is.Boots.System != was.Boots.System:
		return fmt.Errorf("it boots %s", is.Boots.System)
	}
	return nil
}

// reasons is why the host went back, by its own record and as seen from here.
func (h *hostRun) reasons() string {
	reason := h.status.Reason
	if h.verifyError != nil && !strings.Contains(reason, h.verifyError.Error()) {
		reason += "; " + h.verifyError.Error()
	}
	return reason
}

// failedStep is the step at which the new system was found wanting.
func (h *hostRun) failedStep() string {
	switch {
	case h.entered[transaction.Committing]:
		return "commit"
	case h.entered[transaction.Waiting]:
		return "verify"
	}
	return "trial"
}

func (h *hostRun) logOf(ctx context.Context) []string {
	text, err := h.agent.Log(ctx, h.id, logLines)
	if err != nil {
		return nil
	}
	return text
}
