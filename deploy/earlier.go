package deploy

import (
	"cmp"
	"context"
	"errors"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// joins says whether this run takes over what another one has begun: where the host decides
// by itself, which may have ended that run, and in effects. Those of one push are started
// together, and may each deploy the host that comes before all of theirs.
func (h *hostRun) joins() bool { return h.alone != nil || h.run.Effect }

// mayJoin says that a transaction is under way which this run may turn out to be about,
// once it is known what is to be deployed.
func (h *hostRun) mayJoin() bool { return h.joins() && !h.run.DryRun && h.open() != nil }

// checkJoin refuses a host on which another deployment is under way.
func (h *hostRun) checkJoin() error {
	if h.mayJoin() && h.earlier() == nil {
		return h.checkLock()
	}
	return nil
}

// earlier is the transaction of an earlier run about this very closure, whose verdict is
// that of this run: what the host has decided is not tried again. Nil where there is none.
func (h *hostRun) earlier() *protocol.Status {
	t := h.facts.Transaction
	if !h.joins() || t == nil || h.run.DryRun || h.run.undoes() || h.system.OutPath == "" || t.New != h.system.OutPath || !h.same(t.Action) {
		return nil
	}
	switch {
	case !t.State.Final():
		return t
	case h.run.Force:
		return nil
	case t.State == transaction.Committed && h.run.Effect && h.unchanged():
		return t
	case t.State == transaction.RolledBack && t.Cause.Rejects() && (h.run.Effect || h.run.Automatic):
		return t
	}
	return nil // silence, a loss of power or a disturbance say nothing about the system
}

// same says whether the action is that of this run.
func (h *hostRun) same(a transaction.Action) bool {
	return cmp.Or(a, transaction.Switch) == cmp.Or(h.run.Action, transaction.Switch)
}

// join tells how an earlier run about this closure ended, or follows it to its end.
func (h *hostRun) join(ctx context.Context, t protocol.Status) error {
	if err := h.plain(transactionWords(t)...); err != nil {
		return err
	}
	over := t.State.Final()
	h.adopt(t)
	if over {
		h.note("info", "the host has decided about this system already, in transaction %s by %s", t.ID, t.Deployer)
		h.skip("decided already", event.Build, event.Copy)
	} else {
		h.note("info", "this deployment is under way already, as transaction %s by %s: it is followed", t.ID, t.Deployer)
		h.skip("under way already", event.Build, event.Copy)
	}
	return h.sharedVerdict(ctx)
}

// errOvertaken says that another run has begun, or ended, this very deployment since the
// host was looked at.
var errOvertaken = errors.New("another run was faster")

// overtaken finds out whether that is why the host refused to begin.
func (h *hostRun) overtaken(ctx context.Context) bool {
	if !h.joins() || h.of != nil || len(h.later) > 0 || h.agent.Call(ctx, h.askFacts()) != nil {
		return false
	}
	was := h.facts
	h.facts = h.seen
	if h.earlier() == nil || h.plain(transactionWords(*h.earlier())...) != nil {
		h.facts = was
		return false
	}
	return true
}

// giveWay follows the run that was faster.
func (h *hostRun) giveWay(ctx context.Context) error {
	t := *h.earlier()
	h.adopt(t)
	h.endLive("begun by another run", nil)
	h.note("info", "this deployment was begun meanwhile, as transaction %s by %s: its verdict holds", t.ID, t.Deployer)
	return h.sharedVerdict(ctx)
}

// sharedVerdict is how the transaction that was adopted ends.
func (h *hostRun) sharedVerdict(ctx context.Context) error {
	err := h.rejoin(ctx)
	var f *Failure
	if errors.As(err, &f) && f.Word == RolledBack && h.status.Cause.Rejects() {
		f.Next += "\n" + h.again() + " --force  # tries it once more"
	}
	return err
}
