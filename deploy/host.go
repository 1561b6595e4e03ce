package deploy

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// hostRun is one host on its way through a run.
type hostRun struct {
	hosts.Host
	run    *run
	conn   *remote.Conn
	agent  *agent.Agent
	facts  protocol.Facts
	system nix.Evaluated
	// sizes are the closure's; lacks is how many bytes of it the host lacks, zero
	// while that is not known.
	sizes nix.Sizes
	lacks atomic.Int64
	// found is where the host was before the transaction that this run began; proof
	// is how the confirmation came to the host.
	found *remote.Target
	proof string
	// place has built the closure where that was not here; builtThere describes it, and
	// brought says that it need not be copied and was told so.
	place      *place
	builtThere *protocol.Toplevel
	brought    bool
	// early is a login made as soon as the new system ran.
	early atomic.Pointer[dialed[*remote.Conn]]
	// daemonSaid is what a Nix daemon that was started for the copy printed.
	daemonSaid agent.Capture

	// id is the transaction's; status what the host last said of it, seen the
	// facts of the newest connection.
	id     string
	status *protocol.Status
	seen   protocol.Facts
	// confirmed is how the transaction ended after the confirmation.
	confirmed protocol.Status
	results   []probe.Result
	// specsHere are this side's probes, failedBefore the required ones of them that
	// did not pass before the trial, and after all verdicts about the previous system
	// after a rollback.
	specsHere    []probe.Spec
	failedBefore []string
	after        []probe.Result
	// findings are what a check found out.
	findings []event.Finding
	// said is what the units behind failed probes said, where there is no
	// transaction that has kept it.
	said []transaction.UnitLog
	// verifyError is why this side did not confirm.
	verifyError  error
	rebootNeeded bool
	// rejects is the system that a rollback leaves; wanted says that a person asked
	// for the way back.
	rejects string
	wanted  bool
	// older says that other transactions have ended since the one of this run.
	older bool
	// outdated says that what runs on the host has changes that the flake lacks.
	outdated bool
	// bootInstead is why the system is only booted, where the user allowed that.
	bootInstead string
	interrupted atomic.Bool
	// rebootsTold counts the reboots of the transaction that were told; back are the
	// facts after a reboot that this side asked for.
	rebootsTold int
	back        *protocol.Facts

	// liveDone ends the phase that the host is in now, which is lived; logSeen
	// counts the lines of the host's log that were told.
	liveDone func(string, error)
	lived    event.Phase
	logSeen  int
	noted    int
	// entered are the states that the transaction was seen in.
	entered map[transaction.State]bool
	// stopped ends when the user stops the run, proving when nothing more can be
	// learned of the transaction.
	stopped, proving context.Context

	outcome *event.Outcome
	failure *Failure

	// profile is what of the host is deployed, zero for its NixOS system; of names it
	// to the agent, nil for the system. later are the host's other profiles, longer is
	// the time that one waits for others, act its own action, hereResults this side's
	// verdicts, and blamed the profile for which the host failed.
	profile     hosts.Profile
	of          *agent.Profile
	later       []*hostRun
	longer      time.Duration
	act         transaction.Action
	hereResults []probe.Result
	blamed      *hostRun
	// elevation is how the login user may become root, where that is not tried first:
	// every profile is the user's own.
	elevation []string
	own       bool

	// itself says that the run is made on the host. alone is set where the host decides
	// by itself; unsure says that it was left while it was asked to begin. container says
	// that the host shares the kernel with the run and nothing else.
	itself bool
	alone  *alone
	unsure bool

	container bool
}

func newHostRun(r *run, h hosts.Host) *hostRun {
	return &hostRun{Host: asSelf(h), run: r, itself: h.Local, id: strings.ToLower(rand.Text()[:16]), entered: map[transaction.State]bool{}}
}

// fail keeps the first failure: what follows it are consequences.
func (h *hostRun) fail(err error) {
	if err != nil && h.failure == nil {
		h.failure = asFailure(h.Name, "run", err)
	}
}

func (h *hostRun) phase(p event.Phase) func(string, error) { return h.run.phase(h.Name, p) }

func (h *hostRun) skip(why string, phases ...event.Phase) {
	for _, p := range phases {
		h.run.emit(event.Event{Type: "phase", Host: h.Name, Phase: p, Step: &event.Step{Status: event.Skipped, Detail: why}})
	}
}

func (h *hostRun) note(level, format string, args ...any) {
	h.run.emit(event.Event{Type: "note", Host: h.Name, Note: &event.Note{Level: level, Text: fmt.Sprintf(format, args...)}})
}

