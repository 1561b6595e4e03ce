package transaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// LastResort is what a host may do where going back did not help.
type LastResort string

// The last resorts. The empty one, of records of earlier versions, is nothing.
const (
	NoLastResort LastResort = "none"
	// Restart restarts the host into its boot default, the last confirmed system.
	Restart LastResort = "reboot"
)

// Valid says whether l is one of the last resorts.
func (l LastResort) Valid() bool { return l == "" || l == NoLastResort || l == Restart }

// errRestarting ends whoever drives: the host goes down, and the settling after
// its boot goes on.
var errRestarting = errors.New("the host restarts")

// restart restarts the host, where that is allowed and makes the last confirmed
// system run. Its error wraps [errRestarting] where it is under way, and says
// otherwise why it is not.
//
// Once is enough: a host that did not come back right from a restart would do so
// for ever.
func (e Engine) restart(ctx context.Context, r Record, why string) error {
	switch {
	case r.LastResort != Restart:
		return errors.New("it may not restart by itself")
	case r.HasRestarted || r.Restarted || r.BootID != e.Clock.BootID():
		return errors.New("it has restarted once already")
	case e.Reboot == nil:
		return errors.New("it cannot be restarted from here")
	}
	if err := e.bootsPrevious(r); err != nil {
		return err
	}
	note := why + "; as its last resort the host was restarted into the last confirmed system"
	_, err := e.update(ctx, r.ID, func(r *Record) error {
		if r.HasRestarted || r.Seen {
			return ErrRefused
		}
		r.HasRestarted = true
		r.Notes = append(r.Notes, note)
		return nil
	})
	if err != nil {
		return err
	}
	if e.Log != nil {
		r.Reason = note
		e.Log(r)
	}
	if err := e.Reboot(context.WithoutCancel(ctx), r); err != nil {
		return fmt.Errorf("it could not be restarted: %v", err)
	}
	return errRestarting
}

// bootsPrevious fails unless the host would boot what it booted before. A loader
// that cannot be read is trusted as long as no commit has touched it.
func (e Engine) bootsPrevious(r Record) error {
	_, at, err := e.Host.Look(r.Profile)
	if err != nil {
		return err
	}
	if at.Link != r.Previous.Profile.Link {
		return fmt.Errorf("its profile is %s, and a restart would not bring the last confirmed system", at.Path)
	}
	boots, err := e.Host.Boots()
	switch {
	case err == nil && r.Previous.Boots != "" && boots != r.Previous.Boots:
		return fmt.Errorf("it boots %s, which is not the last confirmed system", boots)
	case (err != nil || r.Previous.Boots == "") && r.CommitBy != 0:
		return errors.New("what it boots is not known")
	}
	if first := cmp.Or(r.Previous.Boots, r.Previous.Profile.Path); first != r.Previous.Running && staged(e.Store.History(), first) {
		return fmt.Errorf("it boots %s, which was staged and has never proved healthy", first)
	}
	return nil
}

// staged says that a history's last word on a system is that it may be booted.
func staged(history []Record, system string) bool {
	for _, r := range history {
		if r.New == system && r.State == Committed {
			return r.Action == Boot
		}
	}
	return false
}

// awaitContact waits, after a rollback, until a deployer has logged in anew, or
// restarts the host. It returns [errRestarting] where it does.
func (e Engine) awaitContact(ctx context.Context, r Record) error {
	if r.LastResort != Restart || r.SeeBy == 0 || r.BootID != e.Clock.BootID() {
		return nil
	}
	changes := e.Store.fs().Watch(e.Store.Dir, e.Store.Run)
	defer changes.Close()
	for ctx.Err() == nil {
		now, err := e.Store.Load()
		if err != nil || now == nil || now.ID != r.ID || now.Seen || now.HasRestarted {
			return nil // seen, or a deployer has begun something else
		}
		left := e.Clock.Now().Until(r.SeeBy)
		if left <= 0 {
			err := e.restart(ctx, *now, fmt.Sprintf("nobody reached it within %v after it went back", r.Limits.Confirm))
			if errors.Is(err, errRestarting) {
				return err
			}
			if !errors.Is(err, ErrRefused) {
				_ = e.Store.Note(ctx, r.ID, fmt.Sprintf("nobody reached the host after it went back, and it was not restarted: %v", err))
			}
			return nil
		}
		changes.Wait(ctx, left)
	}
	return ctx.Err()
}

// See records that a deployer has logged in: whoever calls it was started by a
// new connection.
func (e Engine) See(ctx context.Context) error {
	r, err := e.Store.Load()
	if err != nil || r == nil || r.SeeBy == 0 || r.Seen || r.BootID != e.Clock.BootID() {
		return err
	}
	_, err = e.update(ctx, r.ID, func(r *Record) error {
		r.Seen = true
		return nil
	})
	return err
}

// Note adds a finding to the record of transaction id.
func (s Store) Note(ctx context.Context, id, text string) error {
	_, err := s.update(ctx, id, func(r *Record) error {
		r.Notes = append(r.Notes, text)
		return nil
	})
	return err
}
