package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// redialFirst and redialLast bound the growing pause between connections to
	// a host that does not answer. OpenSSH 9.8 and newer penalise an address
	// that knocks more often without logging in.
	redialFirst = 2 * time.Second
	redialLast  = 10 * time.Second
	// beginLimit bounds the start of a transaction, with a new connection in it.
	beginLimit = 3 * time.Minute
	// patience is how long after the host's own last deadline it is still asked
	// what became of it.
	patience = 90 * time.Second
)

// transact copies the closure and runs the host's transaction. From its start on
// everything is decided there; this side only proves that the host can be reached,
// brings its own verdicts, and asks until it knows how it ended.
func (h *hostRun) transact(ctx context.Context) error {
	specs, err := h.specs()
	if err != nil {
		return err
	}
	if !h.run.activates() {
		specs = nil // with ThenReboot they are asked after the boot
	}
	if specs, err = h.seenFromHere(specs); err != nil {
		return err
	}
	if err := h.checkAble(); err != nil {
		return err
	}
	h.noteRestart()
	if err := h.drain(ctx); err != nil {
		return err
	}
	h.glance(ctx, specs)
	begin := func(ctx context.Context) error { return h.beginOrBoot(ctx, specs) }
	err = h.copyAnd(ctx, begin)
	if errors.Is(err, errOvertaken) {
		return h.giveWay(ctx)
	}
	if err != nil {
		return err
	}
	return h.settle(ctx, specs)
}

// settle sees a transaction that was begun here through to its end.
func (h *hostRun) settle(ctx context.Context, specs []probe.Spec) error {
	if h.bootInstead != "" {
		specs = nil // what does not run cannot be judged
	}
	if h.decidesAlone() {
		return h.followAlone(ctx)
	}
	// What runs on the host does not end with this run's context: the host is
	// told to go back, and its answer is waited for.
	settled, cancel := h.untilSettled(ctx)
	defer cancel()
	h.stopped = ctx
	telling, told := context.WithCancel(settled)
	defer told()
	var interrupting sync.WaitGroup
	interrupting.Add(1)
	armed := context.AfterFunc(ctx, func() {
		defer interrupting.Done()
		h.interrupt(telling)
	})
	h.proving = settled
	err := h.seeThrough(settled, from(specs, probe.FromDeployer))
	closeUnused(h.early.Swap(nil).take())
	told()
	if armed() {
		interrupting.Done()
	}
	interrupting.Wait()
	return h.conclude(settled, err)
}

func (h *hostRun) limits(specs []probe.Spec) transaction.Limits {
	t := h.Timeouts
	return transaction.Limits{
		Activation: t.Activation, Confirm: t.Confirm + probe.LongestDeadline(specs) + h.longer + h.deliberation(specs),
		Commit: t.Commit, Rollback: t.Rollback, Grace: t.Grace,
	}
}

func (h *hostRun) begin(ctx context.Context, specs []probe.Spec) error {
	if err := h.callWitness(ctx, specs); err != nil {
		return err
	}
	h.beginLive(event.Trial)
	if h.keeps() && !h.run.Keep {
		h.note("warning", "%s: a new system that fails its trial is left running; only silence takes it back", h.keptBy())
	}
	if h.bootInstead != "" {
		specs = nil
	}
	// From here on an interruption is an abort on the host, not the end of a
	// request that may have reached it.
	told := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginLimit)
	defer cancel()
	defer h.leavesSoon(told, cancel)()
	found := h.conn.Target()
	h.found = &found
	revision := h.revision(ctx)
	request := protocol.StartRequest{
		ID: h.id, Deployer: h.run.Deployer, Revision: revision.Commit, Dirty: revision.Dirty, Profile: profiles.System, New: h.system.OutPath,
		Running: h.facts.Running, Limits: h.limits(specs), Probes: from(specs, probe.FromHost),
		Action: h.action(), Keep: h.keeps(), Automatic: h.run.Automatic, Force: h.run.Force,
		Rejects: h.rejects, LastResort: transaction.LastResort(h.LastResort), Tree: h.tree(), Alone: h.aloneRequest(),
	}
	status, err := h.agent.Begin(ctx, request)
	var said *protocol.Error
	if err != nil && !errors.As(err, &said) && h.leaves(told) {
		return h.leftBeginning()
	}
	if err != nil && !errors.As(err, &said) {
		// The host answers a repeated request with the transaction it has begun.
		if h.redial(ctx, redialFirst, patient, h.anywhere(), h.askFacts) == nil {
			status, err = h.agent.Begin(ctx, request)
		}
	}
	if errors.As(err, &said) && h.overtaken(ctx) {
		return errOvertaken
	}
	if err != nil {
		return h.startFailure(err)
	}
	h.status = status
	h.tellDeadline()
	return nil
}

