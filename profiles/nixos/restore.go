package nixos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Restore implements [transaction.Host].
//
// PID 1 keeps the jobs of a switch that was killed, and the next switch waits
// for them without a limit: so they are cancelled first, and units that hang in
// a start or a stop since the trial are killed. The result is judged by what
// runs, never by the exit code alone: lists that the killed run left in
// /run/nixos make a restore that worked exit 4.
func (h Host) Restore(ctx context.Context, r transaction.Record) error {
	fencing, cancel := context.WithTimeout(ctx, killLimit)
	_ = h.Fence(fencing, r.ID) // what cannot be killed must not keep the old system away
	cancel()
	m := systemd.Of(r.Previous.Running)
	before, err := h.Store.LoadBaseline(r.ID)
	if err != nil {
		// Without a baseline the system can still be restored, only less is shown.
		before = probe.Baseline{}
	}
	_ = unblock(ctx, m, before)
	// First, since the switch may fail, and last, since what the switch starts may
	// write them.
	_ = h.restoreKeys(ctx, r, nil)
	failed := h.switchBack(ctx, r)
	if errors.Is(failed, errSomebodyElse) {
		return failed
	}
	if failed != nil {
		_ = unblock(ctx, m, before)
		prepared := readClock(unix.CLOCK_MONOTONIC)
		h.prepareGround(ctx, r, m, before)
		failed = h.switchBack(ctx, r)
		restarting, cancel := context.WithTimeout(ctx, r.Limits.Rollback/8)
		restartStale(restarting, m, before, prepared)
		cancel()
	}
	running, _, err := h.Look(r.Profile)
	if err != nil {
		return err
	}
	if running != r.Previous.Running {
		return fmt.Errorf("the host runs %s: %v", running, failed)
	}
	reconnectLogins(ctx, m, before)
	failures := []error{revive(ctx, m, before), h.restoreKeys(ctx, r, nil)}
	if errors.Is(failed, errNotEnded) {
		// The activation script alone makes it the running system, with the units of
		// the other one.
		failures = append(failures, fmt.Errorf("the host runs the previous system, but %v", failed))
	}
	return inOneLine(failures)
}

