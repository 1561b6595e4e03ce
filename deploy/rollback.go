package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// RollbackRequest is one host that is to go back. Flake and StateDir of the
// request are not used: nothing is evaluated, built or copied.
type RollbackRequest struct {
	Request
	// To is the number of a generation or a store path; empty for the last system
	// that was confirmed before the running one.
	To string
	// Agree is asked before the first change, unless it is nil. Its error ends the
	// run as interrupted, with that as the cause.
	Agree func(context.Context, event.Plan) error
}

// Rollback makes the one host of the request run a system of before, in a
// transaction of its own. Where a deployment is under way it is taken back
// instead. No Nix is needed here.
func Rollback(ctx context.Context, r RollbackRequest) Report {
	r.Action = transaction.Rollback
	return r.onHost(ctx, func(ctx context.Context, h *hostRun) (*hostRun, error) {
		err := h.rollBack(ctx, r)
		if !errors.Is(err, errTooLate) {
			return h, err
		}
		// What was agreed to was to go back to what ran before that deployment.
		r.To, r.Agree = h.facts.Profile.Path, nil
		h.note("info", "the deployment was committed before it could be stopped; going back from it")
		h = h.another()
		return h, h.rollBack(ctx, r)
	})
}

// onHost runs what concerns one host and needs no Nix. The host that work returns
// is the one that is reported.
func (r Request) onHost(ctx context.Context, work func(context.Context, *hostRun) (*hostRun, error)) Report {
	run := &run{Request: r, started: time.Now()}
	defer run.close()
	h := newHostRun(run, r.Hosts[0])
	err := h.choose(r.Profile)
	if err == nil {
		h, err = work(ctx, h)
	}
	h.fail(err)
	return run.report(ctx, []*hostRun{h})
}

