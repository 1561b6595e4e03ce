package deploy

import (
	"context"
	"errors"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// notSwitchable says that the host cannot switch to the system while it runs. It is
// refused, unless the user allows that it is booted instead.
func (h *hostRun) notSwitchable(why string) error {
	switch {
	case !h.run.Action.Switches():
		return nil // a boot is what was asked for
	case h.OrBoot && (h.run.Action == "" || h.run.Action == transaction.Switch):
		h.bootInstead, h.rebootNeeded = why, true
		h.note("warning", "it will be booted, not switched to: %s", why)
		return nil
	}
	return refused(h.Name, "judge", h.bootCommand(),
		"this change cannot be made while the system runs: %s", why)
}

// bootCommand makes the host boot the system next, where it cannot be switched to.
func (h *hostRun) bootCommand() string {
	switch h.run.command() {
	case "switch":
		return "hdeploy switch --or-boot " + h.Name + "  # it then boots the system next, and needs a reboot"
	case "rollback":
		to := h.system.OutPath
		return h.ssh("nix-env -p "+profiles.System+" --set "+to) + "\n" + h.ssh("env NIXOS_NO_CHECK=1 "+to+"/bin/switch-to-configuration boot") +
			"\nhdeploy reboot " + h.Name
	}
	return "hdeploy boot " + h.Name
}

// beginOrBoot begins the transaction, and begins anew, for the next boot, where the
// host says that it cannot switch and a boot is allowed instead.
func (h *hostRun) beginOrBoot(ctx context.Context, specs []probe.Spec) error {
	err := h.begin(ctx, specs)
	var said *protocol.Error
	if !errors.As(err, &said) || said.Code != protocol.CodeNotSwitchable {
		return err
	}
	if err := h.notSwitchable(said.Message); err != nil {
		h.endLive("", err)
		return err
	}
	return h.begin(ctx, nil)
}

// action is what is done on the host.
func (h *hostRun) action() transaction.Action {
	if h.bootInstead != "" {
		return transaction.Boot
	}
	if h.act != "" {
		return h.act
	}
	return h.run.Action
}

// verb is what is done on the host, for a person.
func (h *hostRun) verb() string {
	if h.bootInstead != "" {
		return "boot next, and not switch,"
	}
	return "switch"
}

// awaitsReboot says that the host already boots the wanted system, and only its
// reboot is missing.
func (h *hostRun) awaitsReboot() bool {
	want := h.system.OutPath
	return h.bootInstead != "" && h.facts.Profile.Path == want && h.facts.Boots.System == want
}

// stagedInstead ends a run after which only a reboot is missing.
func (h *hostRun) stagedInstead() error {
	h.note("info", "the new system runs after a reboot: %s", h.bootInstead)
	h.done(RebootRequired, CodeOK)
	return nil
}

// awaitReboot tells that a host needs nothing but its reboot.
func (h *hostRun) awaitReboot() error {
	h.skip("already boots next", event.Copy, event.Trial, event.Verify, event.Commit)
	return h.stagedInstead()
}
