package nixos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Commit implements [transaction.Host]. The new generation is made first, since
// boot loaders list generations; it is durable before the loader names it.
func (h Host) Commit(ctx context.Context, r transaction.Record) (profiles.Generation, string, error) {
	at, err := profiles.Current(r.Profile)
	if err != nil {
		return at, "", err
	}
	if at.Path != r.New {
		if at, err = profiles.Set(ctx, r.New, r.Profile, r.New); err != nil {
			return at, "", err
		}
	}
	if err := Sync(filepath.Dir(r.Profile), "/nix/store"); err != nil {
		return at, "", err
	}
	exit, err := h.run(ctx, r, switching{role: "commit", toplevel: r.New, action: "boot"})
	if err != nil {
		return at, "", err
	}
	if exit != 0 {
		return at, "", fmt.Errorf("the boot loader was not installed (exit %d)", exit)
	}
	if err := syncBootFiles(); err != nil {
		return at, "", err
	}
	boots, err := readBack(r.New, r.Previous.Boots != "")
	return at, boots, err
}

// readBack shows that the loader boots wanted. Where its files could be read
// before, they must be readable now; an unknown loader is "unknown".
func readBack(wanted string, known bool) (string, error) {
	d, err := bootloader.Read("/")
	switch {
	case err != nil && !known:
		return "unknown", nil
	case err != nil:
		return "", err
	case d.System != wanted:
		return d.System, fmt.Errorf("the boot loader boots %s afterwards", d.System)
	}
	return d.System, nil
}

// Uncommit implements [transaction.Host].
func (h Host) Uncommit(ctx context.Context, r transaction.Record) error {
	if r.Action == transaction.Reboot {
		if err := h.unchoose(ctx, r); err != nil {
			return err
		}
	}
	made, err := ownGeneration(r)
	if err != nil {
		return err
	}
	if err := profiles.Restore(r.Profile, r.Previous.Profile, made); err != nil {
		return err
	}
	if err := Sync(filepath.Dir(r.Profile)); err != nil {
		return err
	}
	back := bootTarget(r)
	exit, err := h.run(ctx, r, switching{role: "rollback", toplevel: back, action: "boot", unchecked: true})
	_ = syncBootFiles() // what cannot be made durable is put back all the same
	// What will boot decides, not how the installation ended: with a full /boot
	// it fails, and the loader still names the previous system.
	boots, readErr := readBack(back, r.Previous.Boots != "")
	switch {
	case readErr == nil && (boots == back || err == nil && exit == 0):
		return nil
	case err != nil:
		return err
	case exit != 0:
		return fmt.Errorf("the boot loader was not put back (exit %d): %v", exit, readErr)
	}
	return readErr
}

// bootTarget is the system that was booted by default before.
func bootTarget(r transaction.Record) string {
	if _, err := os.Stat(filepath.Join(r.Previous.Boots, "bin/switch-to-configuration")); r.Previous.Boots != "" && err == nil {
		return r.Previous.Boots
	}
	return r.Previous.Profile.Path
}

// ownGeneration is the link that this transaction made, empty where it made
// none. A generation that existed before is never its own, even if a commit
// would have reused it.
func ownGeneration(r transaction.Record) (string, error) {
	newest, err := profiles.Newest(r.Profile)
	if err != nil || newest <= r.Previous.Newest {
		return "", err
	}
	link := fmt.Sprintf("%s-%d-link", filepath.Base(r.Profile), newest)
	target, err := os.Readlink(filepath.Join(filepath.Dir(r.Profile), link))
	if err != nil {
		return "", fmt.Errorf("read generation: %v", err)
	}
	if target != r.New {
		return "", fmt.Errorf("generation %d is somebody else's: %s", newest, target)
	}
	return link, nil
}

// syncBootFiles makes what a boot loader's installer wrote durable: not every
// installer does, and a host that says committed must not boot the old system
// after a power cut.
func syncBootFiles() error {
	var there []string
	for _, dir := range []string{"/boot", "/efi", "/boot/efi"} {
		if _, err := os.Stat(dir); err == nil {
			there = append(there, dir)
		}
	}
	return Sync(there...)
}

// Sync makes everything on the file systems of paths durable.
func Sync(paths ...string) error {
	var failures []error
	for _, path := range paths {
		failures = append(failures, syncFilesystem(path))
	}
	return errors.Join(failures...)
}

func syncFilesystem(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %v", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %v", path, err)
	}
	return nil
}
