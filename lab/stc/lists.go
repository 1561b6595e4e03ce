package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lists are the files in which a switch notes what it is about to do, so that the next one ends what a killed one began.
type lists struct {
	directory string
}

func (l lists) start() string   { return filepath.Join(l.directory, "start-list") }
func (l lists) restart() string { return filepath.Join(l.directory, "restart-list") }
func (l lists) reload() string  { return filepath.Join(l.directory, "reload-list") }

// activationRestart and activationReload are written by activation scripts.
func (l lists) activationRestart() string {
	return filepath.Join(l.directory, "activation-restart-list")
}
func (l lists) activationReload() string {
	return filepath.Join(l.directory, "activation-reload-list")
}

// resume returns a plan that holds what an earlier run did not come to do.
func (l lists) resume() (plan, error) {
	p := newPlan()
	for path, set := range map[string]names{l.start(): p.start, l.restart(): p.restart, l.reload(): p.reload} {
		units, err := readList(path)
		if err != nil {
			return p, err
		}
		for _, unit := range units {
			set[unit] = true
		}
	}
	return p, nil
}

// record notes the plan before the first unit is touched.
func (l lists) record(p plan) error {
	for path, set := range map[string]names{l.start(): p.start, l.restart(): p.restart, l.reload(): p.reload} {
		if err := writeList(path, set); err != nil {
			return err
		}
	}
	return nil
}

func readList(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read unit list: %v", err)
	}
	return strings.Fields(string(data)), nil
}

func writeList(path string, units names) error {
	if len(units) == 0 {
		return remove(path)
	}
	if err := os.WriteFile(path, []byte(strings.Join(units.sorted(), "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("write unit list: %v", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove unit list: %v", err)
	}
	return nil
}
