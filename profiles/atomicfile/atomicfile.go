// Package atomicfile writes files and links that a reboot may meet.
//
// Whoever reads one of them, at whatever instant power was lost, sees the whole
// old or the whole new content: data goes to a temporary file in the same
// directory, is synced, renamed over the name, and then the directory is synced,
// since without that a rename can be lost.
package atomicfile

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces the file name with data. The new file has exactly mode.
func Write(name string, data []byte, mode os.FileMode) error { return WriteOn(OS, name, data, mode) }

// WriteOn is [Write] on a given file system.
func WriteOn(fsys FS, name string, data []byte, mode os.FileMode) error {
	tmp := temporary(name)
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	if err := fill(f, data, mode); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	return replace(fsys, tmp, name)
}

func temporary(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
}

func replace(fsys FS, tmp, name string) error {
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	return SyncDirOn(fsys, filepath.Dir(name))
}

func fill(f File, data []byte, mode os.FileMode) error {
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// Symlink replaces the link name with one that points at target.
func Symlink(target, name string) error { return SymlinkOn(OS, target, name) }

// SymlinkOn is [Symlink] on a given file system.
func SymlinkOn(fsys FS, target, name string) error {
	tmp := temporary(name)
	if err := fsys.Symlink(target, tmp); err != nil {
		return err
	}
	return replace(fsys, tmp, name)
}

// SyncDir makes renames, creations and removals in dir durable.
func SyncDir(dir string) error { return SyncDirOn(OS, dir) }

// SyncDirOn is [SyncDir] on a given file system.
func SyncDirOn(fsys FS, dir string) error {
	d, err := fsys.OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
