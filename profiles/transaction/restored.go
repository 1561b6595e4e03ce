package transaction

import (
	"context"
	"errors"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// Comparer asks r.Probes where the previous system runs. Both methods only look,
// return soon after ctx ends, and may be called again.
type Comparer interface {
	// Glance names the probes that are required after a rollback and do not pass
	// before the trial.
	Glance(ctx context.Context, r Record) []string
	// ProbeRestored judges the previous system after a rollback.
	ProbeRestored(ctx context.Context, r Record) []probe.Result
}

// glanceLimit bounds the look before a trial.
const glanceLimit = 15 * time.Second

// glance records what does not pass before the trial, where that can matter.
func (e Engine) glance(ctx context.Context, r Record) error {
	if e.Comparer == nil || !probe.NeedsGlance(r.Probes, probe.FromHost) {
		return nil
	}
	bound, stop := e.bounded(ctx, r, e.Clock.Now().Add(glanceLimit))
	failed := e.Comparer.Glance(bound, r)
	stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err := e.update(ctx, r.ID, func(now *Record) error {
		if now.State != r.State {
			return ErrRefused
		}
		now.FailedBefore = failed
		return nil
	})
	return err
}

// restored ends a rollback whose previous system runs. Its probes are asked in what
// is left of the rollback's time, after everything that brings the host back.
func (e Engine) restored(ctx, bound context.Context, r Record, note string) error {
	results := e.probeRestored(bound, r)
	if errors.Is(context.Cause(bound), errMoved) {
		return ErrRefused
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(results) > 0 {
		_, err := e.update(ctx, r.ID, func(now *Record) error {
			if now.State != r.State {
				return ErrRefused
			}
			now.AfterRollback = results
			return nil
		})
		if errors.Is(err, ErrRefused) {
			return err // else a disk that fails must not hide that the host is back
		}
	}
	if probe.Judge(probe.AfterRollback, results) == probe.RollbackFailed {
		return e.end(ctx, r, RestoreFails, "after the rollback "+blameIn(probe.AfterRollback, results))
	}
	return e.end(ctx, r, RestoreDone, note)
}

// probeRestored asks nothing where nothing was switched, or where the host has
// booted since: what is still starting then is no verdict.
func (e Engine) probeRestored(ctx context.Context, r Record) []probe.Result {
	if e.Comparer == nil || len(r.Probes) == 0 || r.Untouched || r.Restarted || !r.Action.Switches() || r.runsInTrial() == r.Previous.Running {
		return nil
	}
	return e.Comparer.ProbeRestored(ctx, r)
}
