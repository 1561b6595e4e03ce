package transaction

import (
	"context"
	"errors"
)

// Settle ends what an earlier boot, or a process that is gone, left unfinished.
// It returns the last transaction as it then stands, nil where there was none.
func (e Engine) Settle(ctx context.Context) (*Record, error) {
	r, err := e.Store.Load()
	if err != nil || r == nil {
		return r, err
	}
	if r.State.Final() {
		// Power, or whoever cleaned up, may have been lost in between.
		if !e.Store.cleaned(r.ID) && !e.Store.attended(r.ID) {
			e.finish(ctx, *r)
		}
		return r, nil
	}
	if r.BootID != e.Clock.BootID() {
		err = e.afterBoot(ctx, *r)
	} else if !e.Store.attended(r.ID) && !e.Host.Armed(ctx, r.ID) {
		err = e.TakeOver(ctx, r.ID, "the supervisor and the dead-man's switch were gone")
	}
	if err != nil {
		return r, err
	}
	return e.Store.Load()
}

// afterBoot lets decide what booted: the new system in a commit finishes it, the
// previous one undoes it. Before a commit nothing was durable, so that the
// previous system running is all there is to see.
func (e Engine) afterBoot(ctx context.Context, r Record) error {
	release, err := e.Store.claim(r.ID, actorLock)
	if errors.Is(err, ErrClaimed) {
		return nil // who holds it settles
	}
	if err != nil {
		return err
	}
	defer release()
	running, _, err := e.Host.Look(r.Profile)
	if err != nil {
		return err
	}
	_, err = e.Store.update(ctx, r.ID, func(r *Record) error {
		now := e.Clock.Now()
		r.BootID, r.Restarted = e.Clock.BootID(), true
		r.DeadMan = now.Add(r.Limits.Commit + r.Limits.Rollback)
		switch {
		case r.Previous.is(running):
			r.because("the host restarted before the new system was committed")
			return r.apply(Abort)
		case running == r.New && r.CommitBy != 0:
			r.CommitBy = now.Add(r.Limits.Commit)
			r.Notes = append(r.Notes, "the host restarted in the middle of the commit and booted the new system")
			return nil
		}
		r.because("after a restart the host runs %s", running)
		r.Ended = e.Clock.Wall()
		return r.apply(Supersede)
	})
	if err != nil {
		return err
	}
	return e.drive(ctx, r.ID)
}
