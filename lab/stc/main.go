// Command stc is the switch-to-configuration of the lab's hosts: the order of its steps, its exit codes, its lock and its lists
// are those of NixOS, so that what a deployment tool meets here is what it meets there. The invariant it keeps: nothing of the
// running system is touched before the lock is held and the checks have passed.
//
// It leaves out what no lab host has: fstab and swap comparison, user managers, and units made by generators.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes of switch-to-configuration beside those of the operating system's errors.
const (
	exitFailed           = 1   // usage, a check, the boot loader, or an internal error
	exitActivationFailed = 2   // `activate` failed; the units were still processed
	exitUnitsFailed      = 4   // some unit could not be started, or is failed after the settle time
	exitLockBusy         = 11  // EAGAIN
	exitInitInterface    = 100 // the running init cannot take the new system's units over
	exitPanic            = 101 // standard output or error is gone
)

// exitError ends the program with a code of its own.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

func main() {
	// Registered, so that a write to a closed pipe is an error here and not the end of the process by signal.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	err := run(context.Background(), os.Args[1:], os.Stderr)
	var exit *exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		if exit.message != "" {
			say(os.Stderr, "%s", exit.message)
		}
		os.Exit(exit.code)
	default:
		say(os.Stderr, "Error: %v", err)
		os.Exit(exitFailed)
	}
}

// say writes one line for the user. A stream that is gone ends the program at once, as the real one's panic does.
func say(w io.Writer, format string, arguments ...any) {
	if _, err := fmt.Fprintf(w, format+"\n", arguments...); err != nil {
		os.Exit(exitPanic)
	}
}

func run(ctx context.Context, arguments []string, stderr io.Writer) error {
	if len(arguments) != 1 || !validAction(arguments[0]) {
		return &exitError{exitFailed, usage}
	}
	system, err := systemFromEnvironment()
	if err != nil {
		return err
	}
	if system.old && arguments[0] == "check" {
		return &exitError{exitFailed, oldUsage}
	}
	if os.Geteuid() != 0 {
		return &exitError{exitFailed, "switch-to-configuration must be run as root"}
	}
	if err := os.Setenv("NIXOS_ACTION", arguments[0]); err != nil {
		return fmt.Errorf("set NIXOS_ACTION: %v", err)
	}
	s := switcher{system: system, action: arguments[0], stderr: stderr, systemd: systemd{program: system.path("sw/bin/systemctl")}}
	return s.run(ctx)
}

const usage = `Usage: switch-to-configuration check|switch|boot|test|dry-activate

check:        run the pre-switch checks and exit
switch:       make the configuration the boot default and activate it now
boot:         make the configuration the boot default
test:         activate the configuration, but do not make it the boot default
dry-activate: show what would be done if this configuration were activated`

// oldUsage is what a switch-to-configuration says that does not know the action check.
const oldUsage = `Usage: switch-to-configuration [switch|boot|test|dry-activate]

switch:       make the configuration the boot default and activate it now
boot:         make the configuration the boot default
test:         activate the configuration, but do not make it the boot default
dry-activate: show what would be done if this configuration were activated`

func validAction(action string) bool {
	switch action {
	case "check", "switch", "boot", "test", "dry-activate":
		return true
	}
	return false
}
