//go:build lab

package matrix

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// stage is the part of a deployment that a step belongs to.
type stage int

const (
	beforeLock stage = iota // nothing of the transaction is on the host
	preparing               // it is recorded, and nothing was changed
	trying
	waiting
	committing
	cleaning
	goingBack
)

// step is an instant of a deployment at which it can be held. A deployment that
// is to be held there is made of system, with what arrange does to the host and
// to deploy.toml before it begins.
type step struct {
	name  string
	stage stage
	// system is the flavour that leads here.
	system  flavour
	arrange func(context.Context, *cell) error
	// reached returns once the deployment stands at the step.
	reached func(context.Context, *cell) error
	// release lets it go on. On a host that is off there is nothing to do.
	release func(context.Context, *cell) error
}

// flavour names a system of the flake, see flavours.
type flavour string

// Systems that are deployed. Each exists once for each boot loader.
const (
	good       flavour = "good"
	large      flavour = "large"      // takes seconds to copy over a slow line
	failing    flavour = "failing"    // its activation fails at the end of the trial
	unbootable flavour = "unbootable" // its boot loader cannot be installed
	mountless  flavour = "mountless"  // has a file system that cannot be mounted
	busless    flavour = "busless"    // its D-Bus does not come back
	after      flavour = "after"      // is deployed at the end of every cell
)

const gates = "/run/lab/gates/"

// heldBy holds at a gate, see lab/stc/gate.go, the given system.
func heldBy(gate string, system func(*cell) string) step {
	return step{
		arrange: func(ctx context.Context, c *cell) error { return c.hold(ctx, gate, system(c)) },
		reached: func(ctx context.Context, c *cell) error { return c.awaitFile(ctx, gates+gate+".reached") },
		release: func(ctx context.Context, c *cell) error { return c.remove(ctx, gates+gate) },
	}
}

func oldSystem(c *cell) string { return c.old }
func newSystem(c *cell) string { return c.want }
func anySystem(*cell) string   { return "any" }

// unitHeld holds the start or the stop of a unit that every switch restarts,
// while the given system is the current one.
func unitHeld(gate string, system func(*cell) string) step {
	s := heldBy(gate, system)
	hold := s.arrange
	s.arrange = func(ctx context.Context, c *cell) error {
		dropIn := "[Service]\nExecStartPre=/bin/sh /run/lab/gate unit-start\nExecStop=/bin/sh /run/lab/gate unit-stop\n"
		if err := c.write(ctx, "/run/systemd/system/lab-marker.service.d/gate.conf", dropIn, 0o644); err != nil {
			return err
		}
		if _, err := c.on(ctx, "systemctl daemon-reload"); err != nil {
			return err
		}
		return hold(ctx, c)
	}
	return s
}

// programHeld holds every call of a program whose arguments match a pattern of
// the shell.
func programHeld(gate, program, pattern string) step {
	s := heldBy(gate, anySystem)
	hold := s.arrange
	s.arrange = func(ctx context.Context, c *cell) error {
		name := program[strings.LastIndex(program, "/")+1:]
		wrapper := fmt.Sprintf("#!/bin/bash\ncase \"$*\" in %s) /bin/sh /run/lab/gate %s ;; esac\nexec -a %s %s.real \"$@\"\n",
			pattern, gate, name, program)
		if _, err := c.on(ctx, fmt.Sprintf("mv %[1]s %[1]s.real", program)); err != nil {
			return err
		}
		if err := c.write(ctx, program, wrapper, 0o755); err != nil {
			return err
		}
		return hold(ctx, c)
	}
	return s
}

// profileHeld holds before the profile moves. The agent moves it by itself unless
// somebody has the profile's lock, and nix-env does it then.
func profileHeld() step {
	s := programHeld("nix-env", "/usr/bin/nix-env", "*--set*")
	hold, held := s.arrange, s.reached
	s.arrange = func(ctx context.Context, c *cell) error {
		if _, err := c.on(ctx, "systemd-run --quiet --collect --unit=lab-profile-lock flock /nix/var/nix/profiles/system.lock sleep 600"); err != nil {
			return err
		}
		return hold(ctx, c)
	}
	s.reached = func(ctx context.Context, c *cell) error {
		if err := held(ctx, c); err != nil {
			return err
		}
		_, err := c.on(ctx, "systemctl stop lab-profile-lock.service")
		return err
	}
	return s
}

