package nixos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

var _ transaction.Restarter = Host{}

// NoWayBack says why this host would not come back by itself from a boot of the
// system next, nil if it would. An empty next asks about the host alone.
func (h Host) NoWayBack(next string) error {
	boots, err := bootloader.Read("/")
	if err != nil {
		return err
	}
	running, at, err := h.Look(profiles.System)
	if err != nil {
		return err
	}
	switch {
	case next != "" && (next == running || next == at.Path || next == boots.System):
		return errors.New("the host runs or boots this system already, so that there is no other one to fall back to")
	case !isOf(running, boots.System):
		return fmt.Errorf("the host would fall back to what it boots, %s, which is not what it runs", boots.System)
	}
	if err := bootloader.CanBootOnce("/", boots.Loader); err != nil {
		return err
	}
	if tool := filepath.Join(running, "sw/bin", onceTools[boots.Loader]); !isFile(tool) {
		return fmt.Errorf("the host has no %s", tool)
	}
	if why := Volatile(h.Store); why != "" {
		return fmt.Errorf("the host would not remember that it must go back: %s", why)
	}
	if next == "" {
		return nil
	}
	return resumes(next)
}

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// isOf says whether running is the system or one of its specialisations.
func isOf(running, system string) bool {
	if running == system {
		return true
	}
	variants, _ := filepath.Glob(filepath.Join(system, "specialisation/*"))
	for _, variant := range variants {
		if target, err := filepath.EvalSymlinks(variant); err == nil && target == running {
			return true
		}
	}
	return false
}

// onceTools are the programs that choose what boots once.
var onceTools = map[string]string{"systemd-boot": "bootctl", "grub": "grub-reboot"}

// Stage implements [transaction.Restarter]. The loader's files are written by the
// system that boots by default, which makes itself the default again, with an entry
// for every generation.
func (h Host) Stage(ctx context.Context, r transaction.Record) error {
	if !isFile(filepath.Join(r.New, "etc/systemd/system", resumeUnit)) {
		if err := AttachResume(); err != nil {
			return err // it would boot with nobody to judge it
		}
	}
	if err := h.Store.KeepBaseline(r.ID); err != nil {
		return err
	}
	if _, err := profiles.Set(ctx, r.Previous.Running, r.Profile, r.New); err != nil {
		return err
	}
	if err := Sync(filepath.Dir(r.Profile), "/nix/store"); err != nil {
		return err
	}
	back := bootTarget(r)
	exit, err := h.run(ctx, r, switching{role: "activation", toplevel: back, action: "boot", unchecked: true})
	if err != nil {
		return err
	}
	if exit != 0 {
		return fmt.Errorf("the boot loader was not installed (exit %d)", exit)
	}
	if _, err := readBack(back, true); err != nil {
		return err
	}
	once, err := bootloader.FindOnce("/", r.New)
	if err != nil {
		return err
	}
	m := systemd.Of(r.Previous.Running)
	if once.Loader == "grub" {
		_, err = m.Output(ctx, "grub-reboot", once.Entry)
	} else {
		_, err = m.Output(ctx, "bootctl", "set-oneshot", once.Entry)
	}
	if err != nil {
		return fmt.Errorf("choose what boots once: %v", err)
	}
	return syncBootFiles()
}

// unchoose takes back what boots once. A boot since then has used it up.
func (h Host) unchoose(ctx context.Context, r transaction.Record) error {
	boots, err := bootloader.Read("/")
	if err != nil {
		return err
	}
	m := systemd.Of(r.Previous.Running)
	if boots.Loader == "grub" {
		_, err = m.Output(ctx, "grub-editenv", "-", "unset", "next_entry")
	} else {
		_, err = m.Output(ctx, "bootctl", "set-oneshot", "")
	}
	if err != nil && !r.Restarted {
		return fmt.Errorf("take back what boots once: %v", err)
	}
	return nil
}

// Restart implements [transaction.Restarter].
func (h Host) Restart(ctx context.Context) error {
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return fmt.Errorf("reboot: %v", err)
	}
	return askReboot(ctx, systemd.Of(running))
}

// AwaitBoot implements [transaction.Restarter].
func (h Host) AwaitBoot(ctx context.Context, r transaction.Record) error {
	if err := h.Store.RecallBaseline(r.ID); err != nil {
		return err
	}
	m := systemd.Of(r.New)
	for {
		// The exit code is not zero for anything but "running".
		said, err := m.Output(ctx, "systemctl", "is-system-running")
		switch state := strings.TrimSpace(string(said)); state {
		case "running", "degraded":
			return nil
		case "maintenance":
			return errors.New("the host is in rescue or emergency mode")
		default:
			if ctx.Err() != nil {
				return fmt.Errorf("the host is still %q: %v", state, errors.Join(context.Cause(ctx), err))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}
