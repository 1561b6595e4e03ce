package nixos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
	failed := h.switchBack(ctx, r)
	if failed != nil {
		_ = unblock(ctx, m, before)
		h.prepareGround(ctx, r, m, before)
		failed = h.switchBack(ctx, r)
	}
	running, _, err := h.Look(r.Profile)
	if err != nil {
		return err
	}
	if running != r.Previous.Running {
		return fmt.Errorf("the host runs %s: %v", running, failed)
	}
	return revive(ctx, m, before)
}

// killLimit bounds the wait for what was killed.
const killLimit = 15 * time.Second

// switchBack switches to the previous system. Failed units are no error here:
// the baseline shows what they are worth.
func (h Host) switchBack(ctx context.Context, r transaction.Record) error {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/3)
	defer cancel()
	exit, err := h.run(attempt, r, switching{role: "rollback", toplevel: r.Previous.Running, action: "test", unchecked: true})
	if err != nil {
		return err
	}
	if exit != 0 && exit != 4 {
		return errors.New(transaction.ExitMeaning(exit))
	}
	return nil
}

// prepareGround makes switch-to-configuration work where it cannot even begin:
// after emergency.target there is no D-Bus for it to talk to. The previous
// system's activation script brings its /etc back, and its units start from that.
func (h Host) prepareGround(ctx context.Context, r transaction.Record, m systemd.Manager, before probe.Baseline) {
	attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/3)
	defer cancel()
	_, _ = h.runProgram(attempt, r, "rollback", []string{r.Previous.Running + "/activate"}, nil)
	_, _ = m.Output(attempt, "systemctl", "daemon-reload")
	_ = revive(attempt, m, before)
}

// unblock cancels the jobs that the trial queued and kills the units that hang
// since then.
func unblock(ctx context.Context, m systemd.Manager, before probe.Baseline) error {
	jobs, err := m.Jobs(ctx)
	if err == nil {
		jobs = slices.DeleteFunc(jobs, func(j systemd.Job) bool {
			return slices.Contains(before.Jobs, j.ID) || strings.HasPrefix(j.Unit, "hdeploy-")
		})
		err = m.Cancel(ctx, jobs)
	}
	units, showErr := m.All(ctx)
	for _, u := range units {
		hangs := u.Active == "activating" || u.Active == "deactivating"
		was := before.Units[u.ID]
		if !hangs || strings.HasPrefix(u.ID, "hdeploy-") || was.Active == u.Active && was.Invocation == u.Invocation {
			continue
		}
		if strings.HasSuffix(u.ID, ".service") && u.ControlGroup != "" {
			err = errors.Join(err, systemd.KillGroup(ctx, u.ControlGroup))
		}
	}
	return errors.Join(err, showErr)
}

// settleLimit is how long services that ran before may take to run again.
const settleLimit = 20 * time.Second

// revive starts what ran before the trial and does not run now:
// switch-to-configuration only starts what it stopped itself, and after
// emergency.target that is not enough to have sshd back.
func revive(ctx context.Context, m systemd.Manager, before probe.Baseline) error {
	if len(before.Units) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	missing := []string{"not known, since systemd did not answer"}
	for started := false; ; {
		if now, err := missingUnits(ctx, m, before); err == nil {
			missing = now
			if len(missing) == 0 {
				return nil
			}
			if !started {
				started = true
				freeSockets(ctx, m, missing)
				_ = m.Start(ctx, missing...)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("these units ran before and do not run now: %s", strings.Join(missing, ", "))
		case <-time.After(50 * time.Millisecond):
		}
	}
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
		if !lasting(id, was) || bySocket(id, before) {
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