// inOneLine joins what is not nil, for a record's note.
func inOneLine(failures []error) error {
	var said []string
	for _, err := range failures {
		if err != nil {
			said = append(said, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if len(said) == 0 {
		return nil
	}
	return errors.New(strings.Join(said, "; "))
}

// killLimit bounds the wait for what was killed.
const killLimit = 15 * time.Second

// switchBack switches to the previous system within a time that leaves some for a
// second attempt. Failed units are no error here: the baseline shows what they are
// worth, and all of them were processed where only the activation script failed.
func (h Host) switchBack(ctx context.Context, r transaction.Record) error {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/2)
	defer cancel()
	for {
		if err := h.awaitSwitchLock(attempt, r); err != nil {
			return err
		}
		exit, err := h.run(attempt, r, switching{role: "rollback", toplevel: r.Previous.Running, action: "test", unchecked: true})
		switch {
		case err != nil:
			return fmt.Errorf("%w: %v", errNotEnded, err)
		case exit == 11 && attempt.Err() == nil && busy() != nil:
			continue // somebody else was faster
		case exit == 2:
			return errors.New(transaction.ExitMeaning(exit))
		case exit != 0 && exit != 4:
			return fmt.Errorf("%w: %s", errNotEnded, transaction.ExitMeaning(exit))
		}
		return nil
	}
}

// errNotEnded says that the previous system's switch-to-configuration did not get
// through all units.
var errNotEnded = errors.New("its switch-to-configuration did not come to its end")

// errSomebodyElse says that the host was switched by somebody else while the way
// back waited for them.
var errSomebodyElse = errors.New("somebody else switched the host")

// awaitSwitchLock waits while somebody else's switch runs, which would make this
// one fail, and fails where that switch leaves the host with a system of its own.
func (h Host) awaitSwitchLock(ctx context.Context, r transaction.Record) error {
	waited := false
	for o := busy(); o != nil; o = busy() {
		waited = true
		select {
		case <-ctx.Done():
			return o
		case <-time.After(200 * time.Millisecond):
		}
	}
	if !waited {
		return nil
	}
	running, _, err := h.Look(r.Profile)
	if err == nil && running != r.New && running != r.Previous.Running {
		return errSomebodyElse
	}
	return nil
}

// prepareGround makes switch-to-configuration work where it cannot even begin:
// after emergency.target there is no D-Bus for it to talk to. The previous
// system's activation script brings its /etc back, and its units start from that.
// From then on a switch finds no difference any more, and the lists of the one that
// failed would only repeat what made it fail: [restartStale] and [revive] do what
// is left.
func (h Host) prepareGround(ctx context.Context, r transaction.Record, m systemd.Manager, before probe.Baseline) {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/8)
	defer cancel()
	_, _ = h.runProgram(attempt, r, "rollback", []string{r.Previous.Running + "/activate"}, nil)
	for _, list := range resumed {
		_ = os.Remove(filepath.Join(filepath.Dir(switchLock), list))
	}
	_, _ = m.Output(attempt, "systemctl", "daemon-reload")
	_ = revive(attempt, m, before)
}

// restartStale restarts the services that the new system has started anew: they
// run what it made of them, and not what was prepared, at that time of
// CLOCK_MONOTONIC, to run again.
func restartStale(ctx context.Context, m systemd.Manager, before probe.Baseline, prepared time.Duration) {
	now, err := m.All(ctx)
	if err != nil {
		return
	}
	stale := []string{"restart", "--"}
	for id, was := range before.Units {
		is := now[id]
		again := was.Active == "active" && is.Active == "active" && is.Invocation != was.Invocation
		if again && is.ExecStart < prepared.Microseconds() && ours(id, was) && !startsByItself(id, before) {
			stale = append(stale, id)
		}
	}
	if len(stale) > 2 {
		slices.Sort(stale[2:])
		_, _ = m.Output(ctx, "systemctl", stale...)
	}
}

const logind = "systemd-logind.service"

// reconnectLogins restarts logind where the bus was restarted since the baseline
// and logind was not: it does not find its way back to a new bus by itself, and
// each login then waits half a minute for it. Sessions survive its restart.
func reconnectLogins(ctx context.Context, m systemd.Manager, before probe.Baseline) {
	now, err := m.Show(ctx, "dbus.service", "dbus-broker.service", logind)
	if err != nil {
		return
	}
	again := func(id string) bool {
		was, is := before.Units[id], now[id]
		return was.Active == "active" && is.Active == "active" && is.Invocation != was.Invocation
	}
	if (again("dbus.service") || again("dbus-broker.service")) && now[logind].Active == "active" && !again(logind) {
		_, _ = m.Output(ctx, "systemctl", "restart", "--", logind)
	}
}

// ours says that a unit is a service of the system's configuration.
func ours(id string, was systemd.Unit) bool {
	return strings.HasSuffix(id, ".service") && !strings.Contains(id, "@") && !strings.HasPrefix(id, "hdeploy-") &&
		!strings.HasPrefix(was.Fragment, "/run/")
}

// unblock cancels the jobs that the trial queued and kills the units that hang in
// them. What works by itself at this moment is left alone: units without a job,
// those that a timer of the baseline starts, and users' managers.
func unblock(ctx context.Context, m systemd.Manager, before probe.Baseline) error {
	units, err := m.All(ctx)
	if err != nil {
		return err
	}
	jobs, err := m.Jobs(ctx)
	if err != nil {
		return err
	}
	queued := map[string]bool{}
	jobs = slices.DeleteFunc(jobs, func(j systemd.Job) bool {
		spared := slices.Contains(before.Jobs, j.ID) || strings.HasPrefix(j.Unit, "hdeploy-") || startsByItself(j.Unit, before)
		queued[j.Unit] = !spared
		return spared
	})
	failures := []error{m.Cancel(ctx, jobs)}
	for id, u := range units {
		hangs := u.Active == "activating" || u.Active == "deactivating"
		if hangs && queued[id] && u.ControlGroup != "" {
			failures = append(failures, systemd.KillGroup(ctx, u.ControlGroup))
		}
	}
	return errors.Join(failures...)
}

// startsByItself says whether a service comes and goes without a switch: by a
// timer of the baseline, or as a user's manager.
func startsByItself(id string, before probe.Baseline) bool {
	stem, ok := strings.CutSuffix(id, ".service")
	return ok && (before.Units[stem+".timer"].Active == "active" || strings.HasPrefix(id, "user@"))
}

// calm is how long nothing may move before what does not run is taken to stay so.
const calm = 2 * time.Second

// revive starts what ran before the trial and does not run now:
// switch-to-configuration only starts what it stopped itself, and after
// emergency.target that is not enough to have sshd back. It waits as long as
// anything of it is still starting.
func revive(ctx context.Context, m systemd.Manager, before probe.Baseline) error {
	if len(before.Units) == 0 {
		return nil
	}
	started := false
	var still time.Duration
	verdict := []string{"not known, since systemd did not answer"}
	for {
		missing, err := missingUnits(ctx, m, before)
		if err == nil && len(missing) == 0 {
			return nil
		}
		if err == nil && !started {
			started = true
			freeSockets(ctx, m, missing)
			// What the new system made fail again and again may not be started for a
			// while.
			_, _ = m.Output(ctx, "systemctl", append([]string{"reset-failed", "--"}, missing...)...)
			_ = m.Start(ctx, missing...)
		}
		if err == nil {
			units, showErr := m.Show(ctx, missing...)
			var moving bool
			if verdict, moving = judgeMissing(missing, units); moving || showErr != nil {
				still = 0
			}
		}
		if still >= calm && len(verdict) == 0 {
			return nil
		}
		if still >= calm || ctx.Err() != nil {
			return fmt.Errorf("these units ran before and do not run now: %s", strings.Join(verdict, ", "))
		}
		const pause = 100 * time.Millisecond
		still += pause
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// judgeMissing names the units that are broken, and says whether any is still on
// its way. A service that was started and ended well is one that ends by itself
// when it has nothing to do; a unit that refuses to be started is pulled in by
// what needs it.
func judgeMissing(missing []string, units map[string]systemd.Unit) (broken []string, moving bool) {
	for _, id := range missing {
		u := units[id]
		moving = moving || u.Active == "activating" || u.Active == "deactivating" || u.Job != 0
		endedWell := strings.HasSuffix(id, ".service") && u.Active == "inactive" && u.Result == "success" && u.Load == "loaded" && u.ExecStart != 0
		if !endedWell && !u.RefusesStart {
			broken = append(broken, id)
		}
	}
	return broken, moving
}

// freeSockets stops the services of sockets that must be started: a socket refuses
// to listen while its service runs without it.
func freeSockets(ctx context.Context, m systemd.Manager, missing []string) {
	for _, id := range missing {
		if stem, ok := strings.CutSuffix(id, ".socket"); ok {
			_ = m.Stop(ctx, stem+".service")
		}
	}
}

// missingUnits names the targets that were active and the services that were
// running before, and are not now. Units that come and go by themselves are left
// out: those of sessions, of timers' services, and transient ones.
func missingUnits(ctx context.Context, m systemd.Manager, before probe.Baseline) ([]string, error) {
	now, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	var missing []string
	for id, was := range before.Units {
		is := now[id]
		if !lasting(id, was) || bySocket(id, before) && is.Active != "failed" || startsByItself(id, before) {
			continue
		}
		if is.Active != "active" && is.Active != "reloading" {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// bySocket says that a socket of the baseline starts the service when it is
// needed. One that failed it does not start.
func bySocket(id string, before probe.Baseline) bool {
	stem, ok := strings.CutSuffix(id, ".service")
	return ok && before.Units[stem+".socket"].Active == "active"
}

func lasting(id string, was systemd.Unit) bool {
	if strings.HasPrefix(id, "hdeploy-") || strings.HasPrefix(was.Fragment, "/run/systemd/transient/") {
		return false
	}
	switch filepath.Ext(id) {
	case ".target":
		return was.Active == "active"
	case ".socket":
		return was.Active == "active"
	case ".service":
		instance := strings.Contains(id, "@")
		return was.Active == "active" && was.Sub == "running" && !instance
	}
	return false
}
