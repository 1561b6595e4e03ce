package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Keep makes a root of a closure under a name of the transaction, so that it is not
// collected. Who is not root asks the daemon for one.
func (h Host) Keep(ctx context.Context, name, closure string) error {
	if !profiles.ValidStorePath(closure) {
		return fmt.Errorf("add root: %q is not a store path", closure)
	}
	if os.Getuid() == 0 {
		return profiles.AddRoot(name, closure)
	}
	m := h.Manager()
	if err := os.MkdirAll(h.roots(), 0o700); err != nil {
		return fmt.Errorf("add root: %v", err)
	}
	_, err := m.Output(ctx, "nix-store", "--add-root", filepath.Join(h.roots(), name), "--realise", closure, "--option", "substitute", "false")
	return err
}

// Forget removes a root.
func (h Host) Forget(name string) error {
	if os.Getuid() == 0 {
		return profiles.RemoveRoot(name)
	}
	if err := os.Remove(filepath.Join(h.roots(), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove root: %v", err)
	}
	return nil
}

func (h Host) roots() string { return filepath.Join(h.Store.Dir, "roots") }

func (h Host) keep(ctx context.Context, r transaction.Record) error {
	if r.Previous.Running != "" {
		if err := h.Keep(ctx, r.ID+"-previous", r.Previous.Running); err != nil {
			return err
		}
	}
	return h.Keep(ctx, r.ID+"-new", r.New)
}

func (h Host) release(r transaction.Record) error {
	failures := []error{h.Forget(r.ID + "-new")}
	if r.State != transaction.RollbackFailed {
		failures = append(failures, h.Forget(r.ID+"-previous"))
	}
	return errors.Join(failures...)
}

// attachResume leaves a unit for the next boot. Where there can be none, the next
// agent takes back what was in trial.
func (h Host) attachResume() {
	if os.Getuid() == 0 {
		_ = nixos.AttachResume()
		return
	}
	unit, wants := h.resumeFiles()
	if os.MkdirAll(filepath.Dir(wants), 0o755) == nil && atomicfile.Write(unit, []byte(resumeText), 0o644) == nil {
		_ = atomicfile.Symlink(unit, wants)
	}
}

func (h Host) detachResume() error {
	if h.Store.OpenBeside() {
		return nil
	}
	if os.Getuid() == 0 {
		return nixos.DetachResume()
	}
	unit, wants := h.resumeFiles()
	for _, name := range []string{wants, unit} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the unit for the next boot: %v", err)
		}
	}
	return nil
}

// resumeFiles are the unit of the owner's manager, and the link that starts it.
func (h Host) resumeFiles() (unit, wants string) {
	const name = "hdeploy-resume.service"
	dir := filepath.Join(h.owner.home, ".config/systemd/user")
	return filepath.Join(dir, name), filepath.Join(dir, "default.target.wants", name)
}

// resumeText is the unit by which the owner's manager, which a host starts for a user
// who lingers, takes back what a boot has cut off.
const resumeText = `[Unit]
Description=hdeploy: settle what the boot before left of profiles
ConditionPathExistsGlob=%h/.local/state/hdeploy/per-profile/*/transaction.json

[Service]
Type=exec
UMask=0077
ExecStart=-/bin/sh -c 'for agent in "$HOME"/.local/state/hdeploy/agent/hdeploy-agent-*; do [ -x "$agent" ] && exec "$agent" resume; done'
`
