//go:build lab

package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// fault is what goes wrong at a step.
type fault struct {
	name string
	// steps are the names of those at which it is tried, all where there are none;
	// elsewhere says why it makes no cell at the others.
	steps     []string
	elsewhere string
	// disks are file systems of the host's own that the fault needs.
	disks map[string]string
	// system replaces the flavour of steps that are deployed with the good one.
	system flavour
	// slow says that the deployer asks for minutes what became of its host.
	slow bool
	// collectable says that the new system must have no root on the deployer.
	collectable bool
	// inject is called while the deployment stands at the step; then, once the step
	// was released, meanwhile; and undo when deployer and host have come to their end.
	inject, meanwhile, undo func(context.Context, *cell) error
	// codes are the exit codes that the deployer may end with beside 0, 7, and at
	// steps before the lock 4, 5 and 6.
	codes []int
	// allows is how far the host may be from the plain ends.
	allows allowance
}

// allowance is what a fault may legitimately lead to.
type allowance struct {
	// third: somebody else's system may run, boot or be the profile.
	third bool
	// wayBackGone: the transaction may end as rollback-failed, and the running
	// system need not be whole until the next boot.
	wayBackGone bool
	// quiet: the journal may lack the final state.
	quiet bool
	// failed is a unit that may have failed, since the fault made it fail.
	failed string
}

func (f fault) at(s step) bool { return len(f.steps) == 0 || slices.Contains(f.steps, s.name) }

