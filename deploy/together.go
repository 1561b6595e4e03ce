package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// together deploys several profiles of one host, so that all are kept or none: each
// has a transaction of its own on the host, every one waits until the last is judged,
// and only then all are confirmed, in their order, over one new connection. Silence,
// a loss of power and a failure of any of them take all back.
type together struct {
	lead  *hostRun
	runs  []*hostRun
	specs map[*hostRun][]probe.Spec

	mu    sync.Mutex
	begun []*hostRun
}

// beginSlack is the time between one trial and the next, beside their own limits.
const beginSlack = 10 * time.Second

// deployAll is everything after the build for a host with several profiles.
func (h *hostRun) deployAll(ctx context.Context) error {
	for _, p := range h.all() {
		h.run.speaksOf(p)
		if err := p.unwrapProfile(ctx); err != nil {
			return p.blame(h, err)
		}
		if err := p.judge(ctx); err != nil {
			return p.blame(h, err)
		}
	}
	if err := h.bootedApart(); err != nil {
		return err
	}
	if h.keeps() {
		return refused(h.Name, "judge", h.again(), "%s leaves one failed system for a person to look at, and cannot leave one of several profiles that belong together", h.keptBy())
	}
	t := &together{lead: h, specs: map[*hostRun][]probe.Spec{}}
	for _, p := range h.all() {
		h.run.speaksOf(p)
		switch {
		case h.run.DryRun:
			p.fail(p.preview())
		case p.unchanged():
			p.fail(p.judgeUnchanged(ctx))
		default:
			t.runs = append(t.runs, p)
		}
	}
	if len(t.runs) == 0 {
		return nil
	}
	return t.transact(ctx)
}

// bootedApart refuses a system that is only booted, where other profiles would be
// activated beside the old one, and kept.
func (h *hostRun) bootedApart() error {
	for _, p := range h.all() {
		if p.bootInstead != "" {
			return refused(h.Name, "judge", "hdeploy boot "+h.Name+"  # and, after a reboot, switch",
				"the system can only be booted (%s), and its other profiles would be activated beside the one that runs", p.bootInstead)
		}
	}
	return nil
}

// blame makes err the failure of the profile, and the host's.
func (h *hostRun) blame(lead *hostRun, err error) error {
	h.fail(err)
	lead.blamed = h
	return err
}

func (t *together) transact(ctx context.Context) error {
	for _, p := range t.runs {
		specs, err := p.specs()
		if err != nil {
			return p.blame(t.lead, err)
		}
		t.specs[p] = specs
		p.glance(ctx, specs)
	}
	// What cannot be copied is known before anything is changed.
	for _, p := range t.runs {
		t.lead.run.speaksOf(p)
		if err := p.bring(ctx); err != nil {
			return p.blame(t.lead, err)
		}
	}
	t.share()
	failed, why := t.tryAll(ctx)
	if failed == nil {
		return nil
	}
	t.lead.blamed = failed
	t.takeBack(context.WithoutCancel(ctx), failed, why)
	return nil
}

// share gives each profile the time that the others need while it waits: the trials
// of those after it, and the commits of those before.
func (t *together) share() {
	for i, p := range t.runs {
		p.longer = 0
		for j, other := range t.runs {
			limits := other.limits(t.specs[other])
			switch {
			case j > i:
				p.longer += limits.Activation + other.Timeouts.Confirm + probe.LongestDeadline(t.specs[other]) + beginSlack
			case j < i:
				p.longer += limits.Commit
			}
		}
	}
}

// tryAll brings all profiles to their trial and confirms them. It returns the one
// that failed, and why, as far as the others need to know.
func (t *together) tryAll(ctx context.Context) (failed *hostRun, why string) {
	first := t.runs[0]
	if err := t.begin(ctx, first); err != nil {
		first.fail(err)
		return first, err.Error()
	}
	settled, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.longest())
	defer cancel()
	telling, told := context.WithCancel(settled)
	defer told()
	var interrupting sync.WaitGroup
	interrupting.Add(1)
	armed := context.AfterFunc(ctx, func() {
		defer interrupting.Done()
		t.interrupt(telling)
	})
	failed, why = t.judgeAll(ctx, settled)
	if failed == nil {
		failed, why = t.confirmAll(ctx, settled)
	}
	told()
	if armed() {
		interrupting.Done()
	}
	interrupting.Wait()
	return failed, why
}

