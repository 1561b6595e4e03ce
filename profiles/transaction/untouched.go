package transaction

import (
	"context"
	"errors"
)

// ErrUntouched says that switch-to-configuration ended before it did anything,
// and that nothing of the host was found changed.
var ErrUntouched = errors.New("nothing was changed")

// untouched ends a trial that was none: there is nothing to bring back, and
// bringing it back all the same would restart what never stopped.
func (e Engine) untouched(ctx context.Context, r Record, exit int) error {
	_, err := e.update(ctx, r.ID, func(r *Record) error {
		r.ExitCode, r.Untouched = exit, true
		r.because(NotSwitched, "%s", r.exitMeaning(exit))
		return r.apply(Abort)
	})
	return err
}
