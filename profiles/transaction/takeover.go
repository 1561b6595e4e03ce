package transaction

import (
	"context"
	"errors"
	"time"
)

// seize makes this process the only one that acts for a transaction. Another one
// that takes over is waited for, since to end its switch would spoil the way
// back, for as long as a rollback may take. A supervisor is ended, also one that
// was started in the meantime. What cannot be killed is told in fenced, and not
// waited for.
func (e Engine) seize(ctx context.Context, r Record) (release func(), fenced, err error) {
	by := e.Clock.Now().Add(r.Limits.Rollback)
	taker, err := e.claimSoon(ctx, r.ID, takerLock, func() (again bool) { return e.Clock.Now() < by })
	if errors.Is(err, ErrClaimed) {
		return nil, nil, err
	}
	actor, _ := e.claimSoon(ctx, r.ID, actorLock, func() (again bool) {
		fenced = e.fence(ctx, r.ID)
		return fenced == nil && e.Clock.Now() < by
	})
	return func() { actor(); taker() }, fenced, nil
}

// claimSoon claims a lock of transaction id when no other process holds it any
// more. Before each attempt prepare says whether another one may follow.
func (e Engine) claimSoon(ctx context.Context, id, lock string, prepare func() (again bool)) (release func(), err error) {
	changes := e.Store.fs().Watch(e.Store.Dir, e.Store.Run)
	defer changes.Close()
	for {
		again := prepare()
		release, err := e.Store.claim(id, lock)
		if err == nil {
			return release, nil
		}
		if !again || !errors.Is(err, ErrClaimed) || ctx.Err() != nil {
			return func() {}, err
		}
		changes.Wait(ctx, time.Second)
	}
}
