package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// lock takes the lock that all switches share. It is never waited for, and lives as long as the process.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %v", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, &exitError{exitLockBusy, "Could not acquire lock"}
	}
	return file, nil
}

// inhibitors returns one line for each key of both switch-inhibitors files whose values differ. A missing file inhibits nothing:
// systems from before the feature have none.
func inhibitors(running, next string) ([]string, error) {
	before, err := readInhibitors(running)
	if err != nil {
		return nil, err
	}
	after, err := readInhibitors(next)
	if err != nil {
		return nil, err
	}
	var lines []string
	for key, value := range after {
		if old, ok := before[key]; ok && old != value {
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", key, old, value))
		}
	}
	sort.Strings(lines)
	return lines, nil
}

func readInhibitors(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read switch inhibitors: %v", err)
	}
	var values map[string]string
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("parse switch inhibitors %s: %v", path, err)
	}
	return values, nil
}

// preSwitchCheck fails where the new system must not be activated. A boot passes: they only speak of the running system.
func (s *switcher) preSwitchCheck() error {
	if os.Getenv("NIXOS_NO_CHECK") == "1" {
		return nil
	}
	if s.system.exit == exitFailed {
		return &exitError{exitFailed, "Pre-switch check 'lab' failed\nPre-switch checks failed"}
	}
	if s.action == "boot" || s.action == "dry-activate" {
		return nil
	}
	if s.system.check != "" {
		return &exitError{exitFailed, s.system.check + "\nPre-switch check 'lab' failed\nPre-switch checks failed"}
	}
	lines, err := inhibitors(runningSystem+"/switch-inhibitors", s.system.path("switch-inhibitors"))
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	return &exitError{exitFailed, "Components that cannot be exchanged while the system runs have changed:\n  " +
		strings.Join(lines, "\n  ") +
		"\nUse `boot` and reboot, or set NIXOS_NO_CHECK=1.\nPre-switch check 'switchInhibitors' failed\nPre-switch checks failed"}
}
