package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// goBack records why the new system must go, and sends the host back. Where a
// person asked to look at a system that fails its trial, that one waits for the
// person as a good one does: the failure may be that nobody reaches the host.
func (e Engine) goBack(r *Record, cause Cause, format string, args ...any) error {
	failed := cause == ActivationFailed || cause == ProbeFailed
	r.because(cause, format, args...)
	if !r.Keep || !failed || r.State != Trying && r.State != Waiting {
		return r.apply(Abort)
	}
	r.Judged = true
	if r.State == Waiting {
		return nil
	}
	r.ConfirmBy = e.Clock.Now().Add(r.Limits.Confirm)
	return r.apply(Activated)
}

// abort records why the host must go back. It is the only way from a failure to
// the rollback.
func (e Engine) abort(ctx context.Context, id string, cause Cause, format string, args ...any) error {
	_, err := e.update(ctx, id, func(r *Record) error { return e.goBack(r, cause, format, args...) })
	return err
}

func (e Engine) begin(ctx context.Context, r Record) error {
	_, err := e.update(ctx, r.ID, func(r *Record) error { return r.apply(Begin) })
	if err != nil && !errors.Is(err, ErrRefused) {
		// The disk failed before anything was changed.
		return e.abort(ctx, r.ID, Disturbed, "the trial could not be recorded: %v", err)
	}
	return err
}

// errDeadline and errMoved end the context of a step.
var (
	errDeadline = errors.New("deadline")
	errMoved    = errors.New("the transaction moved on")
)

// bounded returns a context that ends at the instant by, or when the record
// leaves the state it is in.
func (e Engine) bounded(ctx context.Context, r Record, by Instant) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel(nil) // however it ends, who waits for it goes on
		cancel(e.await(ctx, r, by))
	}()
	return ctx, func() { cancel(nil); <-done }
}

// await returns when the instant by has come, when the record of r leaves r's
// state, or when ctx ends, and says which.
func (e Engine) await(ctx context.Context, r Record, by Instant) error {
	changes := e.Store.fs().Watch(e.Store.Dir, e.Store.Run)
	defer changes.Close()
	for ctx.Err() == nil {
		if current, err := e.Store.Load(); err == nil && current != nil && current.State != r.State {
			return errMoved
		}
		left := e.Clock.Now().Until(by)
		if left <= 0 {
			return errDeadline
		}
		changes.Wait(ctx, left)
	}
	return ctx.Err()
}

// try activates the new system and judges what came of it by what runs.
func (e Engine) try(ctx context.Context, r Record) error {
	if err := e.survey(ctx, r); err != nil {
		return err
	}
	if r.runsInTrial() == r.Previous.Running {
		return e.activated(ctx, r, 0, "")
	}
	if r.Action == Reboot {
		return e.tryBoot(ctx, r)
	}
	if err := e.glance(ctx, r); err != nil {
		return err
	}
	bound, stop := e.bounded(ctx, r, r.ActivateBy)
	defer stop()
	exit, err := e.Host.Activate(bound, r)
	cause := context.Cause(bound)
	switch {
	case errors.Is(cause, errMoved):
		return ErrRefused
	case errors.Is(cause, errDeadline):
		return e.abort(ctx, r.ID, ActivationFailed, "the activation did not end within %v and was killed", r.Limits.Activation)
	case errors.Is(err, ErrUntouched):
		return e.untouched(ctx, r, exit)
	case err != nil:
		return e.abort(ctx, r.ID, Disturbed, "the activation could not be run: %v", err)
	}
	running, _, err := e.Host.Look(r.Profile)
	if err != nil {
		return e.abort(ctx, r.ID, Disturbed, "the running system could not be read after the activation: %v", err)
	}
	if exit != 0 && (exit != 4 || r.lasts()) {
		return e.failed(ctx, r, exit, r.exitMeaning(exit)+"; after it the host ran "+r.inWords(running))
	}
	if running != r.New {
		return e.failed(ctx, r, exit, "the activation ended, but the host runs "+running)
	}
	if exit == 4 {
		return e.judgeFailedUnits(ctx, bound, r)
	}
	return e.activated(ctx, r, exit, "")
}

// judgeFailedUnits tells units that this system broke from units that were
// broken before it. Which those are must be known when bound ends, as the
// activation must be over by then.
func (e Engine) judgeFailedUnits(ctx, bound context.Context, r Record) error {
	units, err := e.Host.NewlyFailing(bound, r)
	if err != nil && errors.Is(context.Cause(bound), errMoved) {
		return ErrRefused
	}
	if err != nil {
		return e.failed(ctx, r, 4, fmt.Sprintf("units failed, and which ones could not be read: %v", err))
	}
	if blamed := notJudged(r.Probes, units); len(blamed) > 0 {
		return e.failed(ctx, r, 4, "units failed that did not fail before: "+strings.Join(blamed, ", "), blamed...)
	}
	if len(units) > 0 {
		return e.activated(ctx, r, 4, "switch-to-configuration exited 4, for units that a probe judges: "+strings.Join(units, ", "))
	}
	return e.activated(ctx, r, 4, "switch-to-configuration exited 4, for units that failed before the deployment too, or that a probe ignores")
}

