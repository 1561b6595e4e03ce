package transaction

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// Host is what a transaction does to a machine. Every method may be called
// again after a crash of its caller and then ends in the same state; every one
// returns soon after its context ends, with nothing of its own still running.
type Host interface {
	// Look returns the toplevel that runs and the profile's generation.
	Look(profile string) (running string, at profiles.Generation, err error)
	// Boots returns the toplevel that the boot loader would boot.
	Boots() (string, error)
	// Arm makes the dead-man's switch act at r.DeadMan. Supervise starts the
	// supervisor in a unit of its own, whose failure sets the switch off at once.
	Arm(ctx context.Context, r Record) error
	Supervise(ctx context.Context, r Record) error
	// Armed says whether the dead-man's switch still waits or acts.
	Armed(ctx context.Context, id string) bool
	// Activate switches to r.New without making it the boot default, and
	// returns switch-to-configuration's exit code; with an error that wraps
	// [ErrUntouched] where that left the host as it was.
	Activate(ctx context.Context, r Record) (int, error)
	// NewlyFailing names the units that fail now and did not before the trial.
	NewlyFailing(ctx context.Context, r Record) ([]string, error)
	// HoldSwitch takes switch-to-configuration's own lock.
	HoldSwitch() (release func(), err error)
	// Probe judges r.Probes.
	Probe(ctx context.Context, r Record) []probe.Result
	// Commit makes r.New the profile and the boot default, durably, and returns
	// the generation and what the loader was then read to boot. Uncommit takes
	// that back as far as it happened.
	Commit(ctx context.Context, r Record) (profiles.Generation, string, error)
	Uncommit(ctx context.Context, r Record) error
	// Restore makes r.Previous run and compares the host with its baseline.
	Restore(ctx context.Context, r Record) error
	// Fence ends everything that acts for the transaction but the caller.
	Fence(ctx context.Context, id string) error
	// Finish keeps a committed system's root and removes what the transaction
	// left: roots, units, files, and last the dead-man's switch.
	Finish(ctx context.Context, r Record) error
}

// Engine runs the machine on a host.
type Engine struct {
	Store Store
	Clock Clock
	Host  Host
	// Restarter is needed for the action [Reboot] only.
	Restarter Restarter
	// Prover is needed where the host decides alone only.
	Prover Prover
	// Comparer asks the probes on the previous system; nil where nobody does.
	Comparer Comparer
	// Log is told each state that is driven, for the journal; nil for nobody.
	Log func(Record)
	// Journal reads the last lines that units said; nil where nobody can. It only
	// looks.
	Journal func(ctx context.Context, units []string) []UnitLog
	// Reboot restarts the machine, and returns an error where that did not come
	// about; nil where there is no machine.
	Reboot func(context.Context, Record) error
}

// Plan is what a deployer asks for.
type Plan struct {
	ID       string
	Deployer string
	Revision string
	Agent    string
	Profile  string
	New      string
	// Running is the system that the deployer saw run and judged against.
	Running  string
	Limits   Limits
	Probes   []probe.Spec
	Baseline probe.Baseline
	// Action, Keep, Dirty, Tree and Rejects are as in [Record].
	Action  Action
	Keep    bool
	Dirty   bool
	Tree    Tree
	Rejects string
	// Automatic says that no person watches; Force that one insists, against a
	// freeze or an earlier verdict.
	Automatic, Force bool
	// LastResort and Program are as in [Record].
	LastResort LastResort
	Program    *Program
	// Alone is as in [Record].
	Alone *Alone
}

// LockedError says that another transaction holds the host.
type LockedError struct{ Holder Record }

func (e *LockedError) Error() string {
	return fmt.Sprintf("locked by %s since %s for %s", e.Holder.Deployer, e.Holder.Started.Format(time.DateTime), e.Holder.New)
}

// ErrMoved says that the host does not run what the deployer judged against.
var ErrMoved = errors.New("the host's system changed since it was looked at")

