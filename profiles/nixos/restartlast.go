package nixos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/closure"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// RestartLast implements [transaction.Prover]. On the new system it restarts what the
// activation has left as it was; on the previous one whatever the two systems have
// differently, since there it is the trial, or a boot, that has started it.
func (h Host) RestartLast(ctx context.Context, r transaction.Record) ([]string, error) {
	running, _, err := h.Look(r.Profile)
	if err != nil {
		return nil, err
	}
	other := r.New
	switch {
	case r.Restarted:
		// All units began with what was booted.
		if other, err = filepath.EvalSymlinks(bootedSystem); err != nil {
			return nil, fmt.Errorf("read the booted system: %v", err)
		}
	case running == r.New:
		other = r.Previous.Running
	}
	m := systemd.Of(running)
	units, err := m.Show(ctx, r.Alone.RestartLast...)
	if err != nil {
		return nil, err
	}
	before, _ := h.Store.LoadBaseline(r.ID) // without it more is restarted than must be
	var stale, ran []string
	for _, name := range r.Alone.RestartLast {
		now, was, text := named(units, name), named(before.Units, name), closure.UnitText(running, name)
		if text == closure.UnitText(other, name) || !isStale(now, was, closure.LeavesAlone(text), running == r.New) {
			continue
		}
		stale = append(stale, name)
		if running == r.New || was.Active == "active" {
			ran = append(ran, name)
		}
	}
	if len(stale) == 0 {
		return nil, nil
	}
	// One that failed again and again may not be started for a while.
	_, _ = m.Output(ctx, "systemctl", append([]string{"reset-failed", "--"}, stale...)...)
	_, said := m.Output(ctx, "systemctl", append([]string{"restart", "--"}, stale...)...)
	return stale, awaitRestarted(ctx, m, ran, said)
}

// isStale says whether a unit, of which the systems differ, is still to be restarted. One
// that was not left alone was restarted by the switch, where it has another invocation than
// before. One that neither runs nor ran is nobody's wish.
func isStale(now, was systemd.Unit, leftAlone, onNew bool) bool {
	switch {
	case now.Load != "loaded":
		return false // the running system does not have it
	case now.Active == "inactive" && was.Active != "active":
		return false
	case onNew && !leftAlone:
		return now.Invocation == was.Invocation
	}
	return true
}

// named is the unit of a name or an alias; where it is not listed, one that does not run.
func named(units map[string]systemd.Unit, name string) systemd.Unit {
	if u, ok := units[name]; ok {
		return u
	}
	for _, u := range units {
		if slices.Contains(u.Names, name) {
			return u
		}
	}
	return systemd.Unit{ID: name, Active: "inactive"}
}

// awaitRestarted fails where a unit does not run when nothing has moved for a while; said
// is what systemctl had against the restart.
func awaitRestarted(ctx context.Context, m systemd.Manager, names []string, said error) error {
	if len(names) == 0 {
		return nil
	}
	var still time.Duration
	down := names
	for {
		units, err := m.Show(ctx, names...)
		if err == nil {
			var moving bool
			if down, moving = notRunning(names, units); moving {
				still = 0
			}
		}
		switch {
		case ctx.Err() != nil || still >= calm && len(down) > 0:
			return notRestarted(down, said)
		case still >= calm:
			return nil
		}
		const pause = 100 * time.Millisecond
		still += pause
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func notRestarted(down []string, said error) error {
	text := "no answer from systemd"
	if len(down) > 0 {
		text = "not running: " + strings.Join(down, ", ")
	}
	if said != nil {
		text += fmt.Sprintf(" (%v)", said)
	}
	return errors.New(text)
}

// notRunning names the units that do not run, and says whether one is on its way. One that
// systemd tries again after a failure is not. A service that has done its work is well.
func notRunning(names []string, units map[string]systemd.Unit) (down []string, moving bool) {
	for _, name := range names {
		u := named(units, name)
		switch {
		case u.Failing():
			down = append(down, name)
		case u.Active == "activating" || u.Active == "deactivating" || u.Active == "reloading" || u.Job != 0:
			down = append(down, name)
			moving = true
		case u.Active == "active", u.Load == "loaded" && u.Result == "success" && u.ExecStart != 0:
		default:
			down = append(down, name)
		}
	}
	return down, moving
}
