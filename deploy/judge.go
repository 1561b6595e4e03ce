package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/closure"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// storeReserve stays free in the store, bootReserve where the boot loader
	// writes, stateReserve where the transaction is recorded.
	storeReserve = 64 << 20
	bootReserve  = 64 << 10
	stateReserve = 2 << 20
)

// notOurs refuses what is no host of hdeploy's.
func (h *hostRun) notOurs(f protocol.Facts) error {
	switch {
	case !f.NixOS:
		return refused(h.Name, "look", "set the address of "+h.Name+" in deploy.toml to a NixOS host", "this is not a NixOS host but %s", capped(f.OS))
	case f.UID != 0 && !h.own:
		return refused(h.Name, "elevate", "set user = \"root\" or elevation = \"sudo\" for "+h.Name+" in deploy.toml", "the agent runs as uid %d, not as root", f.UID)
	case f.Running == "" && h.of == nil:
		return refused(h.Name, "look", h.ssh("ls -l /run/current-system"), "the running system cannot be read from /run/current-system")
	}
	if err := h.plainFacts(f); err != nil {
		return err
	}
	return h.checkMachine(f)
}

// checkHost refuses what the facts alone forbid.
func (h *hostRun) checkHost() error {
	f := h.facts
	if err := h.notOurs(f); err != nil {
		return err
	}
	if err := cmp.Or(h.checkState(), h.checkLock()); err != nil {
		return err
	}
	h.tellLast()
	if err := h.checkFreeze(); err != nil {
		return err
	}
	if f.Volatile != "" && h.run.changes() {
		h.note("warning", "%s", h.volatile())
	}
	return h.checkSpace()
}

// checkState refuses a host on which there would be no way back.
func (h *hostRun) checkState() error {
	switch f := h.facts; {
	case f.StateError == "" && h.of != nil:
	case f.StateError != "":
		return refused(h.Name, "look", h.ssh("df -h /var/lib /run"), "the host cannot keep hdeploy's state: %s", f.StateError)
	case f.Profile.Path == "":
		return refused(h.Name, "look", h.ssh("ls -l "+profiles.System), "the host has no system profile: there would be no generation to go back to")
	}
	return nil
}

func (h *hostRun) checkLock() error {
	if t := h.facts.Transaction; t != nil && !t.State.Final() {
		return h.locked(t)
	}
	return nil
}

func (h *hostRun) checkFreeze() error {
	f := h.facts.Freeze
	if f.Stops(h.run.Action, h.run.Deployer) && !h.run.Force && h.run.changes() {
		return h.frozen((&transaction.FrozenError{Freeze: *f}).Error())
	}
	return nil
}

func (h *hostRun) volatile() string {
	return fmt.Sprintf("what hdeploy remembers on this host does not survive a reboot: %s; the last confirmed systems are kept below %s", h.facts.Volatile, profiles.RootsDir)
}

func (h *hostRun) frozen(why string) error {
	return refused(h.Name, "freeze", "hdeploy unlock "+h.Name+"  # --force where it is somebody else's\n"+h.again()+" --force  # in spite of it", "%s", why)
}

func (h *hostRun) rejected() error {
	return refused(h.Name, "judge", "hdeploy history "+h.Name+"\n"+h.again()+" --force  # in spite of that",
		"this system was rejected on the host before: %s", h.system.OutPath)
}

// tellLast says how the last transaction ended if it did not end well: its
// deployer may never have learned it.
func (h *hostRun) tellLast() {
	if t := h.facts.Transaction; t != nil && t.State != transaction.Committed {
		h.note("info", "the last deployment (%s by %s) did not end well: %s; %s", t.ID, t.Deployer, t.State, t.Reason)
	}
}

// checkArchitecture refuses a closure for another machine before anybody tries to
// build it.
func (h *hostRun) checkArchitecture() error {
	if h.system.System == h.facts.System || h.system.System == "" && h.prebuilt() != nil || h.of != nil && h.system.System == "builtin" {
		return nil
	}
	return refused(h.Name, "judge", "set nixpkgs.hostPlatform of "+h.Name+" to "+h.facts.System+", or correct its address in deploy.toml",
		"the closure is for %s, the host is %s", h.system.System, h.facts.System)
}

func (h *hostRun) locked(t *protocol.Status) error {
	return refused(h.Name, "lock", "hdeploy status --no-flake "+h.Name+"  # says whether anybody is still at it\nhdeploy attach "+h.named()+" "+t.ID,
		"locked by %s since %s for %s (%s; the host decides within %s)",
		t.Deployer, t.Started.Local().Format("2006-01-02 15:04:05 MST"), t.New, t.State, rounded(t.DeadManIn))
}

func (h *hostRun) checkSpace() error {
	for _, place := range []struct {
		path       string
		used       bool
		free, need uint64
	}{
		// A rollback copies nothing, and a full disk may be what it is for.
		{"/nix/store", h.run.Action != transaction.Rollback && h.run.Goal != GoalReboot, h.facts.FreeStore, storeReserve},
		{"/boot", h.of == nil && h.run.commits() && h.run.Action != transaction.Rollback, h.facts.FreeBoot, bootReserve},
		{"/var/lib", h.run.Goal == GoalTransact, h.facts.FreeState, stateReserve},
	} {
		if place.used && place.free < place.need {
			return refused(h.Name, "space", h.ssh("nix-collect-garbage"), "%s is full: %s free, %s needed",
				place.path, humanize.IBytes(place.free), humanize.IBytes(place.need))
		}
	}
	return nil
}

