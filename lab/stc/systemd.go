package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// systemd is PID 1, asked through the systemctl of the new system. Jobs are waited for without limit, as the real program does.
type systemd struct {
	program string
}

func (s systemd) command(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, s.program, arguments...)
}

// do runs a verb over units. An exit status is the units' trouble and only reported; anything else is ours.
func (s systemd) do(ctx context.Context, stderr io.Writer, verb string, units []string) (succeeded bool, err error) {
	command := s.command(ctx, append([]string{"--no-ask-password", verb, "--"}, units...)...)
	command.Stdout, command.Stderr = stderr, stderr
	return exitedZero(command.Run())
}

func exitedZero(err error) (bool, error) {
	if err == nil {
		return true, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, nil
	}
	return false, fmt.Errorf("run program: %v", err)
}

func (s systemd) call(ctx context.Context, arguments ...string) error {
	output, err := s.command(ctx, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %v: %s", strings.Join(arguments, " "), err, bytes.TrimSpace(output))
	}
	return nil
}

// active returns all units that are not inactive.
func (s systemd) active(ctx context.Context) (map[string]unitState, error) {
	output, err := s.command(ctx, "list-units", "--full", "--no-pager", "--output=json").Output()
	if err != nil {
		return nil, fmt.Errorf("list units: %v", err)
	}
	var rows []struct {
		Unit   string `json:"unit"`
		Active string `json:"active"`
		Sub    string `json:"sub"`
	}
	if err := json.Unmarshal(output, &rows); err != nil {
		return nil, fmt.Errorf("parse list of units: %v", err)
	}
	units := map[string]unitState{}
	for _, row := range rows {
		if row.Active != "inactive" {
			units[row.Unit] = unitState{active: row.Active, sub: row.Sub}
		}
	}
	return units, nil
}

// waitForBoot returns once the boot is over, however it ended.
func (s systemd) waitForBoot(ctx context.Context) error {
	for {
		// The exit status only repeats what the word says.
		output, err := s.command(ctx, "is-system-running").Output()
		switch state := strings.TrimSpace(string(output)); state {
		case "running", "degraded", "maintenance":
			return nil
		case "initializing", "starting", "stopping":
		default:
			return fmt.Errorf("ask for the state of the system: %q: %v", state, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// exitStatus returns the exit status of a service's main process.
func (s systemd) exitStatus(ctx context.Context, unit string) (string, error) {
	output, err := s.command(ctx, "show", "--value", "--property=ExecMainStatus", "--", unit).Output()
	if err != nil {
		return "", fmt.Errorf("show %s: %v", unit, err)
	}
	return strings.TrimSpace(string(output)), nil
}
