package nixos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// switching is one run of a toplevel's switch-to-configuration.
type switching struct {
	// role names the unit: activation, commit or rollback.
	role     string
	toplevel string
	action   string
	// unchecked skips the pre-switch checks: they must not block the way back.
	unchecked bool
}

// run runs switch-to-configuration in a unit of its own and returns its exit
// code. The unit outlives the caller; when ctx ends, the unit is killed and gone
// before run returns.
//
// Output goes to a file, never to a pipe: whoever reads a pipe can die, and then
// the next line printed would kill the switch in the middle.
func (h Host) run(ctx context.Context, r transaction.Record, s switching) (int, error) {
	var environment []string
	if s.unchecked {
		environment = append(environment, "NIXOS_NO_CHECK=1")
	}
	return h.runProgram(ctx, r, s.role, []string{filepath.Join(s.toplevel, "bin/switch-to-configuration"), s.action}, environment)
}

// leaveResult runs a program and leaves its exit code, in one line, in the file
// that is its name. It is a shell's work, since a shell starts at once and is what
// every NixOS has.
const leaveResult = `"$@"; echo "$?" > "$0"`

func (h Host) runProgram(ctx context.Context, r transaction.Record, role string, program, environment []string) (int, error) {
	unit := service(r.ID, role)
	result := filepath.Join(h.dir(r.ID), role+".exit")
	if err := h.clear(ctx, unit, result); err != nil {
		return -1, err
	}
	// A restart of the host took what was in /run.
	if err := os.MkdirAll(h.dir(r.ID), 0o700); err != nil {
		return -1, err
	}
	m := systemd.Of(r.Previous.Running)
	err := startUnit(ctx, m, systemd.Transient{
		Name:         unit,
		Asynchronous: true,
		Description:  fmt.Sprintf("hdeploy: %s of transaction %s", role, r.ID),
		Command:      append([]string{"/bin/sh", "-c", leaveResult, result}, program...),
		Log:          h.Store.LogFile(r.ID),
		Environment:  environment,
		Public:       true,
	})
	if err != nil {
		return -1, err
	}
	exit, err := awaitResult(ctx, m, unit, result)
	if err != nil {
		return -1, errors.Join(err, h.clear(ctx, unit, result), h.withdraw(ctx, m, unit))
	}
	return exit, nil
}

// withdraw takes back the start of a unit that PID 1 may not have begun yet: it
// must not begin when the host has long been on its way back.
func (h Host) withdraw(ctx context.Context, m systemd.Manager, unit string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if !pending(ctx, m, unit) {
		return nil
	}
	return errors.Join(m.Stop(ctx, unit), systemd.Kill(ctx, unit))
}

// collectLimit is how long PID 1 may take to forget a unit of the same name whose
// processes are gone.
const collectLimit = 3 * time.Second

func startUnit(ctx context.Context, m systemd.Manager, t systemd.Transient) error {
	for waited := time.Duration(0); ; waited += collectLimit / 30 {
		err := m.Run(ctx, t)
		if err == nil || waited >= collectLimit || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(collectLimit / 30):
		}
	}
}

// clear ends a unit of an earlier attempt and forgets its result. It works on
// after ctx ended, since nothing may be left running.
func (h Host) clear(ctx context.Context, unit, result string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := systemd.Kill(ctx, unit); err != nil {
		return err
	}
	if err := os.Remove(result); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear %s: %v", unit, err)
	}
	return nil
}

// errNoResult says that a unit ended without leaving an exit code: it was killed.
var errNoResult = errors.New("it was killed before it ended")

// awaitResult waits for the exit code of a unit that was asked for. A unit whose
// control group is empty either ended without one, or was not started yet: PID 1
// knows which.
func awaitResult(ctx context.Context, m systemd.Manager, unit, result string) (int, error) {
	changes := atomicfile.Watch(filepath.Dir(result))
	defer changes.Close()
	for emptyBefore := false; ; {
		if exit, err := readResult(result); !errors.Is(err, fs.ErrNotExist) {
			return exit, err
		}
		populated, err := systemd.Populated(unit)
		if err != nil {
			return -1, err
		}
		if !populated && emptyBefore && !pending(ctx, m, unit) {
			// It may have begun and ended since the first look.
			if exit, err := readResult(result); !errors.Is(err, fs.ErrNotExist) {
				return exit, err
			}
			return -1, fmt.Errorf("run %s: %w", unit, errNoResult)
		}
		emptyBefore = !populated
		if ctx.Err() != nil {
			return -1, fmt.Errorf("run %s: %w", unit, ctx.Err())
		}
		changes.Wait(ctx, time.Second)
	}
}

// pending says that PID 1 has still something to do for a unit.
func pending(ctx context.Context, m systemd.Manager, unit string) bool {
	units, err := m.Show(ctx, unit)
	u := units[unit]
	return err == nil && (u.Job != 0 || u.Active == "activating" || u.Active == "active" || u.Active == "deactivating")
}

func readResult(name string) (int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return -1, err
	}
	line, whole := strings.CutSuffix(string(data), "\n")
	if !whole && line == "" {
		return -1, fs.ErrNotExist // created, and not written yet
	}
	exit, err := strconv.Atoi(line)
	if err != nil {
		return -1, fmt.Errorf("read %s: %v", name, err)
	}
	return exit, nil
}

// Activate implements [transaction.Host].
func (h Host) Activate(ctx context.Context, r transaction.Record) (int, error) {
	exit, err := h.run(ctx, r, switching{role: "activation", toplevel: r.New, action: "test"})
	if err == nil && h.untouched(ctx, r, exit) {
		err = transaction.ErrUntouched
	}
	return exit, err
}