// tellDeadline tells by when the host goes back: at the start of the trial, which
// has all its time, and again when it waits for nothing but the confirmation.
func (h *hostRun) tellDeadline() {
	h.run.emit(event.Event{Type: "deadline", Host: h.Name, Phase: h.lived, Deadline: &event.Deadline{
		ID: h.id, Confirm: h.status.ConfirmIn.Seconds(), DeadMan: h.status.DeadManIn.Seconds(), Alone: h.status.Alone,
	}})
}

// startFailure tells a refusal of the agent from a connection that died in the
// middle of it, after which only the host knows whether the trial began.
func (h *hostRun) startFailure(err error) error {
	var said *protocol.Error
	switch {
	case !errors.As(err, &said):
		err = &Failure{Host: h.Name, Step: "start", Word: Unknown, Code: CodeLookNow, Next: h.again(),
			Cause: fmt.Errorf("the connection was lost while the trial was being started (%v); unless it is confirmed the host goes back by itself", err)}
	case said.Code == protocol.CodeMissing, said.Code == protocol.CodeNotSwitchable:
		return err
	case said.Code == protocol.CodeLocked && said.Status != nil:
		err = h.locked(said.Status)
	case said.Code == protocol.CodeFrozen:
		err = h.frozen(said.Message)
	case said.Code == protocol.CodeRejected:
		err = h.rejected()
	default:
		err = refused(h.Name, "start", h.again(), "%s", said.Message)
	}
	h.endLive("", err)
	return err
}

// seeThrough follows the trial, proves over a new connection that the host can
// be reached, and confirms. Its error is why there was no confirmation; how the
// transaction ended stands in h.status.
func (h *hostRun) seeThrough(ctx context.Context, onDeployer []probe.Spec) error {
	if err := h.follow(ctx, protocol.WatchRequest{ID: h.id, Judged: true}); err != nil {
		return err
	}
	h.judged(h.status.Results)
	if h.status.State == transaction.Waiting {
		h.verifyError = h.verify(ctx, onDeployer)
		if h.verifyError != nil {
			h.endLive("", h.verifyError)
		}
	}
	if h.status.State.Final() {
		return nil
	}
	return h.follow(ctx, protocol.WatchRequest{ID: h.id})
}

func (h *hostRun) verified() string {
	if len(h.results) == 0 {
		return h.proven()
	}
	return h.proven() + ", " + plural(len(h.results), "probe") + " judged"
}

// follow watches the transaction over the connection at hand, and over new ones
// when that dies, until what was asked for has come about.
func (h *hostRun) follow(ctx context.Context, w protocol.WatchRequest) error {
	for {
		w.SkipLines = h.logSeen
		s, err := h.agent.Watch(ctx, w, h.watched)
		if err == nil {
			h.status = s
			return nil
		}
		var said *protocol.Error
		if errors.As(err, &said) {
			return h.lost(said)
		}
		if err := h.reconnect(ctx); err != nil {
			return h.lost(err)
		}
	}
}

func (h *hostRun) lost(err error) error {
	var named *Failure
	if errors.As(err, &named) {
		return named
	}
	return &Failure{Host: h.Name, Step: "follow", Word: Unknown, Code: CodeLookNow, Next: h.ssh("journalctl -u 'hdeploy-" + h.id + "-*'"),
		Cause: fmt.Errorf("the host could not be asked how it ended: %v", err)}
}

