package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Attach follows the transaction id on the one host of the request to its end, or
// tells how it ended. An empty id stands for the one that runs, or the last one.
// It decides nothing: when ctx ends, it stops following, and nothing else.
func Attach(ctx context.Context, r Request, id string) Report {
	return r.onHost(ctx, func(ctx context.Context, h *hostRun) (*hostRun, error) { return h, h.attach(ctx, id) })
}

// Confirm is a person's word that the system in trial is good, in place of the
// deployer's that began it.
func Confirm(ctx context.Context, r Request, id string) Report {
	return r.onHost(ctx, func(ctx context.Context, h *hostRun) (*hostRun, error) { return h, h.confirm(ctx, id) })
}

// Abort is a person's word that it is not: the host goes back, and remembers the
// system as rejected.
func Abort(ctx context.Context, r Request, id string) Report {
	return r.onHost(ctx, func(ctx context.Context, h *hostRun) (*hostRun, error) {
		if err := h.find(ctx, id); err != nil {
			return h, err
		}
		if h.status.State.Final() {
			return h, h.over("abort", "hdeploy rollback "+h.named())
		}
		err := h.takeBack(ctx)
		if errors.Is(err, errTooLate) {
			err = refused(h.Name, "abort", "hdeploy rollback "+h.named(), "%v", errTooLate)
		}
		return h, err
	})
}

// over refuses to decide what has been decided.
func (h *hostRun) over(step, next string) error {
	return refused(h.Name, step, next, "transaction %s is over: %s", h.id, h.status.State)
}

// find looks for a transaction, and makes it the one of this run.
func (h *hostRun) find(ctx context.Context, id string) (err error) {
	done := h.phase(event.Preflight)
	defer func() { done(describe(h.facts), err) }()
	conn, a, err := h.connect(ctx, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System}, &h.facts))
	if err != nil {
		return h.connectionFailure("connect", err)
	}
	h.use(conn, a)
	if h.needsRoot() {
		return h.find(ctx, id)
	}
	t := h.facts.Transaction
	if id != "" && (t == nil || !strings.HasPrefix(t.ID, id)) {
		if t, err = a.Recall(ctx, id); err != nil {
			return h.notFound(err)
		}
		h.older = true
	}
	if t == nil {
		return h.notFound(errors.New("the host remembers no transaction"))
	}
	if err := h.plain(transactionWords(*t)...); err != nil {
		return err
	}
	h.adopt(*t)
	h.run.Action = t.Action
	h.note("info", "transaction %s by %s, begun %s: %s", t.ID, t.Deployer, t.Started.Local().Format("2006-01-02 15:04:05 MST"), t.State)
	return nil
}

func (h *hostRun) notFound(err error) error {
	return refused(h.Name, "find", "hdeploy history "+h.Name, "%s", withoutHost(err))
}

// adopt makes a transaction that somebody else began the one of this run: what
// was before is what the host recorded at its beginning.
func (h *hostRun) adopt(t protocol.Status) {
	h.id, h.status = t.ID, &t
	h.system.OutPath = t.New
	h.facts.Running, h.facts.Profile, h.facts.Boots.System = t.Before.Running, t.Before.Profile, t.Before.Boots
	if t.Restarted {
		h.facts.BootID = "" // that of before it
		h.rebootsTold = min(1, t.Reboots)
	}
}

// untilSettled bounds the wait for a transaction by when the host has decided.
// Ctrl-C does not end it.
func (h *hostRun) untilSettled(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), h.longest())
}

func (h *hostRun) attach(ctx context.Context, id string) error {
	if err := h.find(ctx, id); err != nil {
		return err
	}
	return h.rejoin(ctx)
}

// rejoin follows the transaction that was adopted to its end, or tells how it ended.
func (h *hostRun) rejoin(ctx context.Context) error {
	if h.status.State.Final() {
		return h.past(ctx)
	}
	if d := h.status; d.State == transaction.Prepared || d.State == transaction.Trying {
		h.beginLive(event.Trial)
		h.tellDeadline()
	}
	limit, cancel := context.WithTimeout(ctx, h.longest())
	defer cancel()
	err := h.follow(limit, protocol.WatchRequest{ID: h.id})
	if ctx.Err() != nil && !h.status.State.Final() {
		h.endLive("no longer followed", nil)
		return h.left()
	}
	h.tellResults()
	h.judged(h.status.DeployerResults)
	err = h.conclude(limit, err)
	if ctx.Err() != nil && h.status.State == transaction.RolledBack {
		return h.left() // before it had looked whether the host is back
	}
	return err
}

