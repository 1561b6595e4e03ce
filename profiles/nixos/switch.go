package nixos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
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

func (h Host) runProgram(ctx context.Context, r transaction.Record, role string, program, environment []string) (int, error) {
	unit := service(r.ID, role)
	result := filepath.Join(h.dir(r.ID), role+".exit")
	if err := h.clear(ctx, unit, result); err != nil {
		return -1, err
	}
	if err := h.ensureCopy(r.ID); err != nil {
		return -1, err
	}
	err := startUnit(ctx, systemd.Of(r.Previous.Running), systemd.Transient{
		Name:        unit,
		Description: fmt.Sprintf("hdeploy: %s of transaction %s", role, r.ID),
		Command:     append([]string{h.agent(r.ID), "switch", result}, program...),
		Log:         LogFile(h.Store, r.ID),
		Environment: environment,
		Public:      true,
	})
	if err != nil {
		return -1, err
	}
	exit, err := awaitResult(ctx, unit, result)
	if err != nil {
		return -1, errors.Join(err, h.clear(ctx, unit, result))
	}
	return exit, nil
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

// ensureCopy puts the copy of the agent back that a restart of the host took with
// /run.
func (h Host) ensureCopy(id string) error {
	if _, err := os.Stat(h.agent(id)); err == nil {
		return nil
	}
	if err := os.MkdirAll(h.dir(id), 0o700); err != nil {
		return err
	}
	return copySelf(h.agent(id))
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

func awaitResult(ctx context.Context, unit, result string) (int, error) {
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
		if !populated && emptyBefore {
			return -1, fmt.Errorf("run %s: %w", unit, errNoResult)
		}
		emptyBefore = !populated
		if ctx.Err() != nil {
			return -1, fmt.Errorf("run %s: %w", unit, ctx.Err())
		}
		changes.Wait(ctx, time.Second)
	}
}

func readResult(name string) (int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return -1, err
	}
	exit, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return -1, fmt.Errorf("read %s: %v", name, err)
	}
	return exit, nil
}

// RunSwitch is the main program of a switch's unit: it runs program, which writes
// to output, and leaves the exit code in the file result.
func RunSwitch(ctx context.Context, result string, program []string, output *os.File) error {
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	var exit *exec.ExitError
	code := 0
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
		if code < 0 {
			code = 128
		}
	case err != nil:
		code = 126
		fmt.Fprintln(output, err)
	}
	return atomicfile.Write(result, []byte(strconv.Itoa(code)), 0o600)
}

// Activate implements [transaction.Host].
func (h Host) Activate(ctx context.Context, r transaction.Record) (int, error) {
	return h.run(ctx, r, switching{role: "activation", toplevel: r.New, action: "test"})
}