func (h *hostRun) watched(e protocol.WatchEvent) {
	if e.Line != "" {
		h.logSeen++
		h.run.emit(event.Event{Type: "line", Host: h.Name, Phase: h.lived, Line: &event.Line{Source: "activation", Text: e.Line}})
	}
	if e.Status != nil {
		h.status = e.Status
		if h.alone != nil {
			h.tellResults() // nobody else asks for them, and this side may be gone at the end
		}
		h.tellReboots()
		h.enter(e.Status.State)
	}
}

// enter tells the phases that begin and end on the host.
func (h *hostRun) enter(s transaction.State) {
	h.entered[s] = true
	switch s {
	case transaction.Waiting:
		if h.lived == event.Trial {
			h.endLive(h.tried(), nil)
		}
		if h.lived != event.Verify {
			if h.proving != nil && h.MagicRollback {
				h.dialAhead(h.proving)
			}
			h.beginLive(event.Verify)
			h.tellDeadline()
		}
		h.noteAll()
	case transaction.Committing:
		h.endLive(h.verified(), nil)
		h.beginCommit()
	case transaction.Committed:
		h.beginCommit()
		h.endLive("", nil)
	case transaction.RollingBack, transaction.RolledBack:
		if h.status.Untouched { // there is nothing to go back from
			h.endLive("", errors.New(h.status.Reason))
			return
		}
		if h.lived != event.Rollback {
			h.endLive("", errors.New(h.status.Reason))
			h.note("warning", "going back: %s", h.status.Reason)
		}
		h.beginLive(event.Rollback)
	case transaction.RollbackFailed, transaction.Superseded, transaction.Kept:
		h.endLive("", errors.New(h.status.Reason))
	case transaction.Prepared, transaction.Trying: // the trial was begun here
	}
}

func (h *hostRun) tried() string {
	if !h.action().Activates() {
		return "nothing to activate"
	}
	return "active, not yet confirmed"
}

// beginCommit begins the last phase, which a test does not have.
func (h *hostRun) beginCommit() {
	switch {
	case h.run.commits():
		h.beginLive(event.Commit)
	case h.lived != event.Commit:
		h.lived = event.Commit
		h.skip("only tested", event.Commit)
	}
}

func (h *hostRun) noteAll() {
	for _, n := range h.status.Notes[min(h.noted, len(h.status.Notes)):] {
		h.note("warning", "%s", n)
	}
	h.noted = len(h.status.Notes)
}

// beginLive starts a phase that runs on the host; each is begun once.
func (h *hostRun) beginLive(p event.Phase) {
	if h.lived != p {
		h.liveDone, h.lived = h.phase(p), p
	}
}

func (h *hostRun) endLive(detail string, err error) {
	if h.liveDone != nil {
		h.liveDone(detail, err)
		h.liveDone = nil
	}
}

// askFacts makes the first call of a connection that is not the proof.
func (h *hostRun) askFacts() agent.First {
	h.seen = protocol.Facts{}
	return agent.AskFacts(protocol.FactsRequest{Profile: profiles.System}, &h.seen)
}

// verify probes the host from here, proves over a new connection, with all hops
// and a full login, that it can be reached, and over that connection confirms. An
// old connection proves nothing: sshd keeps those of before the trial.
func (h *hostRun) verify(ctx context.Context, onDeployer []probe.Spec) error {
	old := h.agent
	// Over when the host's deadline passes, unless the host has decided by then.
	limit, cancel := context.WithTimeout(ctx, h.status.ConfirmIn)
	defer cancel()
	defer context.AfterFunc(h.stopped, cancel)()
	var results []probe.Result
	if why := h.judgeHere(ctx, limit, onDeployer, &results); why != nil {
		if h.stopped.Err() != nil || !h.keeps() {
			return why
		}
		h.verifyError = why // it is kept for a person who can be shown to reach it
	}
	err := h.prove(limit, func() agent.First { return h.sayConfirm(results) })
	return h.heard(ctx, old, err)
}