// connecting holds the deployer's first connection before the server's greeting.
var connecting = step{
	arrange: func(ctx context.Context, c *cell) error {
		_, err := c.on(ctx, "systemctl kill --kill-whom=main --signal=STOP sshd.service")
		return err
	},
	reached: func(ctx context.Context, c *cell) error {
		return c.await(ctx, "a connection to sshd", func() bool { return c.connected() })
	},
	release: func(ctx context.Context, c *cell) error {
		return c.tolerant(ctx, "systemctl kill --kill-whom=main --signal=CONT sshd.service || true")
	},
}

// slowLine makes the copy of the large system take some seconds.
const slowLine = "32mbit"

var copying = step{
	arrange: func(ctx context.Context, c *cell) error { return c.host.LimitBandwidth(ctx, slowLine) },
	reached: func(ctx context.Context, c *cell) error {
		return c.first.Await(ctx, "some paths copied", func(e event.Event) bool {
			return e.Phase == event.Copy && e.Progress != nil && e.Progress.Paths >= 4
		})
	},
	release: func(ctx context.Context, c *cell) error { return c.host.LimitBandwidth(ctx, "") },
}

// probing holds the host's own probes.
var probing = step{
	arrange: func(ctx context.Context, c *cell) error {
		c.toml = fmt.Sprintf(`
[probes.held]
kind = "command"
argv = ["sh", "-c", "if test -e %[1]s; then touch %[1]s.reached; exit 1; fi"]
interval = "200ms"
deadline = %[2]q
`, gates+"probe", probeDeadline)
		return c.hold(ctx, "probe", "any")
	},
	reached: func(ctx context.Context, c *cell) error { return c.awaitFile(ctx, gates+"probe.reached") },
	release: func(ctx context.Context, c *cell) error { return c.remove(ctx, gates+"probe") },
}

// unconfirmed holds the deployer, whose own probe waits for a file.
var unconfirmed = step{
	arrange: func(_ context.Context, c *cell) error {
		c.toml = fmt.Sprintf(`
[probes.held]
kind = "command"
from = "deployer"
argv = ["test", "-e", %q]
interval = "200ms"
deadline = %q
`, c.dir+"/release", probeDeadline)
		return nil
	},
	reached: func(ctx context.Context, c *cell) error {
		return c.await(ctx, "a transaction that is waiting and judged", func() bool {
			r := c.record()
			return r != nil && r.State == "waiting" && r.Judged
		})
	},
	release: func(ctx context.Context, c *cell) error {
		return workstation.WriteFile(ctx, c.dir+"/release", nil, 0o600)
	},
}

// probeDeadline is added to the time that the host waits for its confirmation.
const probeDeadline = 6 * time.Second

// named completes a step.
func named(name string, of stage, system flavour, s step) step {
	s.name, s.stage, s.system = name, of, system
	return s
}

// steps are in the order in which a deployment passes through them.
var steps = []step{
	named("connect", beforeLock, good, connecting),
	named("upload", beforeLock, good, programHeld("upload", "/usr/bin/sync", "*/.upload-*")),
	named("copy", beforeLock, large, copying),
	// Recorded, nothing armed; then armed, and nobody drives it.
	named("prepare-arm", preparing, good, programHeld("arm", "/usr/bin/systemd-run", "*--unit=hdeploy-*-deadman.service*")),
	named("prepare-supervise", preparing, good, programHeld("supervise", "/usr/bin/systemd-run", "*--unit=hdeploy-*-supervisor.service*")),
	named("trial-stop", trying, good, unitHeld("unit-stop", oldSystem)),
	named("trial-activate", trying, good, heldBy("activate", newSystem)),
	named("trial-reload", trying, good, heldBy("reload", newSystem)),
	named("trial-start", trying, good, unitHeld("unit-start", newSystem)),
	named("trial-settle", trying, good, heldBy("settle", newSystem)),
	named("probes", waiting, good, probing),
	named("waiting", waiting, good, unconfirmed),
	// The profile has not moved; it has; the loader has all but the default; it has that too.
	named("commit-profile", committing, good, profileHeld()),
	named("commit-loader", committing, good, heldBy("boot-begin", newSystem)),
	named("commit-default", committing, good, heldBy("boot-default", newSystem)),
	named("commit-end", committing, good, heldBy("boot-end", newSystem)),
	named("cleanup", cleaning, good, programHeld("disarm", "/usr/bin/systemctl", "stop*hdeploy-*-deadman.timer*")),
	named("rollback-stop", goingBack, failing, unitHeld("unit-stop", newSystem)),
	named("rollback-activate", goingBack, failing, heldBy("activate", oldSystem)),
	named("rollback-start", goingBack, failing, unitHeld("unit-start", oldSystem)),
	named("rollback-undo", goingBack, unbootable, heldBy("boot-begin", oldSystem)),
}