// script injects by a shell script on the host.
func script(text string) func(context.Context, *cell) error {
	return func(ctx context.Context, c *cell) error {
		out, err := c.on(ctx, text)
		if err != nil {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	}
}

// undoScript is script for a host that may be off, or have booted since.
func undoScript(text string) func(context.Context, *cell) error {
	return func(ctx context.Context, c *cell) error { return c.tolerant(ctx, text) }
}

// kill is SIGKILL to the processes whose command line matches.
func kill(pattern string) func(context.Context, *cell) error {
	return script(fmt.Sprintf("pids=$(pgrep -f %s) || { echo nothing to kill; exit 1; }; kill -KILL $pids", pattern))
}

func killDeployer(_ context.Context, c *cell) error { return c.first.Kill() }

func powerCut(ctx context.Context, c *cell) error {
	c.rebooted = true
	return c.host.PowerCut(ctx)
}

func bootAgain(ctx context.Context, c *cell) error { return c.boot(ctx) }

func reboot(ctx context.Context, c *cell) error {
	c.rebooted = true
	before := c.host.LeaderPID()
	// The shutdown must not wait for what the step holds.
	if err := c.step.release(ctx, c); err != nil {
		return err
	}
	if _, err := c.on(ctx, "systemctl reboot"); err != nil {
		return err
	}
	if err := c.host.WaitReboot(ctx, before); err != nil {
		return err
	}
	return c.awaitSettled(ctx)
}

func cutNetwork(ctx context.Context, c *cell) error     { return c.host.CutNetwork(ctx) }
func restoreNetwork(ctx context.Context, c *cell) error { return c.host.RestoreNetwork(ctx) }

func restoreAfterFiveSeconds(ctx context.Context, c *cell) error {
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	return restoreNetwork(ctx, c)
}

// restoreAfterTheDeadline waits until the host has decided by itself.
func restoreAfterTheDeadline(ctx context.Context, c *cell) error {
	return errors.Join(c.hostEnds(ctx), restoreNetwork(ctx, c))
}

// fill takes all space of a file system.
func fill(dir string) func(context.Context, *cell) error {
	return script(fmt.Sprintf("dd if=/dev/zero of=%[1]s/ballast bs=64k 2>/dev/null; dd if=/dev/zero of=%[1]s/ballast2 bs=1k 2>/dev/null; sync %[1]s/ballast; test $(stat -f -c %%a %[1]s) = 0", dir))
}

func unfill(dir string) func(context.Context, *cell) error {
	return undoScript(fmt.Sprintf("rm -f %[1]s/ballast %[1]s/ballast2", dir))
}

// failMount makes a file system that is required at boot fail once, as a switch to
// a system with a wrong device does: the manager isolates emergency.target.
const failMount = `
cd /run/systemd/system
printf '[Unit]\nDescription=Has no device\nBefore=local-fs.target\n[Mount]\nWhat=/dev/labmissing\nWhere=/mnt/lab\nType=ext4\n' >mnt-lab.mount
printf '[Unit]\nJobRunningTimeoutSec=1s\n' >dev-labmissing.device
mkdir -p local-fs.target.requires && ln -sf ../mnt-lab.mount local-fs.target.requires/
systemctl daemon-reload
systemctl start --no-block local-fs.target mnt-lab.mount
systemctl stop --no-block local-fs.target; systemctl start --no-block local-fs.target
timeout 10 sh -c 'until [ "$(systemctl is-active emergency.target)" = active ]; do sleep 0.1; done'
rm -rf mnt-lab.mount dev-labmissing.device local-fs.target.requires
systemctl daemon-reload
`

// mendMount is what a person does in emergency mode once the file system is there.
const mendMount = `
systemctl reset-failed; systemctl start default.target sshd.service || true
timeout 20 systemctl is-system-running --wait || true
`

const killBus = `
mkdir -p /run/systemd/system/dbus.service.d
printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/run/systemd/system/dbus.service.d/dead.conf
systemctl daemon-reload
systemctl kill --signal=KILL dbus.service
`

const mendBus = `
rm -rf /run/systemd/system/dbus.service.d
systemctl daemon-reload; systemctl reset-failed; systemctl start dbus.socket dbus.service
`

const reloadOften = `
printf '[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n[Service]\nExecStart=/bin/sh -c "while sleep 3; do systemctl daemon-reload; done"\n' >/run/systemd/system/lab-reloader.service
systemctl daemon-reload; systemctl start lab-reloader.service; sleep 3.5
`

const stopReloading = `systemctl stop lab-reloader.service; rm -f /run/systemd/system/lab-reloader.service; systemctl daemon-reload`

// switchByHand is what `nixos-rebuild switch` does at its end. It may be refused
// because of the switch that runs, as nixos-rebuild would be.
func switchByHand(ctx context.Context, c *cell) error {
	c.third = c.other
	return script(fmt.Sprintf("bash -c '(exec -a nix-env nix --profile /nix/var/nix/profiles/system --set %[1]s)' && { timeout 20 %[1]s/bin/switch-to-configuration switch || true; }", c.other))(ctx, c)
}

// upgradeByItself is system.autoUpgrade with operation = "boot".
func upgradeByItself(ctx context.Context, c *cell) error {
	c.third = c.other
	return script(fmt.Sprintf(`systemd-run --quiet --wait --collect --unit=nixos-upgrade bash -c '(exec -a nix-env nix --profile /nix/var/nix/profiles/system --set %[1]s) && %[1]s/bin/switch-to-configuration boot' || true`, c.other))(ctx, c)
}

// deployTwice starts another deployer. Once the host is locked it must be
// refused while the first one's deployment stands at its step.
func deployTwice(ctx context.Context, c *cell) (err error) {
	c.third = systems[c.loader()][after]
	// It may live on when the first one goes on.
	if c.second, err = c.deploy(context.WithoutCancel(ctx), "second", after); err != nil || c.step.stage == beforeLock {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.second.Wait(limit); err != nil {
		return err
	}
	if c.second.Code() != 5 && c.step.stage != cleaning {
		return fmt.Errorf("the second deployer was not refused: %s", c.second.Story())
	}
	return nil
}

func stopUnits(units string) func(context.Context, *cell) error {
	return script("timeout 20 systemctl stop " + units + " || true")
}

// collectHere collects garbage on the deployer while the deployment stands.
func collectHere(ctx context.Context, c *cell) error {
	result, err := workstation.Exec(ctx, "nix-collect-garbage", "-d")
	if err == nil && result.Code != 0 {
		err = errors.New(strings.TrimSpace(result.Stderr))
	}
	return err
}

// fullNix leaves room for what the cells copy.
var (
	ownNix  = map[string]string{"/nix": "160M"}
	ownVar  = map[string]string{"/var": "96M"}
	ownBoot = map[string]string{"/boot": "4M"}
)

// Why a fault is not tried at every step: it cannot act there, or what it would
// meet there is what it meets at a step that is tried.
const (
	noSupervisor = "no supervisor runs, or it waits for a switch as at a step that is tried"
	noSwitch     = "no switch-to-configuration runs, or its part of the work is done as at a step that is tried"
	noChannel    = "no agent runs on its channel, or it watches a switch as at a step that is tried"
	noDaemon     = "nothing speaks to the daemon before the next step that is tried"
	noWrite      = "nothing is written there before the next step that is tried"
	noDeadline   = "there is no deadline before the lock; all parts of a switch are alike for a deployer that is not heard"
	noUnits      = "hdeploy has no units on the host, or its units are those of a step that is tried"
	noWayBack    = "before the trial hdeploy has nothing to bring back; all parts of a commit are alike, since it asks no unit"
	notYet       = "nothing has begun on the host that this could disturb, or it stands in a switch as at a step that is tried"
	alike        = "seen from outside all parts of a switch are alike, and one of them is tried"
	ofTheSystem  = "the fault is the new system's: it shows at the end of its trial"
)

var everyStep []string

// atRest are the steps between which a deployment is the same for everybody but
// the switch that runs.
var atRest = []string{"connect", "upload", "copy", "prepare-supervise", "trial-activate", "probes", "waiting",
	"commit-profile", "commit-loader", "cleanup", "rollback-activate", "rollback-undo"}

// faults are tried at their steps; elsewhere says why not at the others.
var faults = []fault{
	{name: "kill-deployer", elsewhere: alike + "; at the clean-up it has had its answer",
		steps:  []string{"connect", "upload", "copy", "prepare-arm", "prepare-supervise", "trial-activate", "probes", "waiting", "commit-profile", "commit-loader", "rollback-activate", "rollback-undo"},
		inject: killDeployer},
	{name: "kill-supervisor", elsewhere: noSupervisor,
		steps:  []string{"trial-stop", "trial-activate", "trial-start", "probes", "waiting", "commit-profile", "commit-loader", "commit-default", "cleanup", "rollback-stop", "rollback-activate", "rollback-undo"},
		inject: script("systemctl kill --kill-whom=main --signal=KILL 'hdeploy-*-supervisor.service'"), allows: allowance{quiet: true}},
	{name: "kill-switch", elsewhere: noSwitch,
		steps:  []string{"trial-stop", "trial-activate", "trial-reload", "trial-start", "trial-settle", "commit-loader", "commit-default", "commit-end", "rollback-stop", "rollback-activate", "rollback-start", "rollback-undo"},
		inject: kill("'/stc (test|boot)$'")},
	{name: "kill-agent", elsewhere: noChannel,
		steps:  []string{"copy", "prepare-arm", "prepare-supervise", "trial-activate", "probes", "waiting", "commit-profile", "commit-loader", "rollback-activate"},
		inject: kill("'hdeploy-agent-[0-9a-f]+ serve$'")},
	{name: "kill-nix-daemon", elsewhere: noDaemon,
		steps:  []string{"copy", "prepare-arm", "waiting", "commit-profile", "rollback-undo"},
		inject: script("systemctl kill --kill-whom=all --signal=KILL nix-daemon.service || true"), allows: allowance{failed: "nix-daemon.service"}},
	{name: "kill-sshd", elsewhere: alike, steps: atRest, inject: kill("'^sshd'")},
	{name: "power-cut", steps: everyStep, inject: powerCut, meanwhile: bootAgain, allows: allowance{quiet: true}, codes: []int{8}},
	{name: "reboot", elsewhere: alike, steps: atRest, inject: reboot, allows: allowance{quiet: true}, codes: []int{8}},
	{name: "network-5s", elsewhere: alike, steps: atRest, inject: cutNetwork, meanwhile: restoreAfterFiveSeconds, undo: restoreNetwork},
	{name: "network-deadline", elsewhere: noDeadline,
		steps:  []string{"prepare-arm", "prepare-supervise", "trial-activate", "probes", "waiting", "commit-profile", "commit-loader", "cleanup", "rollback-activate"},
		inject: cutNetwork, meanwhile: restoreAfterTheDeadline, undo: restoreNetwork},
	{name: "network-forever", slow: true, elsewhere: "for the host it is the cut that outlasts the deadline, for the deployer that of a step nearby",
		steps:  []string{"connect", "copy", "trial-activate", "waiting", "commit-loader", "cleanup"},
		inject: cutNetwork, undo: restoreNetwork, codes: []int{8}},
	{name: "full-nix", disks: ownNix, elsewhere: noWrite,
		steps:  []string{"connect", "copy", "prepare-supervise", "trial-activate", "waiting", "commit-profile", "rollback-activate", "rollback-undo"},
		inject: fill("/nix"), undo: unfill("/nix")},
	{name: "full-var", disks: ownVar, elsewhere: alike, steps: atRest, inject: fill("/var"), undo: unfill("/var"), allows: allowance{quiet: true}},
	{name: "full-boot", disks: ownBoot, elsewhere: noWrite,
		steps:  []string{"connect", "prepare-arm", "waiting", "commit-profile", "commit-loader", "commit-default", "rollback-undo"},
		inject: fill("/boot"), undo: unfill("/boot")},
	{name: "readonly-var", elsewhere: alike, steps: atRest,
		inject: script("mount --bind /var /var && mount -o remount,bind,ro /var"),
		undo:   undoScript("! mountpoint -q /var || umount -l /var"), allows: allowance{quiet: true}},
	{name: "gc-host", elsewhere: notYet,
		steps:  []string{"copy", "prepare-arm", "trial-activate", "waiting", "commit-profile", "commit-loader", "rollback-activate", "rollback-undo"},
		inject: script("nix-collect-garbage -d >/dev/null 2>&1")},
	{name: "gc-deployer", collectable: true, elsewhere: "the deployer's store is used as at a step that is tried",
		steps:  []string{"connect", "upload", "copy", "prepare-arm", "waiting", "commit-loader"},
		inject: collectHere},
	{name: "mount-fails", elsewhere: noWayBack,
		steps:  []string{"trial-activate", "trial-start", "trial-settle", "probes", "waiting", "commit-loader", "rollback-stop", "rollback-activate", "rollback-start"},
		inject: script(failMount), undo: undoScript(mendMount), codes: []int{8}},
	{name: "bus-gone", elsewhere: noWayBack,
		steps:  []string{"trial-stop", "trial-activate", "trial-start", "trial-settle", "waiting", "commit-loader", "rollback-stop", "rollback-start"},
		inject: script(killBus), undo: undoScript(mendBus), allows: allowance{wayBackGone: true}, codes: []int{8}},
	{name: "reloads", elsewhere: notYet,
		steps:  []string{"prepare-supervise", "trial-stop", "trial-reload", "trial-start", "waiting", "commit-profile", "commit-loader", "rollback-stop", "rollback-start", "rollback-undo"},
		inject: script(reloadOften), undo: undoScript(stopReloading)},
	{name: "nixos-rebuild", elsewhere: notYet,
		steps:  []string{"copy", "prepare-arm", "prepare-supervise", "trial-activate", "waiting", "commit-profile", "commit-loader", "cleanup", "rollback-activate", "rollback-undo"},
		inject: switchByHand, allows: allowance{third: true}, codes: []int{5, 8}},
	{name: "autoupgrade", elsewhere: notYet,
		steps:  []string{"copy", "prepare-arm", "trial-activate", "waiting", "commit-profile", "commit-loader", "cleanup", "rollback-activate", "rollback-undo"},
		inject: upgradeByItself, allows: allowance{third: true}, codes: []int{5, 8}},
	{name: "second-deployer", elsewhere: "the second deployer is held by what holds the first one, or meets the lock as at a step that is tried",
		steps:  []string{"copy", "prepare-arm", "trial-activate", "waiting", "commit-profile", "commit-loader", "cleanup", "rollback-activate", "rollback-undo"},
		inject: deployTwice, allows: allowance{third: true}, codes: []int{5}},
	{name: "stop-supervisor", elsewhere: noUnits,
		steps:  []string{"trial-activate", "waiting", "commit-loader", "cleanup", "rollback-activate"},
		inject: stopUnits("'hdeploy-*-supervisor.service'"), allows: allowance{quiet: true}},
	{name: "stop-switch", elsewhere: noSwitch,
		steps:  []string{"trial-start", "commit-loader", "rollback-activate", "rollback-undo"},
		inject: stopUnits("'hdeploy-*-activation.service' 'hdeploy-*-commit.service' 'hdeploy-*-rollback.service'")},
	{name: "stop-deadman", elsewhere: noUnits,
		steps:  []string{"prepare-supervise", "trial-activate", "waiting", "commit-loader", "rollback-activate"},
		inject: stopUnits("'hdeploy-*-deadman.timer'")},
	{name: "stop-all", elsewhere: noUnits,
		steps:  []string{"prepare-supervise", "trial-stop", "trial-activate", "trial-reload", "trial-start", "waiting", "commit-profile", "commit-default", "cleanup", "rollback-activate", "rollback-start", "rollback-undo"},
		inject: stopUnits("'hdeploy-*'"), allows: allowance{quiet: true}},
	{name: "system-mountless", system: mountless, elsewhere: ofTheSystem, steps: []string{"trial-reload", "trial-start", "trial-settle"}},
	{name: "system-busless", system: busless, elsewhere: ofTheSystem, steps: []string{"trial-stop", "trial-activate", "trial-reload"}},
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