// ssh is the command by which a person looks at the host.
func (h *hostRun) ssh(command string) string {
	if h.Local {
		return h.here(command)
	}
	at := remote.Target{Address: h.Address, Port: h.Port, User: h.User, Elevation: h.Elevation}
	if h.conn != nil && h.Confirm != nil {
		at = h.conn.Target() // where it was seen last
	}
	s := "ssh "
	if at.Port != 22 {
		s += fmt.Sprintf("-p %d ", at.Port)
	}
	s += at.User + "@" + at.Address
	if command == "" {
		return s
	}
	if at.User != "root" {
		command = strings.Join(at.Elevation, " ") + " " + command
	}
	return s + " " + command
}

// freshness is how old a connection may be that proves, by the confirmation it
// carries, that the host can be reached.
const freshness = 3 * time.Second

// takeEarly returns the connection that was dialled when the new system ran, if that
// was just now.
func (h *hostRun) takeEarly() (*remote.Conn, error, bool) {
	early := h.early.Swap(nil)
	conn, err, ok := early.take()
	if ok && err == nil && time.Since(early.began) >= freshness {
		closeUnused(conn, err, ok)
		return nil, nil, false
	}
	return conn, err, ok
}

// dialAhead logs in anew while the host's own probes judge.
func (h *hostRun) dialAhead(ctx context.Context) {
	h.early.Store(ahead(func() (*remote.Conn, error) { return dialFirst(ctx, h.afterwards()) }))
}

// use makes a new connection the one at hand. The old one lives until the end of
// the run: its agent may still be asked.
func (h *hostRun) use(conn *remote.Conn, a *agent.Agent) {
	h.conn, h.agent = conn, a.About(h.of)
	h.run.onClose(func() { a.Close(); conn.Close() })
}

// preflight connects and looks. It changes nothing on the host but hdeploy's own
// files.
func (h *hostRun) preflight(ctx context.Context) (err error) {
	done := h.phase(event.Preflight)
	defer func() { done(describe(h.facts), err) }()
	conn, a, err := h.reach(ctx, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System, LookOnly: !h.run.changes()}, &h.facts))
	if err != nil {
		return h.connectionFailure("connect", err)
	}
	h.use(conn, a)
	h.lookForThisProcess(ctx)
	if err := h.chooseMode(); err != nil {
		return err
	}
	if err := h.checkSelf(); err != nil {
		return err
	}
	if err := h.orElevated(ctx); err != nil {
		return err
	}
	if h.mayJoin() {
		return nil // it may be this very deployment
	}
	if err := h.checkHost(); err != nil {
		return err
	}
	return h.askLater(ctx)
}

func describe(f protocol.Facts) string {
	if f.Running == "" {
		return ""
	}
	return fmt.Sprintf("%s, generation %d", f.Hostname, f.Profile.Number)
}

// unchanged says that what the action would make the wanted system already is: the
// running one, and the profile and what boots. A boot loader that cannot be read
// does not count against it.
func (h *hostRun) unchanged() bool {
	want, f := h.system.OutPath, h.facts
	boots := f.Profile.Path == want && (f.Boots.System == want || f.BootsError != "" && f.Boots.System == "")
	return h.run.Goal == GoalTransact && (f.Running == want || !h.run.activates()) && (boots || !h.run.commits())
}

// deploy is everything after the build for one host.
func (h *hostRun) deploy(ctx context.Context) error {
	switch h.run.Goal {
	case GoalBuild:
		return h.built()
	case GoalReboot:
		return h.rebootIfNeeded(ctx)
	case GoalTransact, GoalPush, GoalDryActivate:
	}
	if len(h.later) > 0 {
		return h.deployAll(ctx)
	}
	if t := h.earlier(); t != nil {
		return h.join(ctx, *t)
	}
	if err := h.unwrapProfile(ctx); err != nil {
		return err
	}
	if err := h.judge(ctx); err != nil {
		return err
	}
	switch {
	case h.unchanged() && (h.run.bootsOnce() || h.run.ThenReboot):
		return h.rebootIfNeeded(ctx)
	case h.run.DryRun:
		return h.preview()
	case h.unchanged():
		return h.judgeUnchanged(ctx)
	case h.run.Goal == GoalPush:
		return h.push(ctx)
	case h.run.Goal == GoalDryActivate:
		return h.dryActivate(ctx)
	}
	if h.awaitsReboot() {
		return h.awaitReboot()
	}
	err := h.transact(ctx)
	if err == nil && h.run.ThenReboot {
		return h.rebootNow(ctx, "the new system boots, and --no-fallback was given", Committed)
	}
	return err
}

