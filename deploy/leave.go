package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// ErrLeave is the cause of a context's end that asks a run to go, and not to take
// anything back. It is heeded where the host decides by itself; elsewhere nobody else
// would confirm, so that the end of a run means the old system whatever its cause.
var ErrLeave = errors.New("told to leave")

// leaveGrace is how long the answer to a request to begin is waited for once this
// process was told to end: whoever told it may kill it three seconds later.
const leaveGrace = 500 * time.Millisecond

// leaves says whether a run that was told to end leaves the host to itself.
func (h *hostRun) leaves(ctx context.Context) bool {
	return ctx.Err() != nil && h.decidesAlone() && (h.run.Effect || errors.Is(context.Cause(ctx), ErrLeave))
}

// leavesSoon cuts a request short some time after this process was told to end. What it
// returns undoes that.
func (h *hostRun) leavesSoon(ctx context.Context, cut context.CancelFunc) (undo func() bool) {
	return context.AfterFunc(ctx, func() {
		if h.leaves(ctx) {
			time.AfterFunc(leaveGrace, cut)
		}
	})
}

// leftBeginning is the end of a run that was told to go while the host was asked to
// begin: it may have.
func (h *hostRun) leftBeginning() error {
	h.endLive("not followed", nil)
	h.unsure, h.alone.left = true, true
	return &Failure{Host: h.Name, Step: "start", Word: Interrupted, Code: CodeInterrupted, Next: h.attachCommand(),
		Cause: fmt.Errorf("hdeploy was told to end while the host was asked to begin transaction %s (unit hdeploy-%s-supervisor): where it has begun, it decides by itself; %s tells, and so does the next run of the same closure",
			h.id, h.id, h.attachCommand())}
}

func (h *hostRun) attachCommand() string { return "hdeploy attach " + h.named() + " " + h.id }

// followAlone sees a transaction to its end that the host decides by itself. A run that
// is told to end leaves it alone, unless a person interrupts it: that is an abort.
func (h *hostRun) followAlone(ctx context.Context) error {
	h.alone.decidesBy = time.Now().Add(h.status.DeadManIn)
	settled, cancel := h.untilSettled(ctx)
	defer cancel()
	following, leave := context.WithCancel(settled)
	defer leave()
	telling, told := context.WithCancel(settled)
	defer told()
	left := false
	var ending sync.WaitGroup
	ending.Add(1)
	armed := context.AfterFunc(ctx, func() {
		defer ending.Done()
		if !h.leaves(ctx) {
			h.interrupt(telling)
			return
		}
		left = true
		h.note("warning", "%s", h.leaving())
		leave()
	})
	err := h.follow(following, protocol.WatchRequest{ID: h.id})
	concluded := following.Err() == nil
	if concluded {
		err = h.conclude(following, err)
	}
	told()
	if armed() {
		ending.Done()
	}
	ending.Wait()
	h.alone.left = left
	switch {
	case left && h.status.State != transaction.Committed:
		h.endLive("no longer followed", nil)
		return h.leftAlone()
	case concluded:
		return err
	case left:
		return h.conclude(settled, nil) // it was committed in the same instant
	}
	return h.conclude(settled, err)
}

// leaving says, while the transaction goes on, what becomes of it. It is told at once:
// whoever ends this process may not wait.
func (h *hostRun) leaving() string {
	return fmt.Sprintf("hdeploy was told to end; host %s goes on by itself: transaction %s, unit hdeploy-%s-supervisor, decided by %s at the latest; the verdict is told by %s, and by the next run of the same closure",
		h.Name, h.id, h.id, h.alone.decidesBy.Local().Format("15:04:05 MST"), h.attachCommand())
}

// leftAlone says in which state a host is that goes on by itself.
func (h *hostRun) leftAlone() error {
	h.outcome = nil
	if h.status.State.Final() {
		return h.left()
	}
	return &Failure{Host: h.Name, Step: "follow", Word: Interrupted, Code: CodeInterrupted, Next: h.attachCommand(), Cause: errors.New(h.leaving())}
}