// tellResults tells the verdicts of the host's probes that were not told yet.
func (h *hostRun) tellResults() {
	all := h.status.Results
	h.judged(all[min(len(h.results), len(all)):])
}

// left says in which state a host is that is followed no more.
func (h *hostRun) left() error {
	f := &Failure{Host: h.Name, Step: "follow", Word: Interrupted, Code: CodeInterrupted, Next: "hdeploy attach " + h.named() + " " + h.id,
		Cause: fmt.Errorf("no longer followed; the transaction goes on (%s), and the host decides within %s", h.status.State, rounded(h.status.DeadManIn))}
	if h.status.State.Final() {
		f.Cause = fmt.Errorf("no longer followed; the host says: %s, %s", h.status.State, h.reasons())
	}
	return f
}

// past tells how a transaction ended that is over.
func (h *hostRun) past(ctx context.Context) error {
	h.judged(h.status.Results)
	h.judged(h.status.DeployerResults)
	s := h.status
	h.note("info", "it ended %s, after %s", s.Ended.Local().Format("2006-01-02 15:04:05 MST"), s.Ended.Sub(s.Started).Round(100*time.Millisecond))
	for _, step := range s.Steps {
		h.entered[step.State] = true
	}
	if h.older {
		h.note("warning", "others have followed: what is told is how it ended then; hdeploy status %s says how the host is", h.Name)
		if word, ill := map[transaction.State]Word{transaction.RollbackFailed: RollbackFailed, transaction.Kept: Kept, transaction.Superseded: Unknown}[s.State]; ill {
			// The commands that were right then would undo what followed.
			return &Failure{Host: h.Name, Step: h.failedStep(), Cause: errors.New(h.reasons()), Word: word, Code: CodeLookNow, Next: "hdeploy status " + h.Name}
		}
	}
	if s.State != transaction.RolledBack {
		return h.conclude(ctx, nil)
	}
	h.judgedAfter(s.AfterRollback)
	return &Failure{Host: h.Name, Step: h.failedStep(), Cause: errors.New(s.Reason), Word: RolledBack, Code: CodeRolledBack,
		Next: "hdeploy log " + h.Name + " " + h.id}
}

// confirm sends a person's confirmation over a connection that is made for it
// alone: that it arrives is the proof that the host can be reached.
func (h *hostRun) confirm(ctx context.Context, id string) error {
	if err := h.find(ctx, id); err != nil {
		return err
	}
	if s := h.status.State; s.Final() && s != transaction.Committed {
		return h.over("confirm", "hdeploy attach "+h.named()+" "+h.id)
	}
	if ctx.Err() != nil {
		return h.left()
	}
	settled, cancel := h.untilSettled(ctx)
	defer cancel()
	h.enter(h.status.State)
	conn, a, err := h.connectAt(settled, h.afterwards(), h.sayConfirm(nil))
	var said *protocol.Error
	switch {
	case errors.As(err, &said):
		h.endLive("", said)
		return h.notConfirmed(said)
	case err != nil:
		// The host decides by its deadline, or has accepted it already.
		h.note("warning", "the connection failed: %s", withoutHost(err))
		if err := h.follow(settled, protocol.WatchRequest{ID: h.id}); err != nil {
			return h.conclude(settled, err)
		}
	default:
		h.use(conn, a)
		h.status = &h.confirmed
	}
	h.judged(h.status.Results)
	return h.conclude(settled, nil)
}

// notConfirmed tells what the host answered.
func (h *hostRun) notConfirmed(said *protocol.Error) error {
	if said.Status != nil {
		h.status = said.Status
	}
	return refused(h.Name, "confirm", "hdeploy attach "+h.named()+" "+h.id, "%s", said.Message)
}