// judgeUnchanged probes a host that needs nothing. Failures are told, and nothing
// is rolled back, since nothing was changed.
func (h *hostRun) judgeUnchanged(ctx context.Context) error {
	h.skip("already there", event.Build, event.Copy, event.Trial, event.Commit)
	specs, err := h.specs()
	if err != nil {
		return err
	}
	if len(specs) == 0 {
		h.done(Unchanged, CodeOK)
		return nil
	}
	done := h.phase(event.Verify)
	for i := range specs {
		specs[i] = specs[i].AtRest() // nothing was changed that must settle
	}
	if err := h.probeAll(ctx, specs); err != nil {
		done("", err)
		return err
	}
	failed := h.failedProbes()
	if probe.Judge(probe.AtRest, h.results) == probe.Unchanged {
		done(plural(len(h.results), "probe")+" passed", nil)
		h.done(Unchanged, CodeOK)
		return nil
	}
	done("", fmt.Errorf("%d of %s failed", len(failed), plural(len(h.results), "probe")))
	h.askJournal(ctx)
	h.done(Degraded, CodeDegraded)
	return nil
}

// judged keeps the verdicts of probes and tells them.
func (h *hostRun) judged(results []probe.Result) {
	h.results = append(h.results, results...)
	for _, p := range results {
		e := toEvent(p)
		h.run.emit(event.Event{Type: "probe", Host: h.Name, Phase: event.Verify, Probe: e})
		h.noteBeside(*e)
	}
}

// noteBeside tells what a probe that passed has seen beside that: the answer shows
// no such probe.
func (h *hostRun) noteBeside(p event.Probe) {
	if p.Verdict != probe.Pass {
		return
	}
	for _, text := range p.Notes {
		h.note("info", "probe %s passed; %s", p.Name, text)
	}
}

func (h *hostRun) failedProbes() []event.Probe {
	var failed []event.Probe
	for _, p := range h.results {
		if p.Verdict != probe.Pass {
			failed = append(failed, *toEvent(p))
		}
	}
	return failed
}

// notesTold caps what a host may say beside a verdict.
const notesTold = 8

func toEvent(p probe.Result) *event.Probe {
	return &event.Probe{
		Name: p.Name, From: p.From, Verdict: string(p.Verdict), Policy: p.Policy, Expected: p.Expected, Seen: p.Seen,
		Evidence: p.Evidence, Hint: p.Hint, Seconds: p.Seconds, Class: p.Class, Notes: p.Notes[:min(len(p.Notes), notesTold)],
	}
}

// done records how the host ended.
func (h *hostRun) done(word Word, code int) {
	h.outcome = &event.Outcome{Outcome: string(word), Code: code}
}

// finish completes the outcome with what is known of the host.
func (h *hostRun) finish(ctx context.Context) event.Outcome {
	if h.outcome == nil && h.failure == nil {
		h.fail(fmt.Errorf("the run ended without an outcome"))
	}
	if h.failure != nil {
		h.done(h.failure.Word, h.failure.Code)
		if ctx.Err() != nil && h.status == nil && h.back == nil && h.failure.Code != CodeLookNow && !h.unsure {
			h.done(Interrupted, CodeInterrupted)
			h.failure.Cause = fmt.Errorf("stopped before anything was changed: %v", context.Cause(ctx))
		}
		h.outcome.Failure = h.failure.event()
	}
	o := *h.outcome
	o.Action = cmp.Or(h.run.only, h.run.command())
	o.Closure, o.Previous, o.Running = h.system.OutPath, h.facts.Running, h.facts.Running
	o.Boots = h.facts.Boots.System
	if o.Boots == "" && h.facts.BootsError != "" {
		o.Boots = "unknown"
	}
	o.Generation = h.facts.Profile.Number
	if s := h.status; s != nil {
		o.Transaction, o.Running, o.Boots = s.ID, s.Running, s.Boots
		if s.Generation != 0 {
			o.Generation = s.Generation
		}
	}
	if h.unsure {
		o.Transaction = h.id
	}
	o.Journal = h.unitLogs()
	if b := h.back; b != nil {
		o.Running, o.Boots, o.Generation = b.Running, b.Boots.System, b.Profile.Number
	}
	h.tellProof(&o)
	o.RebootNeeded = h.rebootNeeded && h.back == nil
	o.Failed, o.AfterRollback = h.failedProbes(), h.failedAfter()
	if h.run.only == commandProbe {
		for _, p := range h.results {
			o.Probes = append(o.Probes, *toEvent(p))
		}
	}
	o.Findings = h.findings
	o.Seconds = time.Since(h.run.started).Seconds()
	return o
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
