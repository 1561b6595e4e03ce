package deploy

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestWhatCannotBeSwitchedTo(t *testing.T) {
	for _, c := range []struct {
		name   string
		orBoot bool
		action transaction.Action
		next   string // the command of a refusal
		does   transaction.Action
	}{
		{"refused", false, transaction.Switch, "hdeploy switch --or-boot web1", transaction.Switch},
		{"booted", true, transaction.Switch, "", transaction.Boot},
		{"booted by default", true, "", "", transaction.Boot},
		{"a boot needs no leave", false, transaction.Boot, "", transaction.Boot},
		{"a test cannot be booted", true, transaction.Test, "hdeploy boot web1", transaction.Test},
		{"a person's rollback neither", true, transaction.Rollback, "switch-to-configuration boot", transaction.Rollback},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			h.OrBoot, h.run.Action = c.orBoot, c.action
			err := h.notSwitchable("the bus differs")
			if c.next != "" {
				refusal(t, err, "judge", "the bus differs", c.next)
			} else if err != nil {
				t.Error(err)
			}
			if h.action() != c.does {
				t.Errorf("does %q", h.action())
			}
		})
	}
}

func TestHostThatOnlyNeedsItsRebootIsLeftAlone(t *testing.T) {
	h := web1(t)
	h.facts.Profile.Path, h.facts.Boots = h.system.OutPath, bootloader.Default{System: h.system.OutPath}
	if h.awaitsReboot() {
		t.Error("a switch is left out")
	}
	h.bootInstead = "the bus differs"
	if !h.awaitsReboot() {
		t.Error("it is deployed again")
	}
	h.facts.Boots.System = "/old"
	if h.awaitsReboot() {
		t.Error("it does not boot the system, and is left alone")
	}
}

func TestWhatAPersonCanTypeAfterARollbackThatFailed(t *testing.T) {
	h := web1(t)
	h.User, h.Port, h.Elevation = "admin", 2222, []string{"sudo", "-n", "--"}
	h.facts.Boots.System = "/old"
	h.status = &protocol.Status{Running: "/new", Profile: profiles.Generation{Link: "system-2-link", Number: 2, Path: "/new"}, Boots: "/new"}
	commands := h.wayBack(h.lastSeen(nil))
	for i, want := range []string{"journalctl", "nix-env -p /nix/var/nix/profiles/system --set /old", "/old/bin/switch-to-configuration boot",
		"env NIXOS_NO_CHECK=1 /old/bin/switch-to-configuration test", "systemctl reboot"} {
		if len(commands) <= i || !strings.HasPrefix(commands[i], "ssh -p 2222 admin@web1.example.org sudo -n -- ") && !strings.Contains(commands[i], "sudo -n -- ") || !strings.Contains(commands[i], want) {
			t.Fatalf("command %d is not %q: %q", i, want, commands)
		}
	}
	// What has not moved need not be put back.
	seen := protocol.Facts{Running: "/new", Profile: h.facts.Profile, Boots: h.facts.Boots}
	if commands := h.wayBack(h.lastSeen(&seen)); len(commands) != 3 {
		t.Errorf("commands %q", commands)
	}
}

func TestHostThatMayRestartIsWaitedForLonger(t *testing.T) {
	h := web1(t)
	h.status = &protocol.Status{}
	usual := h.patience()
	h.LastResort = string(transaction.Restart)
	if longer := h.patience(); usual != patience || longer < usual+restartLimit {
		t.Errorf("%v, and %v", usual, longer)
	}
}
