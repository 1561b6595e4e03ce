package deploy

import (
	"context"
	"errors"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// How a confirmation came to the host, as the outcome tells it.
const (
	// byNewConnection: over a connection that was made for it.
	byNewConnection = "new-connection"
	// byOldConnection: over one of before the trial, which proves nothing.
	byOldConnection = "old-connection"
	// bySelf: from the machine itself, which proves nothing about reaching it.
	bySelf = "self"
)

// prove confirms over a new connection to where the new system must answer, or,
// where that proof is not wanted, over the connection at hand, if that still lives.
func (h *hostRun) prove(ctx context.Context, confirm func() agent.First) error {
	switch {
	case h.itself:
		h.proof = bySelf
		h.note("warning", "hdeploy runs on this machine itself: that it can be reached from elsewhere is not proven")
	case h.MagicRollback:
		h.proof = byNewConnection
	default:
		h.proof = byOldConnection
		h.note("warning", "magic_rollback = false: the confirmation rides on the connection at hand; that the host can be reached anew is not proven")
		err := h.agent.Call(ctx, confirm())
		var said *protocol.Error
		if err == nil || errors.As(err, &said) {
			return err
		}
		h.proof = byNewConnection // the old one is gone
	}
	return h.redial(ctx, 0, refusalsToGoBack, h.afterwards(), confirm)
}

// proven says how the host was reached for the confirmation.
func (h *hostRun) proven() string {
	if h.status != nil && h.status.Alone {
		return h.decided()
	}
	switch h.proof {
	case bySelf:
		return "confirmed from the machine itself"
	case byOldConnection:
		return "confirmed over the connection at hand"
	}
	return "reached over a new connection"
}

// decided says how a host that decides by itself did it.
func (h *hostRun) decided() string {
	if p := h.status.Proof; p != nil {
		return "the host decided, inbound " + inbound(*p)
	}
	return "the host decided"
}

// anew says how the host was looked at after a rollback.
func (h *hostRun) anew() string {
	if h.itself {
		return "from the machine itself"
	}
	return "over a new connection"
}

// answersAt names the place of a new connection that is not the one of before.
func (h *hostRun) answersAt() string {
	if h.Confirm == nil || h.run.undoes() {
		return ""
	}
	return " where confirm says that the new system answers"
}

// keeps says that a system that failed is left for a person to look at.
func (h *hostRun) keeps() bool {
	return h.run.Keep || !h.AutoRollback && h.run.Goal == GoalTransact && h.run.Action.Switches() && !h.run.undoes()
}

// keptBy is the setting that says so.
func (h *hostRun) keptBy() string {
	if h.run.Keep {
		return "--no-rollback"
	}
	return "auto_rollback = false"
}
