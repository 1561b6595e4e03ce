package transaction

import "context"

// LastKnownGood is the system that was confirmed last and not rejected since,
// empty where the history knows of none.
func LastKnownGood(history []Record) string {
	if systems := ConfirmedIn(history); len(systems) > 0 {
		return systems[0]
	}
	return ""
}

// Deployment is the newest transaction that made system the boot default, nil
// where the history knows of none.
func Deployment(history []Record, system string) *Record {
	for i, r := range history {
		if r.New == system && r.State == Committed && r.Action.Commits() {
			return &history[i]
		}
	}
	return nil
}

// Stale says why nobody works on an unfinished transaction any more; empty where
// somebody does, or where it is over. It changes nothing: [Engine.Settle] ends
// such a transaction.
func (e Engine) Stale(ctx context.Context, r Record) string {
	switch {
	case r.State.Final():
		return ""
	case r.BootID != e.Clock.BootID():
		return "left by an earlier boot"
	case e.abandoned(ctx, r) && !e.Store.claimed(r.ID, starterLock):
		return "its supervisor and its dead-man's switch are gone"
	}
	return ""
}
