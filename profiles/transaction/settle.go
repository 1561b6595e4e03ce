package transaction

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Settle ends what an earlier boot, or processes that are gone, left unfinished,
// and returns the last transaction as it then stands, nil where there was none. It
// waits for the end, or for a system that waits for its confirmation, until ctx
// ends; the host's own units go on without it.
func (e Engine) Settle(ctx context.Context) (*Record, error) {
	r, launched, err := e.Resume(ctx)
	if err != nil || r == nil || r.State.Final() || !launched && !r.Restarted {
		return r, err
	}
	err = e.Store.Watch(ctx, r.ID, func(now Record) bool {
		r = &now
		return now.State != Waiting
	})
	if err != nil && ctx.Err() == nil {
		return r, err
	}
	if r.State.Final() {
		// Whoever drove it may be waiting for exactly this connection.
		if err := e.See(ctx); err != nil {
			return r, err
		}
		e.awaitCleaning(ctx, r.ID)
	}
	return r, nil
}

// awaitCleaning waits until whoever drove the transaction has cleaned up after it,
// so that what looks at the host next sees nothing of it.
func (e Engine) awaitCleaning(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	changes := e.Store.fs().Watch(e.Store.Dir, e.Store.Run)
	defer changes.Close()
	for e.Store.claimed(id, actorLock) && ctx.Err() == nil {
		changes.Wait(ctx, 10*time.Millisecond)
	}
}

// Resume lets units of this boot drive what nobody acts for, with a dead-man's
// switch of its own, since the process that noticed may die at any moment. It does
// not wait for them. launched says that it started them.
func (e Engine) Resume(ctx context.Context) (r *Record, launched bool, err error) {
	r, err = e.Store.Load()
	if err != nil || r == nil {
		return r, false, err
	}
	if r.State.Final() {
		// Power, or whoever cleaned up, may have been lost in between.
		if release, err := e.Store.claim(r.ID, actorLock); err == nil {
			defer release()
			if !e.Store.cleaned(r.ID) {
				e.finish(ctx, *r)
			}
		}
		return r, false, nil
	}
	if !e.abandoned(ctx, *r) {
		return r, false, nil
	}
	release, err := e.Store.claim(r.ID, starterLock)
	if errors.Is(err, ErrClaimed) {
		return r, false, nil // who holds it starts it, or resumes it at this moment
	}
	if err != nil {
		return r, false, err
	}
	defer release()
	// Another one may have resumed it between the look and the claim.
	if r, err = e.Store.Load(); err != nil || r == nil || r.State.Final() || !e.abandoned(ctx, *r) {
		return r, false, err
	}
	if r, err = e.takeUp(ctx, *r); err != nil || r.State.Final() {
		return r, false, err
	}
	if err := e.launch(ctx, *r); err != nil {
		// Better driven by a process that may die than by none.
		if err := e.Supervise(context.WithoutCancel(ctx), r.ID); err != nil && !errors.Is(err, ErrClaimed) {
			return r, false, err
		}
	}
	return r, true, nil
}

// abandoned says that nobody acts for the transaction in this boot, and nothing
// will.
func (e Engine) abandoned(ctx context.Context, r Record) bool {
	if r.BootID != e.Clock.BootID() {
		return true
	}
	return !e.Store.claimed(r.ID, actorLock) && !e.Host.Armed(ctx, r.ID) && !e.goingDown(r)
}

// takeUp makes the record one of this boot and decides where it goes from here.
func (e Engine) takeUp(ctx context.Context, r Record) (*Record, error) {
	if r.BootID == e.Clock.BootID() {
		return e.takeBack(ctx, r)
	}
	running, _, err := e.Host.Look(r.Profile)
	if err != nil {
		return &r, err
	}
	taken, err := e.update(ctx, r.ID, func(r *Record) error {
		// Only now: the update may have waited for the one that resumed it.
		if r.BootID == e.Clock.BootID() {
			return nil
		}
		return e.afterBoot(r, running)
	})
	if err == nil && taken.State.Final() {
		e.finish(ctx, *taken)
	}
	return taken, err
}

// takeBack sends a transaction back whose supervisor and dead-man's switch are
// gone.
func (e Engine) takeBack(ctx context.Context, r Record) (*Record, error) {
	fenced := e.fence(ctx, r.ID)
	taken, err := e.update(ctx, r.ID, func(r *Record) error {
		r.DeadMan = e.Clock.Now().Add(r.Limits.Rollback + r.Limits.Grace)
		r.because(Disturbed, "the supervisor and the dead-man's switch were gone")
		if fenced != nil {
			r.Notes = append(r.Notes, fenced.Error())
		}
		return r.apply(Abort)
	})
	if errors.Is(err, ErrRefused) {
		return taken, nil
	}
	return taken, err
}

// afterBoot lets decide what booted: the new system in a commit finishes it, the
// previous one undoes it. Before a commit nothing was durable, so that the
// previous system running is all there is to see; but for a transaction that
// reboots by itself, see [Engine.rebooted].
func (e Engine) afterBoot(r *Record, running string) error {
	now := e.Clock.Now()
	again := slices.Contains(r.Reboots, r.BootID)
	r.BootID, r.Restarted = e.Clock.BootID(), true
	r.DeadMan = now.Add(r.Limits.Commit + r.Limits.Rollback + r.Limits.Grace)
	switch {
	case r.Action == Reboot && (running == r.New || again) && r.CommitBy == 0:
		return e.rebooted(r, running)
	case running == r.New && r.State == Committing: // also where it ran, or was to boot, before
		r.CommitBy = now.Add(r.Limits.Commit)
		r.Notes = append(r.Notes, "the host restarted in the middle of the commit and booted the new system")
		return nil
	case r.Previous.is(running), running == r.New && r.CommitBy == 0 && r.lasts():
		r.because(HostRestarted, "the host restarted before the new system was committed")
		return r.apply(Abort)
	case running == r.New && r.CommitBy != 0:
		r.CommitBy = now.Add(r.Limits.Commit)
		return nil
	}
	r.because(Disturbed, "after a restart the host runs %s", running)
	return r.apply(Supersede)
}
