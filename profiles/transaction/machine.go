// Package transaction is the state machine that decides, on the host, which
// system the host ends up with.
//
// It keeps the promise that silence means the old system: every state but the
// final ones has an instant by which the host leaves it by itself, every
// decision is one synced write under one lock, and a new system becomes the
// profile and the boot default only in the state committing, which only a
// confirmation reaches. The supervisor, the dead-man's switch, a confirmation,
// an abort and the settling after a boot are callers of the same machine; each
// may run at any moment, twice, or beside another.
package transaction

import (
	"errors"
	"fmt"
)

// State is where a transaction is.
type State string

// The states. A transaction that does not exist has no state.
const (
	Prepared       State = "prepared"        // recorded, locked, deadline armed; nothing changed
	Trying         State = "trying"          // the new system is being activated
	Waiting        State = "waiting"         // it runs; probes and the confirmation are awaited
	Committing     State = "committing"      // confirmed; profile and boot default are being moved
	Committed      State = "committed"       // final: the new system runs and boots
	RollingBack    State = "rolling-back"    // the previous system is being restored
	RolledBack     State = "rolled-back"     // final: the previous system was seen to run
	RollbackFailed State = "rollback-failed" // final: a person must look
	Superseded     State = "superseded"      // final: somebody else switched; hdeploy touches nothing
	Kept           State = "kept"            // final: failed, and left as it is for a person, who asked for that
)

// States lists every state.
var States = [...]State{Prepared, Trying, Waiting, Committing, Committed, RollingBack, RolledBack, RollbackFailed, Superseded, Kept}

// Final says whether the transaction is over.
func (s State) Final() bool {
	return s == Committed || s == RolledBack || s == RollbackFailed || s == Superseded || s == Kept
}

// Event is what moves a transaction.
type Event string

// The events.
const (
	Begin        Event = "begin"         // the supervisor starts the activation
	Activated    Event = "activated"     // the new system runs
	Confirm      Event = "confirm"       // the deployer's last word
	Abort        Event = "abort"         // a failure, a failed probe, a deadline or a person wants the old system
	CommitDone   Event = "commit-done"   // profile and boot default are the new system's
	RestoreDone  Event = "restore-done"  // the previous system was seen to run
	RestoreFails Event = "restore-fails" // it was not
	Supersede    Event = "supersede"     // running system or profile are a third party's
	Keep         Event = "keep"          // the new system failed, and a person wants to look at it
)

// Events lists every event.
var Events = [...]Event{Begin, Activated, Confirm, Abort, CommitDone, RestoreDone, RestoreFails, Supersede, Keep}

// ErrRefused says that an event means nothing in the state the transaction is
// in. The caller reads the state that won from the record.
var ErrRefused = errors.New("refused")

// table is total: what is not in it is refused, and the test counts both. A
// state mapped to itself makes the event idempotent there.
var table = map[State]map[Event]State{
	Prepared: {Begin: Trying, Abort: RollingBack, Supersede: Superseded},
	Trying:   {Activated: Waiting, Abort: RollingBack, Supersede: Superseded},
	Waiting:  {Confirm: Committing, Abort: RollingBack, Supersede: Superseded, Keep: Kept},
	// Abort in committing is a commit that failed or overran its deadline.
	Committing:     {Confirm: Committing, CommitDone: Committed, Abort: RollingBack, Supersede: Superseded},
	Committed:      {Confirm: Committed},
	RollingBack:    {Abort: RollingBack, RestoreDone: RolledBack, RestoreFails: RollbackFailed, Supersede: Superseded},
	RolledBack:     {Abort: RolledBack},
	RollbackFailed: {Abort: RollbackFailed},
	Superseded:     {},
	Kept:           {},
}

// Next returns the state that follows s on e. The error wraps [ErrRefused].
func Next(s State, e Event) (State, error) {
	next, ok := table[s][e]
	if !ok {
		return s, fmt.Errorf("%s in state %s: %w", e, s, ErrRefused)
	}
	return next, nil
}
