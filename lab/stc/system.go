package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Places of a NixOS host.
const (
	runDirectory   = "/run/nixos"
	runningSystem  = "/run/current-system"
	unitDirectory  = "/etc/systemd/system"
	profiles       = "/nix/var/nix/profiles"
	bootDirectory  = "/boot"
	storeDirectory = "/nix/store"
)

// system is the toplevel this program belongs to, as its bin/switch-to-configuration bakes it into the environment.
type system struct {
	toplevel string
	loader   string // grub | systemd-boot
	limit    int    // generations the boot loader lists
	exit     int    // the fault to play; 0 is none
	bootFull bool
	check    string // what a failing pre-switch check says
	old      bool   // from before the action check
	late     bool   // an internal error after the activation
}

func systemFromEnvironment() (system, error) {
	s := system{
		toplevel: os.Getenv("TOPLEVEL"),
		loader:   os.Getenv("LOADER"),
		bootFull: os.Getenv("LAB_BOOT_FULL") == "1",
		check:    os.Getenv("LAB_CHECK"),
		old:      os.Getenv("LAB_OLD") == "1",
		late:     os.Getenv("LAB_LATE_ERROR") == "1",
	}
	if s.toplevel == "" {
		return s, &exitError{exitFailed, "TOPLEVEL is not set: call bin/switch-to-configuration of a system"}
	}
	limit, err := strconv.Atoi(os.Getenv("CONFIGURATION_LIMIT"))
	if err != nil || limit < 1 {
		return s, fmt.Errorf("parse CONFIGURATION_LIMIT %q", os.Getenv("CONFIGURATION_LIMIT"))
	}
	s.limit = limit
	if text := os.Getenv("LAB_EXIT"); text != "" {
		if s.exit, err = strconv.Atoi(text); err != nil {
			return s, fmt.Errorf("parse LAB_EXIT: %v", err)
		}
	}
	return s, nil
}

func (s system) path(name string) string { return filepath.Join(s.toplevel, name) }

func (s system) unitDirectory() string { return s.path("etc/systemd/system") }

// sameFile reports whether both files can be read and hold the same bytes. Two missing files are the same.
func sameFile(a, b string) bool {
	left, leftErr := os.ReadFile(a)
	right, rightErr := os.ReadFile(b)
	if leftErr != nil || rightErr != nil {
		return os.IsNotExist(leftErr) && os.IsNotExist(rightErr)
	}
	return string(left) == string(right)
}