// notJudged leaves out the units that a preset judges: it can tell a fault of the
// new system from one of a service elsewhere, which must not throw a good system away.
func notJudged(probes []probe.Spec, units []string) []string {
	judged := probe.Judged(probes)
	return slices.DeleteFunc(slices.Clone(units), func(unit string) bool {
		return slices.Contains(judged, bareName(unit))
	})
}

// failed goes back because of the activation; units are those that failed in it.
func (e Engine) failed(ctx context.Context, r Record, exit int, why string, units ...string) error {
	said := e.journalOf(ctx, bareNames(units))
	_, err := e.update(ctx, r.ID, func(r *Record) error {
		r.ExitCode, r.Journal = exit, said
		return e.goBack(r, ActivationFailed, "%s", why)
	})
	return err
}

func (e Engine) activated(ctx context.Context, r Record, exit int, note string) error {
	_, err := e.update(ctx, r.ID, func(r *Record) error {
		r.ExitCode = exit
		if note != "" {
			r.Notes = append(r.Notes, note)
		}
		r.ConfirmBy = e.Clock.Now().Add(r.Limits.Confirm)
		return r.apply(Activated)
	})
	return err
}

// ExitMeaning says in words what an exit code of switch-to-configuration means
// for a trial. nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs
func ExitMeaning(code int) string {
	switch code {
	case 0:
		return "switch-to-configuration succeeded"
	case 1:
		return "switch-to-configuration refused or failed before it activated anything (exit 1)"
	case 2:
		return "the activation script failed (exit 2)"
	case 4:
		return "the system is active, but units failed (exit 4)"
	case 11:
		return "another switch-to-configuration holds the lock (exit 11)"
	case 100:
		return "the system has another init interface and can only be booted (exit 100)"
	case 101:
		return "switch-to-configuration crashed (exit 101)"
	case 126, 127:
		return fmt.Sprintf("switch-to-configuration cannot be run on this host: it may be for another architecture (exit %d)", code)
	}
	return fmt.Sprintf("switch-to-configuration ended with exit code %d", code)
}

// wait lets the host's probes judge and then waits for the deployer's word; its
// absence is the word "back". A host that decides alone waits for nobody.
func (e Engine) wait(ctx context.Context, r Record) error {
	// Another switch would take the ground from under the trial. Where the lock
	// is held by somebody, the confirmation finds out what they did.
	if release, err := e.Host.HoldSwitch(); err == nil {
		defer release()
	}
	bound, stop := e.bounded(ctx, r, r.ConfirmBy)
	defer stop()
	switch {
	case r.decidesAlone():
		err := e.waitAlone(ctx, bound, r)
		if bound.Err() == nil && err != nil && !errors.Is(err, errMoved) && !errors.Is(err, ErrRefused) {
			return err
		}
	case !r.Judged:
		var results []probe.Result
		if r.Action.Activates() { // otherwise there is nothing new to judge
			results = e.Host.Probe(bound, r)
		}
		if bound.Err() == nil {
			if err := e.judged(ctx, r, results); err != nil {
				return err
			}
		}
	}
	<-bound.Done()
	switch {
	case !errors.Is(context.Cause(bound), errDeadline):
	case r.decidesAlone():
		return e.abort(ctx, r.ID, NobodyConfirmed, "the host could not judge and prove the new system within %v", r.Limits.Confirm)
	default:
		return e.abort(ctx, r.ID, NobodyConfirmed, "nobody confirmed within %v", r.Limits.Confirm)
	}
	return ctx.Err()
}

func (e Engine) judged(ctx context.Context, r Record, results []probe.Result) error {
	said := e.journalOf(ctx, unitsBehind(results))
	_, err := e.update(ctx, r.ID, func(r *Record) error {
		r.Results, r.Judged, r.Journal = results, true, said
		if !probe.MustRollBack(results) {
			return nil
		}
		return e.goBack(r, ProbeFailed, "%s", blame(results))
	})
	return err
}

func blame(results []probe.Result) string {
	return blameIn(probe.InTrial, results)
}

// blameIn names the first probe that decided.
func blameIn(phase probe.Phase, results []probe.Result) string {
	well := probe.Judge(phase, nil)
	for _, p := range results {
		if o := probe.Judge(phase, []probe.Result{p}); o != well && o != probe.Degraded {
			return fmt.Sprintf("probe %s failed: expected %s, saw %s", p.Name, p.Expected, p.Seen)
		}
	}
	return "a probe failed"
}