func (t *together) longest() time.Duration {
	limit := t.runs[0].longest()
	for _, p := range t.runs {
		limit += p.Timeouts.Rollback
	}
	return limit
}

// begin starts the trial of one profile, and copies again what was collected since
// the copy.
func (t *together) begin(ctx context.Context, p *hostRun) error {
	t.lead.run.speaksOf(p)
	p.stopped = ctx
	begin := func(ctx context.Context) error { return p.beginOrBoot(ctx, t.specs[p]) }
	err := begin(ctx)
	var said *protocol.Error
	if errors.As(err, &said) && said.Code == protocol.CodeMissing {
		err = p.copyAnd(ctx, begin)
	}
	if err == nil {
		t.mu.Lock()
		t.begun = append(t.begun, p)
		t.mu.Unlock()
	}
	return err
}

// judgeAll begins all trials but the first, which is begun, and follows each until it
// waits and was judged.
func (t *together) judgeAll(ctx, settled context.Context) (failed *hostRun, why string) {
	for i, p := range t.runs {
		if i > 0 {
			if ctx.Err() != nil {
				return p, "the run was interrupted"
			}
			if err := t.begin(ctx, p); err != nil {
				p.fail(err)
				return p, rootCause(err)
			}
		}
		if err := p.awaitTrial(settled, from(t.specs[p], probe.FromDeployer)); err != nil {
			return p, err.Error()
		}
	}
	return nil, ""
}

// awaitTrial follows a trial until the host waits for the confirmation, and asks
// this side's probes.
func (h *hostRun) awaitTrial(ctx context.Context, onDeployer []probe.Spec) error {
	if err := h.follow(ctx, protocol.WatchRequest{ID: h.id, Judged: true}); err != nil {
		h.fail(err)
		return err
	}
	h.judged(h.status.Results)
	if h.status.State != transaction.Waiting {
		return errors.New(h.status.Reason)
	}
	limit, cancel := context.WithTimeout(ctx, h.status.ConfirmIn)
	defer cancel()
	defer context.AfterFunc(h.stopped, cancel)()
	h.verifyError = h.judgeHere(ctx, limit, onDeployer, &h.hereResults)
	return h.verifyError
}

// confirmAll proves over a new connection that the host can be reached, and confirms
// over it, in order.
func (t *together) confirmAll(ctx, settled context.Context) (failed *hostRun, why string) {
	// One that has gone back meanwhile must be known before another is committed.
	for _, p := range t.runs {
		if err := p.follow(settled, protocol.WatchRequest{ID: p.id, Judged: true}); err != nil {
			p.fail(err)
			return p, err.Error()
		}
		if p.status.State != transaction.Waiting {
			return p, p.status.Reason
		}
	}
	var shared *hostRun
	for _, p := range t.runs {
		t.lead.run.speaksOf(p)
		if shared != nil {
			p.conn, p.agent, p.proof = shared.conn, shared.agent.About(p.of), shared.proof
		}
		p.verifyError = t.confirm(ctx, settled, p, shared != nil)
		if p.verifyError == nil && p.status.State == transaction.Committed {
			p.fail(p.conclude(settled, nil))
			shared = p
			continue
		}
		if p.verifyError != nil {
			p.endLive("", p.verifyError)
			return p, p.verifyError.Error()
		}
		return p, p.status.Reason
	}
	return nil, ""
}

// confirm says the last word about one profile, over the new connection that another
// one has proved, or over one of its own.
func (t *together) confirm(ctx, settled context.Context, p *hostRun, proved bool) error {
	limit, cancel := context.WithTimeout(settled, p.longer+p.Timeouts.Confirm+p.Timeouts.Commit+p.Timeouts.Rollback)
	defer cancel()
	if proved {
		if done, err := p.confirmOver(limit); done {
			return err
		}
	}
	return p.confirmAnew(settled, limit)
}

