package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/profiles"
)

// Restarter is what a transaction whose action is [Reboot] does to a machine
// beyond what every one does. Its methods keep what those of [Host] keep.
type Restarter interface {
	// Stage makes r.New the profile's newest generation and what the boot loader
	// boots once, and shows that the default is still the previous system.
	// [Host.Uncommit] takes that back as far as it happened.
	Stage(ctx context.Context, r Record) error
	// Restart asks for a reboot and returns when it was asked for.
	Restart(ctx context.Context) error
	// AwaitBoot returns when everything that the boot starts was started or has
	// failed.
	AwaitBoot(ctx context.Context, r Record) error
}

var errNoRestarter = errors.New("this host cannot be rebooted from here")

// goingDown says that the transaction itself asked for a reboot of this boot,
// which has not come about yet: that nobody acts for it any more is then right.
func (e Engine) goingDown(r Record) bool {
	return slices.Contains(r.Reboots, e.Clock.BootID()) && e.Clock.Now() < r.DeadMan
}

// askReboot records that the transaction asks for a reboot, since after it only the
// record knows, and waits until it comes about. It returns when bound ends.
func (e Engine) askReboot(bound context.Context, r Record) error {
	_, err := e.update(bound, r.ID, func(now *Record) error {
		if now.State != r.State {
			return ErrRefused
		}
		now.Reboots = append(now.Reboots, e.Clock.BootID())
		return nil
	})
	if err == nil {
		err = e.Restarter.Restart(bound)
	}
	if err == nil {
		<-bound.Done()
	}
	return err
}

// tryBoot boots the new system once instead of activating it, and after that boot
// judges it by what came up.
func (e Engine) tryBoot(ctx context.Context, r Record) error {
	bound, stop := e.bounded(ctx, r, r.ActivateBy)
	defer stop()
	if !r.Restarted {
		return e.bootOnce(ctx, bound, r)
	}
	if err := e.Restarter.AwaitBoot(bound, r); err != nil {
		if errors.Is(context.Cause(bound), errMoved) {
			return ErrRefused
		}
		return e.abort(ctx, r.ID, ActivationFailed, "the new system was booted, and did not finish its boot: %v", err)
	}
	units, err := e.Host.NewlyFailing(bound, r)
	units = notJudged(r.Probes, units)
	switch {
	case err != nil && errors.Is(context.Cause(bound), errMoved):
		return ErrRefused
	case err != nil:
		return e.abort(ctx, r.ID, ActivationFailed, "the new system was booted, and which of its units failed could not be read: %v", err)
	case len(units) > 0:
		return e.failed(ctx, r, r.ExitCode, "units failed in the boot of the new system that did not fail before: "+strings.Join(units, ", "), units...)
	}
	return e.activated(ctx, r, 0, "")
}

func (e Engine) bootOnce(ctx, bound context.Context, r Record) error {
	err := e.Restarter.Stage(bound, r)
	if err == nil {
		err = e.askReboot(bound, r)
	}
	switch {
	case errors.Is(context.Cause(bound), errMoved) || errors.Is(err, ErrRefused):
		return ErrRefused
	case errors.Is(context.Cause(bound), errDeadline):
		return e.abort(ctx, r.ID, Disturbed, "the host did not reboot within %v", r.Limits.Activation)
	case err != nil:
		return e.abort(ctx, r.ID, CommitFailed, "the new system could not be made what boots once: %v", err)
	}
	return ctx.Err()
}

// rebooted decides after a boot of a transaction that reboots by itself, before its
// commit. The one boot of the new system is used up, so that the previous one is
// what every further boot starts.
func (e Engine) rebooted(r *Record, running string) error {
	now := e.Clock.Now()
	switch {
	case running == r.New && r.State == Trying:
		r.ActivateBy = now.Add(r.Limits.Activation)
		r.ConfirmBy = r.ActivateBy.Add(r.Limits.Confirm)
		r.DeadMan = now.Add(r.Limits.Total())
		return nil
	case running == r.New:
		// Somebody chose it at the boot loader, or the way back did not work.
		r.because(HostRestarted, "the host restarted before the new system was committed")
		return r.apply(Abort)
	case r.Previous.is(running) && r.State == Trying:
		// It may not boot, or power was lost: that is no verdict about it.
		r.because(HostRestarted, "the new system was to be booted once, and the host came back with the previous one")
		return r.apply(Abort)
	case r.Previous.is(running):
		r.because(HostRestarted, "the host restarted before the new system was committed")
		return r.apply(Abort)
	}
	r.because(Disturbed, "after a restart the host runs %s", running)
	return r.apply(Supersede)
}

// restartsBack says whether the way back is a reboot: the new system was booted
// and not activated, so that the previous one is booted too. Once; where that
// brought the new one again, it is switched back to while running.
func (e Engine) restartsBack(r Record) bool {
	if r.Action != Reboot || len(r.Reboots) > 1 {
		return false
	}
	running, _, err := e.Host.Look(r.Profile)
	return err == nil && running == r.New
}

// awaitGoingDown returns when the reboot that the trial asked for has not come about
// in half of the time for the way back, and says so; in time, it ends the process
// that waits here. A host that is still going down must not be told to be back, and
// what is put back now may not reach it any more: what it boots decides. The reboot
// is asked for once more, since who was to ask may have been stopped before that.
func (e Engine) awaitGoingDown(bound context.Context, r Record) (note string) {
	if r.Action != Reboot || !slices.Contains(r.Reboots, e.Clock.BootID()) || e.Clock.Now() >= r.ActivateBy || !e.runsPrevious(r) {
		return ""
	}
	half, cancel := context.WithTimeout(bound, r.Limits.Rollback/2)
	defer cancel()
	if err := e.Restarter.Restart(half); err != nil {
		note = fmt.Sprintf(": %v", err)
	}
	<-half.Done()
	return fmt.Sprintf("the host did not reboot within %v%s", r.Limits.Rollback/2, note)
}

// restartBack leaves half of the time for the other way, and returns why that must
// be gone: the reboot ends the process that waits for it here.
func (e Engine) restartBack(bound context.Context, r Record) error {
	half, cancel := context.WithTimeout(bound, r.Limits.Rollback/2)
	defer cancel()
	err := e.askReboot(half, r)
	if err == nil {
		err = fmt.Errorf("the host did not reboot within %v", r.Limits.Rollback/2)
	}
	return err
}

// holds says whether a profile is what it should be while the confirmation is
// awaited: where it was, or, since boot loaders list generations, at the system
// that was booted once. There are programs that move it themselves.
func (r *Record) holds(at profiles.Generation) bool {
	return at.Link == r.Previous.Profile.Link || (r.Action == Reboot || r.lasts()) && at.Path == r.New
}

// RebootNow asks for a reboot that has nothing to do with a transaction, unless
// one is under way or the host is frozen.
func (e Engine) RebootNow(ctx context.Context, deployer string, force bool) error {
	if e.Restarter == nil {
		return errNoRestarter
	}
	return e.Store.locked(ctx, func() error {
		last, err := e.Store.Load()
		if err != nil {
			return err
		}
		if last != nil && !last.State.Final() {
			return &LockedError{Holder: *last}
		}
		if err := e.admit(Plan{Deployer: deployer, Force: force}); err != nil {
			return err
		}
		return e.Restarter.Restart(ctx)
	})
}
