package deploy

import (
	"cmp"
	"context"
	"errors"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// mayJoin says that a transaction is under way which this run may turn out to be about,
// once it is known what is to be deployed.
func (h *hostRun) mayJoin() bool { return h.alone != nil && !h.run.DryRun && h.open() != nil }

// checkJoin refuses a host on which another deployment is under way.
func (h *hostRun) checkJoin() error {
	if h.mayJoin() && h.earlier() == nil {
		return h.checkLock()
	}
	return nil
}

// earlier is the transaction of an earlier run about this very closure, whose verdict is
// that of this run: a host that decides by itself may have ended that run, and what it
// has decided is not tried again. Nil where there is none.
func (h *hostRun) earlier() *protocol.Status {
	t := h.facts.Transaction
	if h.alone == nil || t == nil || h.run.DryRun || h.run.undoes() || h.system.OutPath == "" || t.New != h.system.OutPath || !h.same(t.Action) {
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

// overtakenBy is the transaction of another run about this very closure, where that was
// begun while this one looked and copied; nil where the start failed for another reason.
func (h *hostRun) overtakenBy(err error) *protocol.Status {
	var f *Failure
	if !errors.As(err, &f) || f.Step != "lock" {
		return nil
	}
	return h.earlier()
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
	err := h.rejoin(ctx)
	var f *Failure
	if errors.As(err, &f) && f.Word == RolledBack && h.status.Cause.Rejects() {
		f.Next += "\n" + h.again() + " --force  # tries it once more"
	}
	return err
}
