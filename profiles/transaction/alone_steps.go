package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

const (
	// surveyLimit bounds the look before a trial.
	surveyLimit = 15 * time.Second
	// RestartLastLimit bounds the restart of what is restarted last: systemd waits 90 s for
	// a service to stop.
	RestartLastLimit = 2 * time.Minute
)

// Needs is how much longer than for a deployer's word the state [Waiting] must last, so
// that what is restarted last can be judged too.
func (a *Alone) Needs(probes []probe.Spec) time.Duration {
	if len(a.RestartLast) == 0 {
		return 0
	}
	about, _ := probe.Split(probes, a.RestartLast)
	return RestartLastLimit + probe.LongestDeadline(about)
}

// survey reads how the host can be reached before the trial. What cannot be read makes
// the proof less, and refuses nothing.
func (e Engine) survey(ctx context.Context, r Record) error {
	if !r.proves() {
		return nil
	}
	bound, stop := e.bounded(ctx, r, e.Clock.Now().Add(surveyLimit))
	unread := e.Prover.Survey(bound, r)
	moved := errors.Is(context.Cause(bound), errMoved)
	stop()
	switch {
	case moved:
		return ErrRefused
	case ctx.Err() != nil:
		return ctx.Err()
	case unread == nil:
		return nil
	}
	return e.Store.Note(ctx, r.ID, fmt.Sprintf("how the host could be reached before could not be read: %v", unread))
}

// waitAlone is what a host does that decides by itself, while the new system runs:
// everything is judged, then proven, then the units are restarted that were to be last, and
// judged. Nobody is waited for. An error that wraps [errMoved] says that the record has left
// the state; whatever it is after bound ended, the reason is bound's.
func (e Engine) waitAlone(ctx, bound context.Context, r Record) error {
	units := r.restartsLast()
	last, first := probe.Split(r.Probes, units)
	var results []probe.Result
	if r.Action.Activates() { // otherwise there is nothing new to judge
		results = e.probeOnly(bound, r, first)
	}
	if err := e.judgedAlone(ctx, bound, r, results, len(units) == 0); err != nil {
		return err
	}
	if r.proves() {
		if err := e.prove(ctx, bound, r); err != nil {
			return err
		}
	}
	if len(units) > 0 {
		if err := e.restartLast(ctx, bound, r, units); err != nil {
			return err
		}
		results = append(results, e.probeOnly(bound, r, last)...)
		if err := e.judgedAlone(ctx, bound, r, inOrderOf(r.Probes, results), true); err != nil {
			return err
		}
	}
	return e.confirmAlone(ctx, r)
}

// probeOnly asks some of the probes; none where specs is empty, but for what a profile has
// of its own.
func (e Engine) probeOnly(ctx context.Context, r Record, specs []probe.Spec) []probe.Result {
	if len(specs) == 0 && r.Program == nil {
		return nil
	}
	r.Probes = specs
	return e.Host.Probe(ctx, r)
}

// inOrderOf sorts results as the probes were asked for; those of no probe come last.
func inOrderOf(specs []probe.Spec, results []probe.Result) []probe.Result {
	place := func(p probe.Result) int {
		at := slices.IndexFunc(specs, func(s probe.Spec) bool { return s.Name == p.Name })
		if at < 0 {
			return len(specs)
		}
		return at
	}
	slices.SortStableFunc(results, func(a, b probe.Result) int { return place(a) - place(b) })
	return results
}

// step records what a step of a host that decides alone found. change says why the host
// must go back, empty where it need not. The error wraps [errMoved] where it does.
func (e Engine) step(ctx, bound context.Context, r Record, change func(*Record) (Cause, string)) error {
	if bound.Err() != nil {
		return context.Cause(bound)
	}
	after, err := e.update(ctx, r.ID, func(now *Record) error {
		if now.State != r.State {
			return errMoved // somebody confirmed or aborted
		}
		cause, why := change(now)
		if why == "" {
			return nil
		}
		now.Judged = true // no more of it will come
		return e.goBack(now, cause, "%s", why)
	})
	if err == nil && after.State != r.State {
		return errMoved
	}
	return err
}