// Prepare takes the host's lock by recording the transaction, arms the
// dead-man's switch and starts the supervisor, in this order: from here on the
// host returns by itself. On error nothing was changed and nothing is left.
func (e Engine) Prepare(ctx context.Context, p Plan) (*Record, error) {
	if p.Action == Reboot && e.Restarter == nil {
		return nil, errNoRestarter
	}
	if err := e.aloneRefused(p); err != nil {
		return nil, err
	}
	if err := e.Store.Reserve(); err != nil {
		return nil, err
	}
	e.awaitEnd(ctx, p.ID)
	var r *Record
	release := func() {}
	defer func() { release() }()
	err := e.Store.locked(ctx, func() error {
		last, err := e.Store.Load()
		if err != nil {
			return err
		}
		if last != nil && (!last.State.Final() || last.ID == p.ID) {
			return &LockedError{Holder: *last} // its own, where the first answer was lost
		}
		if err := e.admit(p); err != nil {
			return err
		}
		e.archive(last)
		e.Store.forget()
		// Until the supervisor has its own claim, this one shows whoever looks
		// that the transaction is being started and not abandoned.
		if release, err = e.Store.claim(p.ID, starterLock); err != nil {
			return err
		}
		if r, err = e.draft(p); err != nil {
			return err
		}
		if last != nil {
			r.Sequence = last.Sequence
		}
		r.Number = e.Store.nextNumber(last)
		if err := e.Store.SaveBaseline(p.ID, p.Baseline); err != nil {
			return err
		}
		return e.Store.save(r)
	})
	if err != nil {
		return nil, err
	}
	if err := e.launch(ctx, *r); err != nil {
		e.abandon(context.WithoutCancel(ctx), r.ID, err)
		return nil, err
	}
	return r, nil
}

// cleanLimit is how long a new transaction waits for what the last one has left: the
// host is decided, and somebody may be in a hurry.
const cleanLimit = 5 * time.Second

// awaitEnd waits until the last transaction was cleaned up after. Whoever does that
// may be waiting for a deployer to be seen.
func (e Engine) awaitEnd(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	last, err := e.Store.Load()
	if err != nil || last == nil || !last.State.Final() || last.ID == id {
		return
	}
	_ = e.See(ctx)
	e.awaitCleaning(ctx, last.ID)
}

func (e Engine) draft(p Plan) (*Record, error) {
	running, at, err := e.Host.Look(p.Profile)
	if err != nil {
		return nil, err
	}
	if running != p.Running {
		return nil, fmt.Errorf("%w: it runs %s", ErrMoved, running)
	}
	newest, err := profiles.Newest(p.Profile)
	if err != nil {
		return nil, err
	}
	boots, _ := e.Host.Boots()
	now := e.Clock.Now()
	return &Record{
		ID: p.ID, State: Prepared, BootID: e.Clock.BootID(), Deployer: p.Deployer, Revision: p.Revision,
		Action: p.Action, Keep: p.Keep, Dirty: p.Dirty, Tree: p.Tree, Rejects: p.Rejects,
		Agent: p.Agent, Profile: p.Profile, New: p.New, Limits: p.Limits, Probes: p.Probes, LastResort: p.LastResort, Program: p.Program, Alone: p.Alone,
		Previous:   Previous{Running: running, Profile: at, Newest: newest, Boots: boots},
		Started:    e.Clock.Wall(),
		Steps:      []Step{{State: Prepared, At: e.Clock.Wall()}},
		ActivateBy: now.Add(p.Limits.Activation),
		ConfirmBy:  now.Add(p.Limits.Activation + p.Limits.Confirm),
		DeadMan:    now.Add(p.Limits.Total()),
		ExitCode:   -1,
	}, nil
}

func (e Engine) launch(ctx context.Context, r Record) error {
	if err := e.Host.Arm(ctx, r); err != nil {
		return err
	}
	return e.Host.Supervise(ctx, r)
}