// judge decides, with the closure at hand and before the copy, whether the host
// can switch to it.
func (h *hostRun) judge(ctx context.Context) (err error) {
	done := h.phase(event.Judge)
	detail := ""
	defer func() { done(detail, err) }()
	if h.unchanged() {
		detail = "already there"
		return nil
	}
	if err := h.checkSystem(); err != nil {
		return err
	}
	if h.run.Goal == GoalTransact && slices.Contains(h.facts.Rejected, h.system.OutPath) {
		if h.run.Automatic && !h.run.Force {
			return h.rejected()
		}
		h.note("warning", "this system was rejected on the host before")
	}
	if err := h.checkWayBack(); err != nil {
		return err
	}
	h.rebootNeeded = h.rebootNeeded || h.of == nil && h.run.commits() && !h.run.bootsOnce() && h.needsReboot()
	if err := h.checkBootRoom(); err != nil {
		return err
	}
	if err := h.checkRoom(ctx); err != nil {
		return err
	}
	detail = "closure of " + plural(len(h.sizes), "path") + ", " + humanize.IBytes(uint64(h.sizes.Total()))
	switch {
	case h.bootInstead != "":
		detail += "; it needs a reboot"
	case h.rebootNeeded:
		detail += "; the new kernel needs a reboot"
	}
	return nil
}

func (h *hostRun) checkSystem() error {
	if h.of != nil {
		return h.checkKind()
	}
	built := h.described()
	if !built.Switches {
		return refused(h.Name, "judge", "correct the attribute of "+h.Name+" in deploy.toml", "%s is not a NixOS system: it has no bin/switch-to-configuration", h.system.OutPath)
	}
	if !h.run.activates() || h.run.bootsOnce() {
		return nil // what cannot be switched to may well be booted
	}
	keys, err := inhibited(h.facts.Inhibitors, built)
	if err != nil {
		return refused(h.Name, "judge", "nix build "+h.run.Flake, "%v", err)
	}
	if len(keys) > 0 {
		return h.notSwitchable("switch inhibitors differ (" + strings.Join(keys, ", ") + ")")
	}
	return nil
}

// inhibited names the keys whose value differs between the running and the new
// system's switch inhibitors. Keys that only one of them has are ignored, as
// NixOS's own check does.
func inhibited(running json.RawMessage, built protocol.Toplevel) ([]string, error) {
	if len(running) == 0 {
		return nil, nil
	}
	if built.InhibitorsError != "" {
		return nil, errors.New(built.InhibitorsError)
	}
	if built.Inhibitors == nil {
		return nil, nil
	}
	var before, after map[string]any
	if json.Unmarshal(running, &before) != nil {
		return nil, nil
	}
	if err := json.Unmarshal(built.Inhibitors, &after); err != nil {
		return nil, fmt.Errorf("read switch inhibitors: %v", err)
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if was, ok := before[key]; ok && !reflect.DeepEqual(was, after[key]) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// needsReboot says whether the new system's kernel is another one than the
// booted one.
func (h *hostRun) needsReboot() bool {
	return closure.NeedsReboot(h.facts.Kernel, h.described().Kernel)
}

// checkBootRoom refuses a new kernel or initrd that does not fit into a /boot of
// its own: boot loaders that cannot read the store copy them there, at commit.
func (h *hostRun) checkBootRoom() error {
	if !h.facts.OwnBoot || !h.run.commits() || h.of != nil {
		return nil
	}
	need := uint64(bootReserve)
	built := h.described()
	for part, size := range built.Bytes {
		if built.Kernel[part] != h.facts.Kernel[part] {
			need += uint64(max(0, size))
		}
	}
	if h.facts.FreeBoot < need {
		return refused(h.Name, "space", h.ssh("nix-collect-garbage --delete-older-than 30d")+" and switch to what it runs, which removes old kernels",
			"/boot has %s free, and the new kernel and initrd need %s", humanize.IBytes(h.facts.FreeBoot), humanize.IBytes(need))
	}
	return nil
}

// checkRoom refuses a closure that does not fit. Where the host has room for all
// of it, what it lacks is only asked for the progress, beside the copy.
func (h *hostRun) checkRoom(ctx context.Context) error {
	if h.builtItself() {
		return nil
	}
	var err error
	if h.sizes == nil {
		h.sizes, err = h.run.nix.Closure(ctx, h.system.OutPath)
	}
	if err != nil {
		return asFailure(h.Name, "judge", err)
	}
	if uint64(h.sizes.Total())+storeReserve < h.facts.FreeStore && !h.run.DryRun {
		return nil
	}
	missing, err := h.askMissing(ctx)
	if err != nil {
		return h.connectionFailure("judge", err)
	}
	if need := uint64(h.lacks.Load()); need+storeReserve > h.facts.FreeStore {
		return refused(h.Name, "space", h.ssh("nix-collect-garbage --delete-older-than 30d"),
			"the store has %s free, and %s of the closure (%s) are missing there",
			humanize.IBytes(h.facts.FreeStore), humanize.IBytes(need), plural(missing, "path"))
	}
	return nil
}

// measure learns the closure's size while Nix looks at a result that is there
// already.
func (h *hostRun) measure(ctx context.Context) {
	if _, err := os.Stat(h.system.OutPath); err == nil {
		h.sizes, _ = h.run.nix.Closure(ctx, h.system.OutPath)
	}
}

// askMissing learns how much of the closure the host lacks.
func (h *hostRun) askMissing(ctx context.Context) (paths int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	missing, err := h.agent.Missing(ctx, slices.Sorted(maps.Keys(h.sizes)))
	if err != nil {
		return 0, err
	}
	var lacks int64
	for _, path := range missing {
		lacks += h.sizes[path]
	}
	h.lacks.Store(lacks)
	return len(missing), nil
}