func (e Engine) judgedAlone(ctx, bound context.Context, r Record, results []probe.Result, all bool) error {
	said := e.journalOf(bound, unitsBehind(results))
	return e.step(ctx, bound, r, func(now *Record) (Cause, string) {
		now.Results, now.Judged, now.Journal = results, all, said
		if probe.MustRollBack(results) {
			return ProbeFailed, blame(results)
		}
		return "", ""
	})
}

// prove asks what the host can prove, and records what is made of it in words.
func (e Engine) prove(ctx, bound context.Context, r Record) error {
	proving, cancel := context.WithTimeout(bound, e.proofTime(r))
	proof := e.Prover.Prove(proving, r)
	cancel()
	verdict := reach.Decide(proof, r.Alone.OnUnknown)
	return e.step(ctx, bound, r, func(now *Record) (Cause, string) {
		now.Proof = &proof
		if verdict.Back {
			return NotReachable, verdict.Reason
		}
		now.Notes = append(now.Notes, verdict.Reason)
		return "", ""
	})
}

// proofTime is how long a witness may be waited for, so that there is time for what comes
// after it.
func (e Engine) proofTime(r Record) time.Duration {
	left := e.Clock.Now().Until(r.ConfirmBy)
	return max(left-r.Alone.Needs(r.Probes), left/2) * 3 / 4
}

// restartLast restarts what was left until everything else was judged. What is to be
// restarted is recorded before: whoever goes back from a crash in between restarts it again.
func (e Engine) restartLast(ctx, bound context.Context, r Record, units []string) error {
	err := e.step(ctx, bound, r, func(now *Record) (Cause, string) {
		now.RestartedLast = units
		return "", ""
	})
	if err != nil {
		return err
	}
	restarting, cancel := context.WithTimeout(bound, RestartLastLimit)
	restarted, failure := e.Prover.RestartLast(restarting, r)
	cancel()
	var said []UnitLog
	if failure != nil {
		said = e.journalOf(bound, units)
	}
	return e.step(ctx, bound, r, func(now *Record) (Cause, string) {
		switch {
		case failure == nil:
			now.RestartedLast = restarted
			if len(restarted) > 0 {
				now.Notes = append(now.Notes, "restarted last: "+strings.Join(restarted, ", "))
			}
			return "", ""
		case len(notJudged(r.Probes, units)) == 0:
			now.Notes = append(now.Notes, fmt.Sprintf("what was restarted last did not start, and a probe judges it: %v", failure))
			return "", ""
		}
		now.Journal = said
		return ActivationFailed, fmt.Sprintf("what was to be restarted last could not be: %v", failure)
	})
}

// confirmAlone is the host's own last word, under the rules of a deployer's.
func (e Engine) confirmAlone(ctx context.Context, r Record) error {
	_, err := e.update(ctx, r.ID, func(now *Record) error {
		if e.objection(*now) != "" {
			return ErrRefused
		}
		return e.accept(now, nil)
	})
	if err == nil || errors.Is(err, ErrRefused) {
		return err
	}
	_, err = e.update(ctx, r.ID, func(now *Record) error {
		if now.State != r.State {
			return ErrRefused
		}
		return e.goBack(now, Disturbed, "the host's decision could not be recorded: %v", err)
	})
	return err
}

// restoreLast restarts on the previous system what the trial has restarted last:
// an activation leaves these units alone, and they would go on as the new system has them.
// A boot into the previous system has done it; one into the new one, in the middle of a
// commit, has not, and whoever goes back from there may have been killed after the switch.
func (e Engine) restoreLast(ctx context.Context, r Record) error {
	if len(r.RestartedLast) == 0 || e.Prover == nil || r.Alone == nil {
		return nil
	}
	running, _, err := e.Host.Look(r.Profile)
	if err != nil || !r.Previous.is(running) {
		return err // the rollback has failed without this
	}
	alone := *r.Alone
	alone.RestartLast = r.RestartedLast
	r.Alone = &alone
	if _, err := e.Prover.RestartLast(ctx, r); err != nil {
		return fmt.Errorf("what the trial had restarted does not run as before: %v", err)
	}
	return nil
}
