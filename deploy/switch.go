// Package deploy is one run: evaluate, look, build, judge, copy, try, verify and
// commit, over one host or several.
//
// It keeps the order that makes a run safe: everything that can be refused is
// refused before the first change, the host has armed its own way back before
// the trial, and from then on what happened is read from the host and never
// guessed from a connection that died. The engine emits events and returns
// outcomes; it neither prints nor exits.
package deploy

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/git"
	"github.com/hbohlen/hdeploy/deploy/nix"
)

// atOnce is how many hosts are worked on at the same time.
const atOnce = 10

// Run brings every host of the request to its goal, or leaves it as it was. The
// error is for what concerns the whole run before any host has an outcome: no usable
// Nix. Everything else is in the report.
func Run(ctx context.Context, r Request) (Report, error) {
	run := &run{Request: r, started: time.Now()}
	defer run.close()
	if r.Keep && r.changes() {
		run.emit(event.Event{Type: "note", Note: &event.Note{Level: "warning",
			Text: "--no-rollback: a new system that fails its trial is left running; only silence takes it back"}})
	}
	hostRuns := make([]*hostRun, len(r.Hosts))
	for i, h := range r.Hosts {
		hostRuns[i] = newHostRuns(run, h)
	}
	if r.Goal == GoalReboot {
		run.reboot(ctx, hostRuns)
		return run.report(ctx, hostRuns), nil
	}
	program, err := nix.Find(ctx)
	if err != nil {
		return Report{}, err
	}
	program.Extra, program.Env = r.Nix, r.NixEnv
	run.nix = program
	run.signs = sync.OnceValue(func() bool { return run.askSigns(ctx) })
	if err := run.evaluateAndLook(ctx, hostRuns); err != nil {
		return Report{}, err
	}
	run.build(ctx, everything(unfailed(hostRuns)))
	run.deploy(ctx, hostRuns)
	return run.report(ctx, hostRuns), nil
}

// run is what all hosts of one request share.
type run struct {
	Request
	nix     *nix.Nix
	started time.Time
	mu      sync.Mutex
	closers []func()
	// unasked are the passwords of a run without [Secrets].
	unasked *passwords
	// only is the name of a command that only asks, empty for a run with a goal.
	only string
	// revision is known, or asked for, once something is built for a transaction.
	revision *asking
	// places build for hosts elsewhere; signs says whether this machine signs what it
	// builds, and asks Nix the first time.
	places places
	signs  func() bool
	// about holds which profile of a host is being worked on, by the host's name.
	about sync.Map
	// tree is how the flake's git tree stands, nil where it is in none; treeUnknown is
	// why that could not be asked.
	tree        *git.Tree
	treeUnknown error
}

// onClose registers what ends with the run.
func (r *run) onClose(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, f)
}

func (r *run) close() {
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i]()
	}
}

func (r *run) emit(e event.Event) {
	e.Time = time.Now()
	if r.Events != nil {
		r.Events(r.labelled(e))
	}
}

// phase emits the start of a phase and returns what emits its end.
func (r *run) phase(host string, p event.Phase) func(detail string, err error) {
	began := time.Now()
	r.emit(event.Event{Type: "phase", Host: host, Phase: p, Step: &event.Step{Status: event.Started}})
	return func(detail string, err error) {
		step := &event.Step{Status: event.Done, Detail: detail, Seconds: time.Since(began).Seconds()}
		if err != nil {
			step.Status, step.Detail = event.Failed, rootCause(err)
		}
		r.emit(event.Event{Type: "phase", Host: host, Phase: p, Step: step})
	}
}

func rootCause(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.Cause.Error()
	}
	return err.Error()
}

// progress passes on what a running nix says.
func (r *run) progress(host string, p event.Phase) func(nix.Progress) {
	return func(n nix.Progress) {
		switch {
		case n.Count != nil:
			r.emit(event.Event{Type: "progress", Host: host, Phase: p, Progress: n.Count})
		case n.Line != nil:
			r.emit(event.Event{Type: "line", Host: host, Phase: p, Line: n.Line})
		case n.Note != nil:
			r.emit(event.Event{Type: "note", Host: host, Phase: p, Note: n.Note})
		}
	}
}

// evaluateAndLook evaluates all hosts together while each is being connected to:
// neither needs the other, and both are mostly waiting.
func (r *run) evaluateAndLook(ctx context.Context, hostRuns []*hostRun) error {
	var evaluated map[string]nix.Evaluated
	var evalErr error
	var group sync.WaitGroup
	all := everything(hostRuns)
	group.Go(func() { evaluated, evalErr = r.evaluate(ctx, all) })
	group.Go(func() { r.lookAtTree(ctx) })
	// No host is contacted before it is known that this Nix can be used.
	if err := r.checkNix(ctx); err != nil && ctx.Err() == nil {
		group.Wait()
		return err
	}
	r.takePrebuilt(ctx, all)
	if r.Goal != GoalBuild {
		r.look(ctx, unfailed(hostRuns))
	}
	group.Wait()
	for _, h := range all {
		if evalErr != nil {
			h.failure = nil // the flake is what must be mended first
			h.fail(r.evaluationFailure(h.Name, evalErr))
			continue
		}
		if h.prebuilt() == nil {
			h.system = evaluated[h.key()]
		}
		if err := h.checkPlatform(); err != nil {
			h.failure = nil // what the host is matters no more
			h.fail(err)
		}
		if h.failure == nil && r.Goal != GoalBuild && h.facts.System != "" {
			h.fail(cmp.Or(h.checkArchitecture(), h.checkName(), h.checkJoin()))
		}
	}
	r.judgeTree(ctx, hostRuns)
	return nil
}