// confirmOver confirms over the connection at hand; where that is lost it is done
// anew.
func (h *hostRun) confirmOver(ctx context.Context) (done bool, refused error) {
	s, err := h.agent.Confirm(ctx, protocol.DecideRequest{ID: h.id, Results: h.hereResults, SkipLines: h.logSeen}, h.watched)
	var said *protocol.Error
	switch {
	case err == nil:
		h.status = s
		return true, nil
	case errors.As(err, &said) && said.Status != nil:
		h.status = said.Status
		return true, said
	}
	return false, nil
}

// confirmAnew dials, and confirms over that connection.
func (h *hostRun) confirmAnew(ctx, limit context.Context) error {
	old := h.agent
	limit, cancel := context.WithCancel(limit)
	defer cancel()
	defer context.AfterFunc(h.stopped, cancel)()
	err := h.prove(limit, func() agent.First { return h.sayConfirm(h.hereResults) })
	return h.heard(ctx, old, err)
}

// takeBack makes the host what it was before: the profile that failed first, and then
// those before it, the last one first.
func (t *together) takeBack(ctx context.Context, failed *hostRun, why string) {
	if len(t.begun) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.longest())
	defer cancel()
	for _, p := range slices.Backward(t.begun) {
		t.lead.run.speaksOf(p)
		reason := why
		if p != failed {
			reason = undone(failed, why)
		}
		if p.status.State == transaction.Committed {
			t.undo(ctx, p, reason)
			continue
		}
		if !p.status.State.Final() {
			p.abortOver(ctx, p.agent, transaction.Disturbed, reason, nil)
		}
		err := p.follow(ctx, protocol.WatchRequest{ID: p.id})
		p.fail(p.conclude(ctx, err))
	}
}

// undo goes back from a profile that was committed before another one failed, in a
// transaction of its own.
func (t *together) undo(ctx context.Context, p *hostRun, why string) {
	before := p.facts.Running
	f := &Failure{Host: p.Name, Step: "commit", Word: RolledBack, Code: CodeRolledBack, Cause: errors.New(why), Next: p.again()}
	p.outcome = nil
	if before == "" {
		p.fail(p.lookNow(RollbackFailed, "rollback", fmt.Errorf("%s; profile %s was committed, and had nothing to go back to", why, p.profile.Name)))
		return
	}
	p.note("warning", "going back: %s", why)
	back := newHostRun(p.run, p.Host)
	back.ofProfile(p.profile)
	back.of, back.conn, back.agent, back.act = p.of, p.conn, p.agent, transaction.Rollback
	err := back.askAgain(ctx)
	if err == nil {
		back.system.OutPath = before
		back.stopped = ctx
		if err = back.begin(ctx, nil); err == nil {
			err = back.settle(ctx, nil)
		}
	}
	if err != nil {
		p.fail(p.lookNow(RollbackFailed, "rollback", fmt.Errorf("%s; profile %s was committed, and going back from it failed: %v", why, p.profile.Name, err)))
		return
	}
	p.status = back.status
	p.fail(f)
}

// interrupt asks the host to go back from all that were begun, the last one first.
func (t *together) interrupt(ctx context.Context) {
	t.mu.Lock()
	begun := slices.Clone(t.begun)
	t.mu.Unlock()
	for _, p := range slices.Backward(begun) {
		p.interrupt(ctx)
	}
}

// speaksOf says which profile of a host the events are about from now on.
func (r *run) speaksOf(p *hostRun) {
	if p.profile.Name != "" {
		r.about.Store(p.Name, p.profile.Name)
	}
}

// labelled is an event with the profile that it is about.
func (r *run) labelled(e event.Event) event.Event {
	if name, ok := r.about.Load(e.Host); ok && e.Type != "outcome" {
		e.Profile, _ = name.(string)
	}
	return e
}