func (h *hostRun) rollBack(ctx context.Context, r RollbackRequest) error {
	plan, err := h.planRollback(ctx, r.To)
	if err != nil {
		return err
	}
	if t := h.open(); t != nil {
		if t.Action == transaction.Rollback {
			return refused(h.Name, "lock", "hdeploy attach "+h.named(), "%s is going back already, since %s: to %s", t.Deployer,
				t.Started.Local().Format("2006-01-02 15:04:05 MST"), t.New)
		}
		h.adopt(*t)
		if err := h.agree(ctx, r, aborting(*t)); err != nil {
			return err
		}
		return h.takeBack(ctx)
	}
	if err := h.checkPlan(plan); err != nil {
		return err
	}
	h.system.OutPath, h.rejects, h.rebootNeeded = plan.Target, plan.Rejects, plan.RebootNeeded
	if h.unchanged() {
		h.note("info", "already runs and boots %s", plan.Target)
		h.done(Unchanged, CodeOK)
		return nil
	}
	specs, err := h.specs()
	if err != nil {
		return err
	}
	if err := h.agree(ctx, r, planned(plan)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	specs, err = h.seenFromHere(alerting(specs))
	if err = cmp.Or(err, h.checkAble()); err != nil {
		return err
	}
	h.glance(ctx, specs)
	if err := h.beginOrBoot(ctx, specs); err != nil {
		return err
	}
	return h.settle(ctx, specs)
}

// planRollback connects, looks, and lets the host choose where to go.
func (h *hostRun) planRollback(ctx context.Context, to string) (plan protocol.RollbackPlan, err error) {
	done := h.phase(event.Preflight)
	defer func() { done(describe(h.facts), err) }()
	conn, a, err := h.reach(ctx, agent.AskRollback(protocol.RollbackRequest{Profile: profiles.System, To: to}, &plan))
	if err != nil {
		return plan, h.connectionFailure("connect", err)
	}
	h.use(conn, a)
	h.facts = plan.Facts
	h.lookForThisProcess(ctx)
	if err := h.chooseMode(); err != nil {
		return plan, err
	}
	if h.needsRoot() {
		return h.planRollback(ctx, to)
	}
	if p := h.facts.OfProfile; p != nil { // what is behind a wrapper is known there
		h.of.Program.Kind, h.of.Link = p.Kind, p.Link
		h.agent = h.agent.About(h.of)
	}
	return plan, nil
}

// open is the transaction that holds the host, nil where there is none.
func (h *hostRun) open() *protocol.Status {
	if t := h.facts.Transaction; t != nil && !t.State.Final() {
		return t
	}
	return nil
}

// checkPlan refuses what the facts forbid, and a plan without a target.
func (h *hostRun) checkPlan(plan protocol.RollbackPlan) error {
	if err := h.checkHost(); err != nil {
		return err
	}
	if plan.Target == "" {
		for _, s := range plan.Skipped {
			h.note("warning", "passed over: %s: %s", s.System, s.Why)
		}
		return refused(h.Name, "choose", h.ssh("ls -l /nix/var/nix/profiles"), "%s", plan.Why)
	}
	return h.plain(plan.Target, plan.Rejects)
}

// agree tells the plan and waits for a yes.
func (h *hostRun) agree(ctx context.Context, r RollbackRequest, plan event.Plan) error {
	h.run.emit(event.Event{Type: "plan", Host: h.Name, Plan: &plan})
	if r.Agree == nil {
		return nil
	}
	if err := r.Agree(ctx, plan); err != nil {
		return &Failure{Host: h.Name, Step: "ask", Cause: fmt.Errorf("%v; nothing was changed", err), Word: Interrupted, Code: CodeInterrupted,
			Next: "hdeploy rollback " + h.named() + " --yes"}
	}
	return nil
}

func planned(p protocol.RollbackPlan) event.Plan {
	plan := event.Plan{
		From: p.Facts.Running, FromGeneration: p.Facts.Profile.Number, To: p.Target, Generation: p.Generation, Version: p.Version,
		Verdict: string(p.Verdict), ConfirmedBy: p.By, ConfirmedAt: p.Confirmed, Rejects: p.Rejects, RebootNeeded: p.RebootNeeded,
	}
	if p.Verdict == transaction.NotDecided {
		plan.Verdict = "unproven"
	}
	for _, s := range p.Skipped {
		plan.Skipped = append(plan.Skipped, event.PassedOver{System: s.System, Generation: s.Generation, Why: s.Why})
	}
	return plan
}

func aborting(t protocol.Status) event.Plan {
	return event.Plan{
		From: t.New, To: t.Before.Running, Generation: t.Before.Profile.Number, Aborts: t.ID, AbortsOf: t.Deployer, Rejects: t.New,
		Verdict: "previous",
	}
}

// notEvaluated says nothing about what a configuration does not enable.
func notEvaluated(specs []probe.Spec) []probe.Spec {
	for _, s := range specs {
		switch ask := s.Ask.(type) {
		case *probe.OnePasswordSpec:
			ask.NotConfigured = false
		case *probe.HerculesSpec:
			ask.NotConfigured = false
		}
	}
	return specs
}

// alerting makes probes tell and not decide: what fails before and after a
// rollback, in the middle of an incident, must not undo it. Nothing was evaluated,
// so that nothing is said about what a configuration does not enable.
func alerting(specs []probe.Spec) []probe.Spec {
	for i := range specs {
		s := &specs[i]
		s.OnFail, s.OnUnknown, s.AfterRollback = probe.Alert, probe.Alert, probe.Advisory
	}
	return notEvaluated(specs)
}

// errTooLate says that a deployment was committed before it could be stopped.
var errTooLate = errors.New("it was committed already")

// takeBack aborts the transaction that runs on the host, as a person's verdict,
// and waits until the host is back.
func (h *hostRun) takeBack(ctx context.Context) error {
	if ctx.Err() != nil {
		return h.left()
	}
	settled, cancel := h.untilSettled(ctx)
	defer cancel()
	h.wanted = true
	h.enter(h.status.State)
	if err := h.abort(settled); err != nil {
		return h.conclude(settled, err)
	}
	err := h.follow(settled, protocol.WatchRequest{ID: h.id})
	if err == nil && h.status.State == transaction.Committed {
		h.endLive("", nil)
		return errTooLate
	}
	return h.conclude(settled, err)
}

// abort asks until the host has answered: a connection may be lost when the
// system goes.
func (h *hostRun) abort(ctx context.Context) error {
	why := "aborted by " + h.run.Deployer
	for {
		status, err := h.agent.Abort(ctx, protocol.DecideRequest{ID: h.id, Cause: transaction.PersonAborted, Reason: why})
		var said *protocol.Error
		switch {
		case err == nil:
			h.status = status
			return nil
		case errors.As(err, &said):
			return h.lost(said)
		}
		if err := h.reconnect(ctx); err != nil {
			return h.lost(err)
		}
	}
}