// judgeHere asks this side's probes, and asks the host to go back where they say so.
func (h *hostRun) judgeHere(ctx, limit context.Context, onDeployer []probe.Spec, results *[]probe.Result) error {
	*results = probe.Run(limit, onDeployer, nil, nil)
	if h.stopped.Err() != nil {
		return h.giveUp(ctx, h.agent)
	}
	h.judged(*results)
	if !probe.MustRollBack(*results) {
		return nil
	}
	why := errors.New(describeFailed(*results))
	h.abortOver(ctx, h.agent, transaction.ProbeFailed, why.Error(), *results)
	return why
}

// heard is what became of a confirmation: nil where the host has decided, and
// otherwise why it is asked, over the old connection, to go back.
func (h *hostRun) heard(ctx context.Context, old *agent.Agent, err error) error {
	var said *protocol.Error
	switch {
	case err == nil:
		h.status = &h.confirmed
		return nil
	case h.status.State != transaction.Waiting:
		return nil // the host decided; what it decided is followed
	case errors.As(err, &said):
		if said.Status != nil && said.Status.Reason != "" {
			return errors.New(said.Status.Reason)
		}
		return said
	case h.stopped.Err() != nil:
		return h.giveUp(ctx, old)
	}
	why := fmt.Errorf("the host could not be reached over a new connection%s: %s", h.answersAt(), withoutHost(err))
	h.abortOver(ctx, old, transaction.Disturbed, why.Error(), nil)
	return why
}

// giveUp asks the host to go back because the user stopped the run.
func (h *hostRun) giveUp(ctx context.Context, a *agent.Agent) error {
	h.abortOver(ctx, a, transaction.Disturbed, "interrupted by "+h.run.Deployer, nil)
	return errors.New("the run was interrupted")
}

// sayConfirm is the deployer's last word. It is idempotent on the host, and is
// repeated over new connections until the host has decided.
func (h *hostRun) sayConfirm(results []probe.Result) agent.First {
	return agent.SayConfirm(protocol.DecideRequest{ID: h.id, Results: results, SkipLines: h.logSeen},
		h.Timeouts.Commit+h.Timeouts.Rollback+patience, &h.confirmed, h.watched)
}

func describeFailed(results []probe.Result) string {
	for _, p := range results {
		if probe.MustRollBack([]probe.Result{p}) {
			return fmt.Sprintf("probe %s from the deployer failed: expected %s, saw %s", p.Name, p.Expected, p.Seen)
		}
	}
	return "a probe from the deployer failed"
}

// abortOver asks the host to go back. Where even that does not reach it, it goes
// back when its deadline passes.
func (h *hostRun) abortOver(ctx context.Context, a *agent.Agent, cause transaction.Cause, why string, results []probe.Result) (answered bool) {
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := a.Abort(limit, protocol.DecideRequest{ID: h.id, Cause: cause, Reason: why, Results: results})
	if err != nil {
		h.run.Log.Info().Str("host", h.Name).Err(err).Msg("abort did not reach the host")
	}
	var said *protocol.Error
	return err == nil || errors.As(err, &said)
}

// interrupt asks the host to go back because the user stopped the run, again and
// again while it is not reached: it may be rebooting. During a commit it is refused
// there, and the commit is waited for.
func (h *hostRun) interrupt(ctx context.Context) {
	h.interrupted.Store(true)
	for pause := redialFirst; !h.tellInterruption(ctx); pause = min(pause*3/2, redialLast) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// tellInterruption says whether the host was told, or has no ear for this deployer.
func (h *hostRun) tellInterruption(ctx context.Context) bool {
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var facts protocol.Facts
	conn, a, err := h.connect(limit, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System, LookOnly: true}, &facts))
	if err != nil {
		return h.final(err)
	}
	defer conn.Close()
	defer a.Close()
	return h.abortOver(limit, a, transaction.Disturbed, "interrupted by "+h.run.Deployer, nil)
}
