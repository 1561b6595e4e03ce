package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles"
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
	m := h.manager()
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
	}
}

func (h Host) detachResume() error {
	if os.Getuid() != 0 || h.Store.OpenBeside() {
		return nil
	}
	return nixos.DetachResume()
}