// abandon ends a transaction whose supervisor never ran: nothing was changed, so
// the previous system runs. Where the supervisor has begun after all, the trial is
// undone.
func (e Engine) abandon(ctx context.Context, id string, why error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	_ = e.fence(ctx, id)
	reason := fmt.Sprintf("the transaction could not be started: %v", why)
	r, err := e.update(ctx, id, func(r *Record) error {
		if r.State != Prepared {
			return ErrRefused
		}
		r.because(Disturbed, "%s", reason)
		return errors.Join(r.apply(Abort), r.apply(RestoreDone))
	})
	if errors.Is(err, ErrRefused) {
		_ = e.TakeOver(context.WithoutCancel(ctx), id, reason)
		return
	}
	if err == nil {
		e.finish(ctx, *r)
	}
}

// update changes the record as [Store.update] does, and notes when it entered the
// state that it is in then.
func (e Engine) update(ctx context.Context, id string, fn func(*Record) error) (*Record, error) {
	return e.Store.update(ctx, id, func(r *Record) error {
		was := r.State
		if err := fn(r); err != nil {
			return err
		}
		if r.State == was {
			return nil
		}
		r.Steps = append(r.Steps, Step{State: r.State, At: e.Clock.Wall()})
		if r.State.Final() {
			r.Ended = e.Clock.Wall()
		}
		return nil
	})
}

// finish cleans up after the decision. What fails of it must not look like a
// failure of the transaction: the unit's end would set the dead-man's switch off
// against a system that was committed.
func (e Engine) finish(ctx context.Context, r Record) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := e.Host.Finish(ctx, r)
	if now, loadErr := e.Store.Load(); loadErr == nil && now != nil && now.ID == r.ID {
		r = *now // with what was noted since
	}
	e.archive(&r)
	if err == nil {
		err = e.Store.markCleaned(r.ID)
	}
	if err != nil && e.Log != nil {
		r.Reason = fmt.Sprintf("not cleaned up: %v", err)
		e.Log(r)
	}
}

const (
	// startLimit bounds what is done about a transaction that did not start.
	startLimit = 30 * time.Second
	// fenceLimit bounds the wait for processes that were killed: one that hangs in
	// the kernel must not keep the old system from coming back.
	fenceLimit = 15 * time.Second
)

// fence ends what else acts for a transaction, as far as that can be done.
func (e Engine) fence(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, fenceLimit)
	defer cancel()
	return e.Host.Fence(ctx, id)
}

// Supervise drives transaction id to its end. It refuses where another
// supervisor is at work.
func (e Engine) Supervise(ctx context.Context, id string) error {
	release, err := e.Store.claim(id, actorLock)
	if err != nil {
		return err
	}
	defer release()
	return e.drive(ctx, id)
}

// TakeOver is the dead-man's switch: whatever else acts for the transaction is
// ended first, or waited for where it takes over itself, and then the host goes
// back. A finished transaction is only cleaned up.
func (e Engine) TakeOver(ctx context.Context, id, why string) error {
	r, err := e.Store.Load()
	if err != nil {
		return err
	}
	if r == nil || r.ID != id {
		return nil // replaced since: there is nothing of it to take back
	}
	release, fenced, err := e.seize(ctx, *r)
	if err != nil {
		return err
	}
	defer release()
	if !r.State.Final() {
		_, err := e.update(ctx, id, func(r *Record) error {
			r.because(Disturbed, "%s", why)
			if fenced != nil {
				r.Notes = append(r.Notes, fenced.Error())
			}
			return r.apply(Abort)
		})
		if err != nil && !errors.Is(err, ErrRefused) {
			return err
		}
	}
	return e.drive(ctx, id)
}

