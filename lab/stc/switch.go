package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long units may take to fail before the failed ones are counted.
const settle = 250 * time.Millisecond

// switcher makes the running system the one of its toplevel.
type switcher struct {
	system  system
	action  string
	systemd systemd
	bus     *bus
	stderr  io.Writer
	lists   lists
}

func (s *switcher) run(ctx context.Context) error {
	if !isNixOS() {
		return &exitError{exitFailed, "This is not a NixOS installation!"}
	}
	if err := os.MkdirAll(runDirectory, 0o755); err != nil {
		return fmt.Errorf("create %s: %v", runDirectory, err)
	}
	s.lists = lists{directory: runDirectory}
	if s.system.exit == exitLockBusy {
		return &exitError{exitLockBusy, "Could not acquire lock"}
	}
	held, err := lock(runDirectory + "/switch-to-configuration.lock")
	if err != nil {
		return err
	}
	defer held.Close()

	if err := s.preSwitchCheck(); err != nil || s.action == "check" {
		return err
	}
	if s.action == "switch" || s.action == "boot" {
		if err := s.installBootLoader(); err != nil {
			return &exitError{exitFailed, fmt.Sprintf("Failed to install bootloader: %v", err)}
		}
	}
	if err := syncStore(); err != nil {
		return err
	}
	if s.action == "boot" {
		return nil
	}
	if !sameFile(runningSystem+"/init-interface-version", s.system.path("init-interface-version")) {
		return &exitError{exitInitInterface, "Warning: the new NixOS configuration has an 'init' that is incompatible with the current " +
			"one. It takes effect with a reboot."}
	}
	return s.activate(ctx)
}

// isNixOS also lets an installation pass: a root directory in which nothing has been activated yet.
func isNixOS() bool {
	if exists("/etc/NIXOS") || !exists(runningSystem) {
		return true
	}
	data, err := os.ReadFile("/etc/os-release")
	return err == nil && strings.Contains("\n"+string(data), "\nID=nixos\n")
}

// syncStore writes the store out, in case what follows takes the machine down.
func syncStore() error {
	if os.Getenv("NIXOS_NO_SYNC") == "1" {
		return nil
	}
	store, err := os.Open(storeDirectory)
	if err != nil {
		return fmt.Errorf("open store: %v", err)
	}
	defer store.Close()
	if err := unix.Syncfs(int(store.Fd())); err != nil {
		return fmt.Errorf("sync store: %v", err)
	}
	return nil
}

// activate is everything after the checks: compare, stop, activate, reload, restart, start, judge.
func (s *switcher) activate(ctx context.Context) error {
	bus, err := openBus(systemBus)
	if err != nil {
		return err
	}
	defer bus.Close()
	s.bus = bus
	if err := s.systemd.waitForBoot(ctx); err != nil {
		return err
	}
	before, err := s.systemd.active(ctx)
	if err != nil {
		return err
	}
	resumed, err := s.lists.resume()
	if err != nil {
		return err
	}
	planner := planner{current: unitDirectory, next: s.system.unitDirectory(), active: before, plan: resumed}
	if err := planner.compareUnits(); err != nil {
		return err
	}
	plan := planner.plan
	reexecute := !sameFile("/etc/systemd/system.conf", s.system.path("etc/systemd/system.conf"))
	if s.action == "dry-activate" {
		s.preview(plan, reexecute)
		return nil
	}
	if err := s.lists.record(plan); err != nil {
		return err
	}

	logLine(syslog.LOG_INFO, "switching to system configuration "+s.system.toplevel)
	code, err := s.change(ctx, plan, before, reexecute)
	if err != nil {
		return err
	}
	if code != 0 {
		logLine(syslog.LOG_ERR, fmt.Sprintf("switching to system configuration %s failed (status %d)", s.system.toplevel, code))
		return &exitError{code: code}
	}
	logLine(syslog.LOG_INFO, "finished switching to system configuration "+s.system.toplevel)
	return nil
}

func (s *switcher) preview(plan plan, reexecute bool) {
	s.announce("would stop the following units", plan.stop.without(plan.hidden))
	s.announce("would NOT stop the following changed units", plan.skip.sorted())
	say(s.stderr, "would activate the configuration...")
	if reexecute {
		say(s.stderr, "would restart systemd")
	}
	s.announce("would reload the following units", plan.reload.sorted())
	s.announce("would restart the following units", plan.restart.sorted())
	s.announce("would start the following units", plan.start.without(plan.hidden))
}

func (s *switcher) announce(what string, units []string) {
	if len(units) > 0 {
		say(s.stderr, "%s: %s", what, strings.Join(units, ", "))
	}
}

