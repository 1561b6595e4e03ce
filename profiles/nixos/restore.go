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

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
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
	ended, failed := h.switchBack(ctx, r)
	if failed != nil {
		_ = unblock(ctx, m, before)
		h.prepareGround(ctx, r, m, before)
		ended, failed = h.switchBack(ctx, r)
	}
	running, _, err := h.Look(r.Profile)
	if err != nil {
		return err
	}
	if running != r.Previous.Running {
		return fmt.Errorf("the host runs %s: %v", running, failed)
	}
	revived := revive(ctx, m, before)
	if !ended {
		// What runs was moved by the activation script; the units were not.
		return fmt.Errorf("the switch to the previous system did not come to its end: %v", failed)
	}
	return revived
}

// killLimit bounds the wait for what was killed.
const killLimit = 15 * time.Second

// switchBack switches to the previous system within a time that leaves some for a
// second attempt. Failed units are no error here: the baseline shows what they are
// worth. ended says that all units were processed, which they are too where the
// activation script fails.
func (h Host) switchBack(ctx context.Context, r transaction.Record) (ended bool, err error) {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/2)
	defer cancel()
	exit, err := h.run(attempt, r, switching{role: "rollback", toplevel: r.Previous.Running, action: "test", unchecked: true})
	if err != nil {
		return false, err
	}
	if exit != 0 && exit != 4 {
		return exit == 2, errors.New(transaction.ExitMeaning(exit))
	}
	return true, nil
}

// prepareGround makes switch-to-configuration work where it cannot even begin:
// after emergency.target there is no D-Bus for it to talk to. The previous
// system's activation script brings its /etc back, and its units start from that.
func (h Host) prepareGround(ctx context.Context, r transaction.Record, m systemd.Manager, before probe.Baseline) {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/8)
	defer cancel()
	_, _ = h.runProgram(attempt, r, "rollback", []string{r.Previous.Running + "/activate"}, nil)
	_, _ = m.Output(attempt, "systemctl", "daemon-reload")
	forgive(attempt, m, before)
	_ = revive(attempt, m, before)
	_ = spareBus(restartList)
}

// restartList is where switch-to-configuration notes what it is about to restart,
// one unit in a line, so that the next run ends what a killed one began.
const restartList = "/run/nixos/restart-list"

// spareBus takes the D-Bus daemon off the list of units to restart. A switch talks
// to it all the time and would end with it, as the one did that noted it; what runs
// by now is the previous system's.
func spareBus(list string) error {
	data, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(data)) {
		if unit := strings.TrimSpace(line); unit != "dbus.service" && unit != "dbus-broker.service" {
			kept.WriteString(line)
		}
	}
	return atomicfile.Write(list, []byte(kept.String()), 0o644)
}

// forgive lets PID 1 forget that units of the trial failed: one that was tried too
// often is not started any more, whatever its file says by now.
func forgive(ctx context.Context, m systemd.Manager, before probe.Baseline) {
	now, err := m.List(ctx)
	if err != nil {
		return
	}
	args := []string{"reset-failed", "--"}
	for id, is := range now {
		if is.Active == "failed" && before.Units[id].Active != "failed" {
			args = append(args, id)
		}
	}
	if len(args) > 2 {
		_, _ = m.Output(ctx, "systemctl", args...)
	}
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
		if !lasting(id, was) || bySocket(id, before) || startsByItself(id, before) {
			continue
		}
		if is := now[id]; is.Active != "active" && is.Active != "reloading" {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// bySocket says that a socket of the baseline starts the service when it is
// needed.
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
