package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

const freezeFile = "freeze.json"

// Freeze is a person's wish that nothing changes the host.
type Freeze struct {
	Owner   string    `json:"owner"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// FrozenError says that the host is frozen.
type FrozenError struct{ Freeze Freeze }

func (e *FrozenError) Error() string {
	return fmt.Sprintf("frozen by %s since %s: %s", e.Freeze.Owner, e.Freeze.Since.Format(time.DateTime), e.Freeze.Message)
}

// RejectedError says that a system was found bad on this host before.
type RejectedError struct{ System string }

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%s was rejected on this host before", e.System)
}

// Frozen returns the freeze that holds, nil where there is none.
func (s Store) Frozen() (*Freeze, error) {
	f, err := readJSON[Freeze](s.fs(), filepath.Join(s.Dir, freezeFile))
	if err != nil {
		return nil, fmt.Errorf("read freeze: %v", err)
	}
	return f, nil
}

// Freeze keeps every transaction from beginning. It fails with a [FrozenError]
// where somebody else's freeze holds.
func (s Store) Freeze(ctx context.Context, f Freeze) error {
	return s.locked(ctx, func() error {
		was, err := s.Frozen()
		if err != nil {
			return err
		}
		if was != nil && was.Owner != f.Owner {
			return &FrozenError{*was}
		}
		data, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("write freeze: %v", err)
		}
		if err := atomicfile.WriteOn(s.fs(), filepath.Join(s.Dir, freezeFile), data, 0o600); err != nil {
			return fmt.Errorf("write freeze: %v", err)
		}
		return nil
	})
}

// Unfreeze ends a freeze and returns it, nil where there was none. That of
// somebody else is a [FrozenError] unless force is set, which also ends one that
// cannot be read.
func (s Store) Unfreeze(ctx context.Context, owner string, force bool) (was *Freeze, err error) {
	err = s.locked(ctx, func() error {
		if was, err = s.Frozen(); err != nil && !force {
			return err
		}
		if was != nil && was.Owner != owner && !force {
			return &FrozenError{*was}
		}
		if err := s.fs().Remove(filepath.Join(s.Dir, freezeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("end freeze: %v", err)
		}
		return atomicfile.SyncDirOn(s.fs(), s.Dir)
	})
	return was, err
}

// Stops says whether the freeze, nil for none, forbids an action. A rollback by
// its owner is what it may be for.
func (f *Freeze) Stops(action Action, deployer string) bool {
	return f != nil && (action != Rollback || f.Owner != deployer)
}

// admit refuses what a freeze or an earlier verdict forbids.
func (e Engine) admit(p Plan) error {
	if p.Force {
		return nil
	}
	freeze, err := e.Store.Frozen()
	if err != nil {
		return err
	}
	if freeze.Stops(p.Action, p.Deployer) {
		return &FrozenError{*freeze}
	}
	if p.Automatic && VerdictOn(e.Store.History(), p.New) == Rejected {
		return &RejectedError{p.New}
	}
	return nil
}