// drive does what each state asks for until the transaction is over.
func (e Engine) drive(ctx context.Context, id string) error {
	for {
		r, err := e.Store.Load()
		if err != nil {
			return err
		}
		if r == nil || r.ID != id {
			return fmt.Errorf("transaction %s: %w", id, ErrOther)
		}
		if e.Log != nil {
			e.Log(*r)
		}
		switch r.State {
		case Prepared:
			err = e.begin(ctx, *r)
		case Trying:
			err = e.try(ctx, *r)
		case Waiting:
			err = e.wait(ctx, *r)
		case Committing:
			err = e.commit(ctx, *r)
		case RollingBack:
			err = e.restore(ctx, *r)
		case Committed, RolledBack, RollbackFailed, Superseded, Kept:
			if err := e.awaitContact(ctx, *r); err != nil {
				return notRestarting(err)
			}
			e.finish(ctx, *r)
			return nil
		}
		// Refused means that the state moved meanwhile: the loop reads it again.
		if err != nil && !errors.Is(err, ErrRefused) {
			return notRestarting(err)
		}
	}
}

// notRestarting is how whoever drives ends; a restart that is under way is no failure.
func notRestarting(err error) error {
	if errors.Is(err, errRestarting) {
		return nil
	}
	return err
}

// ConfirmError says why a confirmation was not accepted; State is the state that
// won.
type ConfirmError struct {
	State  State
	Reason string
}

func (e *ConfirmError) Error() string {
	return fmt.Sprintf("not confirmed: %s (state %s)", e.Reason, e.State)
}

// Confirm is the deployer's last word. It is accepted only in waiting, before
// the deadline, after the host's own probes, while the new system runs and the
// profile is the recorded one; it may be repeated. Of a system that failed, and
// that a person wants to look at, it says that the person can reach it.
func (e Engine) Confirm(ctx context.Context, id string, results []probe.Result) (*Record, error) {
	refused := ""
	r, err := e.update(ctx, id, func(r *Record) error {
		if r.State == Committing || r.State == Committed || r.State == Kept {
			return nil
		}
		if refused = e.objection(*r); refused != "" {
			return ErrRefused
		}
		return e.accept(r, results)
	})
	if errors.Is(err, ErrRefused) && r != nil {
		if refused == "" {
			refused = r.Reason
		}
		return r, &ConfirmError{State: r.State, Reason: refused}
	}
	return r, err
}

// accept moves a record that nothing objects to on to the commit, unless somebody else has
// switched the host meanwhile.
func (e Engine) accept(r *Record, results []probe.Result) error {
	running, at, err := e.Host.Look(r.Profile)
	if err != nil {
		return err
	}
	ours := running == r.runsInTrial() || r.failedAndWanted() && r.Previous.is(running)
	if !ours || !r.holds(at) {
		r.because(Disturbed, "somebody else switched: the host runs %s, its profile is %s", running, at.Path)
		return r.apply(Supersede)
	}
	r.DeployerResults = results
	if r.failedAndWanted() {
		return r.apply(Keep)
	}
	r.CommitBy = e.Clock.Now().Add(r.Limits.Commit)
	return r.apply(Confirm)
}

func (e Engine) objection(r Record) string {
	switch {
	case r.State != Waiting:
		return "the transaction is " + string(r.State)
	case r.BootID != e.Clock.BootID():
		return "the host restarted"
	case e.Clock.Now() >= r.ConfirmBy:
		return "the deadline has passed"
	case !r.Judged:
		return "the host's probes are not finished"
	case !e.Store.claimed(r.ID, actorLock):
		return "the supervisor on the host is gone"
	}
	return ""
}

// Abort asks for the previous system. In committing and later it is refused,
// since the decision was made.
func (e Engine) Abort(ctx context.Context, id string, cause Cause, why string, results []probe.Result) (*Record, error) {
	r, err := e.update(ctx, id, func(r *Record) error {
		if r.State == Committing {
			return fmt.Errorf("abort in state %s: %w", r.State, ErrRefused)
		}
		r.DeployerResults = append(r.DeployerResults, results...)
		return e.goBack(r, cause, "%s", why)
	})
	if errors.Is(err, ErrRefused) {
		return r, nil
	}
	return r, err
}
