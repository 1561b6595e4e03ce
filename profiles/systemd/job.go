package systemd

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
)

// leaveResult runs a program and leaves its exit code, in one line, in the file
// that is its name. It is a shell's work, since a shell starts at once and is what
// every NixOS has.
const leaveResult = `"$@"; echo "$?" > "$0"`

// RunToEnd runs the program of t in a unit of its own, waits for its end and
// returns its exit code. The unit outlives the caller; when ctx ends, the unit is
// killed and gone before RunToEnd returns. The exit code passes through the file
// result, whose folder belongs to whom the manager runs as.
func (m Manager) RunToEnd(ctx context.Context, t Transient, result string) (int, error) {
	if err := m.clear(ctx, t.Name, result); err != nil {
		return -1, err
	}
	// A restart of the host took what was in /run.
	if err := os.MkdirAll(filepath.Dir(result), 0o700); err != nil {
		return -1, err
	}
	t.Asynchronous = true
	t.Command = append([]string{"/bin/sh", "-c", leaveResult, result}, t.Command...)
	if err := m.startAnew(ctx, t); err != nil {
		return -1, err
	}
	exit, err := m.awaitResult(ctx, t.Name, result)
	if err != nil {
		return -1, errors.Join(err, m.clear(ctx, t.Name, result), m.withdraw(ctx, t.Name))
	}
	return exit, nil
}

// withdraw takes back the start of a unit that the manager may not have begun yet:
// it must not begin when the host has long been on its way back.
func (m Manager) withdraw(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if !m.pending(ctx, unit) {
		return nil
	}
	return errors.Join(m.Stop(ctx, unit), m.Kill(ctx, unit))
}

// collectLimit is how long the manager may take to forget a unit of the same name
// whose processes are gone.
const collectLimit = 3 * time.Second

func (m Manager) startAnew(ctx context.Context, t Transient) error {
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
func (m Manager) clear(ctx context.Context, unit, result string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := m.Kill(ctx, unit); err != nil {
		return err
	}
	if err := os.Remove(result); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear %s: %v", unit, err)
	}
	return nil
}

// ErrNoResult says that a unit ended without leaving an exit code: it was killed.
var ErrNoResult = errors.New("it was killed before it ended")

// awaitResult waits for the exit code of a unit that was asked for. A unit whose
// control group is empty either ended without one, or was not started yet: the
// manager knows which.
func (m Manager) awaitResult(ctx context.Context, unit, result string) (int, error) {
	changes := atomicfile.Watch(filepath.Dir(result))
	defer changes.Close()
	for emptyBefore := false; ; {
		if exit, err := readResult(result); !errors.Is(err, fs.ErrNotExist) {
			return exit, err
		}
		populated, err := isPopulated(m.group(unit))
		if err != nil {
			return -1, err
		}
		if !populated && emptyBefore && !m.pending(ctx, unit) {
			// It may have begun and ended since the first look.
			if exit, err := readResult(result); !errors.Is(err, fs.ErrNotExist) {
				return exit, err
			}
			return -1, fmt.Errorf("run %s: %w", unit, ErrNoResult)
		}
		emptyBefore = !populated
		if ctx.Err() != nil {
			return -1, fmt.Errorf("run %s: %w", unit, ctx.Err())
		}
		changes.Wait(ctx, time.Second)
	}
}

// pending says that the manager has still something to do for a unit.
func (m Manager) pending(ctx context.Context, unit string) bool {
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