func (e Engine) commit(ctx context.Context, r Record) error {
	if other := e.thirdParty(r); other != "" {
		return e.end(ctx, r, Supersede, other)
	}
	if !r.Action.Commits() {
		return e.end(ctx, r, CommitDone, "")
	}
	bound, stop := e.bounded(ctx, r, r.CommitBy)
	made, boots, err := e.Host.Commit(bound, r)
	late := errors.Is(context.Cause(bound), errDeadline)
	stop()
	if late {
		return e.abort(ctx, r.ID, CommitFailed, "the commit did not end within %v", r.Limits.Commit)
	}
	if err != nil {
		return e.abort(ctx, r.ID, CommitFailed, "the commit failed: %v", err)
	}
	_, err = e.update(ctx, r.ID, func(r *Record) error {
		r.Generation, r.Boots = made, boots
		return r.apply(CommitDone)
	})
	return err
}

// thirdParty describes a running system or profile that is neither the previous
// nor the new one; empty where there is none.
func (e Engine) thirdParty(r Record) string {
	running, at, err := e.Host.Look(r.Profile)
	if err != nil {
		return ""
	}
	if running != r.New && !r.Previous.is(running) {
		return "somebody else switched: the host runs " + running
	}
	if at.Link != r.Previous.Profile.Link && at.Path != r.New {
		return "somebody else moved the profile to " + at.Path
	}
	return ""
}

// restore brings the previous system back, and says it only when it was seen.
func (e Engine) restore(ctx context.Context, r Record) error {
	if other := e.thirdParty(r); other != "" {
		return e.end(ctx, r, Supersede, other)
	}
	now := e.Clock.Now()
	bound, stop := e.bounded(ctx, r, now.Add(r.Limits.Rollback))
	defer stop()
	// The profile goes first: should power fail in the middle, the boot default
	// is the previous system again. Where that fails, the running system is
	// restored all the same.
	var failures []string
	if r.CommitBy != 0 && r.Action.Commits() || r.Action == Reboot {
		// A boot loader that hangs must leave time for the running system.
		undo, cancel := context.WithTimeout(bound, r.Limits.Rollback/4)
		err := e.Host.Uncommit(undo, r)
		cancel()
		if err != nil {
			failures = append(failures, fmt.Sprintf("the commit could not be undone: %v", err))
		}
	}
	note := e.awaitGoingDown(bound, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(failures) == 0 && e.restartsBack(r) {
		err := e.restartBack(bound, r)
		if errors.Is(err, ErrRefused) || ctx.Err() != nil {
			return err
		}
		note = err.Error()
	}
	if !e.runsPrevious(r) {
		if err := e.Host.Restore(bound, r); err != nil {
			failures = append(failures, fmt.Sprintf("the rollback failed: %v", err))
		}
	}
	if err := e.restoreLast(bound, r); err != nil {
		failures = append(failures, err.Error())
	}
	if len(failures) > 0 {
		e.keepJournal(ctx, r)
		return e.unrestored(ctx, r, strings.Join(failures, "; "))
	}
	return e.restored(ctx, bound, r, note)
}

// unrestored ends a rollback that failed, unless that is because somebody else
// switched, or the host may restart into the last confirmed system.
func (e Engine) unrestored(ctx context.Context, r Record, what string) error {
	if other := e.thirdParty(r); other != "" {
		return e.end(ctx, r, Supersede, other)
	}
	err := e.restart(ctx, r, what)
	if errors.Is(err, errRestarting) || errors.Is(err, ErrRefused) {
		return err
	}
	if r.LastResort == Restart {
		what = fmt.Sprintf("%s; %v", what, err)
	}
	return e.end(ctx, r, RestoreFails, what)
}

// runsPrevious says that there is nothing to activate: the host has booted the
// previous system since, or, without a restart, the trial activated nothing. A
// running system that is the previous one is not enough, since an activation that
// was killed early has stopped units; a trial that activated nothing is not enough
// after a restart, since a commit that power cut off may have booted the new one.
func (e Engine) runsPrevious(r Record) bool {
	if r.Restarted || r.Action == Reboot {
		running, _, err := e.Host.Look(r.Profile)
		return err == nil && r.Previous.is(running)
	}
	return r.Untouched || r.runsInTrial() == r.Previous.Running
}

// end records a final state; what says why it is not the plain one.
func (e Engine) end(ctx context.Context, r Record, event Event, what string) error {
	boots, err := e.Host.Boots()
	_, err2 := e.update(ctx, r.ID, func(r *Record) error {
		if what != "" {
			r.Notes = append(r.Notes, what)
			r.because(Disturbed, "%s", what)
		}
		if err == nil {
			r.Boots = boots
		}
		if event == RestoreDone && r.LastResort == Restart && !r.decidesAlone() && !e.runsPrevious(*r) {
			r.SeeBy = e.Clock.Now().Add(r.Limits.Confirm)
		}
		return r.apply(event)
	})
	return err2
}