func (r *run) look(ctx context.Context, hostRuns []*hostRun) {
	looking := errgroup.Group{}
	looking.SetLimit(atOnce)
	for _, h := range hostRuns {
		looking.Go(func() error { h.fail(h.preflight(ctx)); return nil })
	}
	_ = looking.Wait() // the hosts keep their own failures
}

func (r *run) checkNix(ctx context.Context) error {
	version, err := r.nix.Version(ctx)
	if ctx.Err() != nil {
		return nil // an interruption says nothing about Nix; each host tells of it
	}
	if err == nil && !version.Usable() {
		err = &nix.TooOldError{Have: version}
	}
	return err
}

func (r *run) evaluate(ctx context.Context, all []*hostRun) (map[string]nix.Evaluated, error) {
	if r.Prebuilt != nil {
		r.emit(event.Event{Type: "phase", Phase: event.Evaluate, Step: &event.Step{Status: event.Skipped, Detail: "the closure is given"}})
		return nil, nil
	}
	done := r.phase("", event.Evaluate)
	attributes := make([]nix.Attribute, len(all))
	for i, h := range all {
		// deploy-rs may have wrapped a system.
		attributes[i] = nix.Attribute{Host: h.key(), Path: h.Attribute, Unwrap: h.of == nil}
	}
	evaluated, err := r.nix.Evaluate(ctx, r.Flake, attributes, r.progress("", event.Evaluate))
	done(plural(len(r.Hosts), "host"), err)
	return evaluated, err
}

// build builds what the hosts that are still in the run need, in one call, and
// leaves links that keep the results here.
func (r *run) build(ctx context.Context, hostRuns []*hostRun) {
	var wanted []nix.Derivation
	var building, elsewhere []*hostRun
	for _, h := range hostRuns {
		if h.failure != nil || h.unchanged() || h.earlier() != nil {
			continue
		}
		if h.prebuilt() != nil {
			h.skip("the closure is given", event.Build)
			continue
		}
		if h.elsewhere() != "" {
			elsewhere = append(elsewhere, h)
			continue
		}
		wanted = append(wanted, nix.Derivation{Host: h.key(), DrvPath: h.system.DrvPath, Output: h.system.Output})
		building = append(building, h)
	}
	if len(wanted)+len(elsewhere) == 0 {
		return
	}
	r.askRevision(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { r.buildElsewhere(ctx, elsewhere) })
	if r.signs != nil && r.Goal != GoalBuild && !r.DryRun {
		beside.Go(func() { r.signs() })
	}
	if len(wanted) == 0 {
		return
	}
	done := r.phase("", event.Build)
	for _, h := range building {
		if r.Goal == GoalBuild {
			break // nobody asks what a copy would cost
		}
		beside.Go(func() { h.measure(ctx) })
	}
	links, err := r.linkDir()
	if err == nil {
		err = r.nix.Build(ctx, wanted, links, r.progress("", event.Build))
		var failed *nix.Error
		if errors.As(err, &failed) && failed.Kind == nix.Collected {
			err = r.evaluateAndBuildAgain(ctx, building, wanted, links)
		}
	}
	done(plural(len(wanted), "system"), err)
	for _, h := range building {
		if err != nil {
			h.fail(r.buildFailure(h.Name, err))
			continue
		}
		h.fail(h.unwrapSystem())
	}
}

// evaluateAndBuildAgain brings derivations back that were collected between
// their evaluation and the build.
func (r *run) evaluateAndBuildAgain(ctx context.Context, building []*hostRun, wanted []nix.Derivation, links string) error {
	if _, err := r.evaluate(ctx, building); err != nil {
		return err
	}
	return r.nix.Build(ctx, wanted, links, r.progress("", event.Build))
}

// deploy takes every host that has no outcome yet through its own steps.
func (r *run) deploy(ctx context.Context, hostRuns []*hostRun) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, h := range hostRuns {
		if failed := h.broken(); failed != nil {
			h.fail(failed.blame(h, failed.failure)) // all profiles are deployed, or none
			continue
		}
		group.Go(func() error { h.fail(h.deploy(ctx)); return nil })
	}
	_ = group.Wait() // the hosts keep their own failures
}

func (r *run) report(ctx context.Context, hostRuns []*hostRun) Report {
	var report Report
	for _, h := range hostRuns {
		o := h.finishAll(ctx)
		r.emit(event.Event{Type: "outcome", Host: h.Name, Outcome: &o})
		report.Outcomes = append(report.Outcomes, HostOutcome{Host: h.Name, Outcome: o})
	}
	return report
}