// change runs the steps that touch the system and returns the exit code they add up to.
func (s *switcher) change(ctx context.Context, plan plan, before map[string]unitState, reexecute bool) (int, error) {
	if units := plan.stop.sorted(); len(units) > 0 {
		s.announce("stopping the following units", plan.stop.without(plan.hidden))
		// A unit that cannot be stopped shows itself when it is started again.
		if _, err := s.systemd.do(ctx, s.stderr, "stop", units); err != nil {
			return 0, err
		}
	}
	s.announce("NOT restarting the following changed units", plan.skip.sorted())
	if s.system.exit == exitPanic {
		return 0, &exitError{exitPanic, "thread 'main' panicked: failed printing to stderr: Broken pipe (os error 32)"}
	}

	say(s.stderr, "activating the configuration...")
	activated, err := s.runActivation(ctx)
	if err != nil {
		return 0, err
	}
	if s.system.late {
		return 0, errors.New("lab: an internal error after the activation")
	}
	if err := s.mergeActivationLists(&plan); err != nil {
		return 0, err
	}
	s.pass("reload")
	if err := s.refreshManager(ctx, reexecute); err != nil {
		return 0, err
	}
	unitsCame, err := s.bringUp(ctx, plan)
	if err != nil {
		return 0, err
	}

	time.Sleep(settle)
	s.pass("settle")
	if err := s.bus.alive(); err != nil {
		return 0, err
	}
	failed, err := s.judge(ctx, before, plan)
	if err != nil {
		return 0, err
	}
	return exitCode(activated, unitsCame, failed), nil
}

// exitCode: failed units overwrite a failed activation.
func exitCode(activated, unitsCame bool, failed []string) int {
	switch {
	case !unitsCame || len(failed) > 0:
		return exitUnitsFailed
	case !activated:
		return exitActivationFailed
	}
	return 0
}

func (s *switcher) runActivation(ctx context.Context) (bool, error) {
	command := exec.CommandContext(ctx, s.system.path("activate"), s.system.toplevel)
	command.Stdout, command.Stderr = os.Stdout, s.stderr
	succeeded, err := exitedZero(command.Run())
	if err == nil && !succeeded {
		say(s.stderr, "Failed to run activate script")
	}
	return succeeded, err
}

// mergeActivationLists takes in what the activation scripts asked for.
func (s *switcher) mergeActivationLists(plan *plan) error {
	for path, set := range map[string]names{s.lists.activationRestart(): plan.restart, s.lists.activationReload(): plan.reload} {
		units, err := readList(path)
		if err != nil {
			return err
		}
		for _, unit := range units {
			set[unit] = true
		}
		if err := remove(path); err != nil {
			return err
		}
	}
	return s.lists.record(*plan)
}

// refreshManager makes systemd forget earlier failures and read the new units.
func (s *switcher) refreshManager(ctx context.Context, reexecute bool) error {
	if reexecute {
		say(s.stderr, "restarting systemd...")
		if err := s.systemd.call(ctx, "daemon-reexec"); err != nil {
			return err
		}
	}
	if err := s.systemd.call(ctx, "reset-failed"); err != nil {
		return err
	}
	return s.systemd.call(ctx, "daemon-reload")
}

// bringUp reloads, restarts and starts, and strikes each list once its jobs are done.
func (s *switcher) bringUp(ctx context.Context, plan plan) (bool, error) {
	steps := []struct {
		verb, announcement, list string
		units                    names
	}{
		{"reload", "reloading the following units", s.lists.reload(), plan.reload},
		{"restart", "restarting the following units", s.lists.restart(), plan.restart},
		{"start", "starting the following units", s.lists.start(), plan.start},
	}
	all := true
	for _, step := range steps {
		if units := step.units.sorted(); len(units) > 0 {
			s.announce(step.announcement, step.units.without(plan.hidden))
			came, err := s.systemd.do(ctx, s.stderr, step.verb, units)
			if err != nil {
				return false, err
			}
			all = all && came
			if err := s.bus.alive(); err != nil {
				return false, err
			}
		}
		if err := remove(step.list); err != nil {
			return false, err
		}
	}
	return all, nil
}

// judge names the units that are new and those that have failed.
func (s *switcher) judge(ctx context.Context, before map[string]unitState, plan plan) ([]string, error) {
	after, err := s.systemd.active(ctx)
	if err != nil {
		return nil, err
	}
	failed, fresh := names{}, names{}
	for unit, state := range after {
		switch {
		case state.active == "failed":
			failed[unit] = true
		case state.sub == "auto-restart" && strings.HasSuffix(unit, ".service"):
			status, err := s.systemd.exitStatus(ctx, unit)
			if err != nil {
				return nil, err
			}
			if status != "0" {
				failed[unit] = true
			}
		case before[unit] == (unitState{}) && !plan.hidden[unit] && (state.active == "active" || state.active == "activating"):
			fresh[unit] = true
		}
	}
	s.announce("the following new units were started", fresh.sorted())
	s.announce("warning: the following units failed", failed.sorted())
	for _, unit := range failed.sorted() {
		if _, err := s.systemd.do(ctx, s.stderr, "status", []string{unit}); err != nil {
			return nil, err
		}
	}
	return failed.sorted(), nil
}

// logLine leaves a line in the journal; where no journal answers nothing is lost but the line.
func logLine(priority syslog.Priority, line string) {
	writer, err := syslog.New(priority|syslog.LOG_USER, "nixos")
	if err != nil {
		return
	}
	defer writer.Close()
	_, _ = writer.Write([]byte(line))
}
