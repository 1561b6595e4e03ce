package nixos

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// keyLimit caps a file of authorized keys; a larger one is left alone.
const keyLimit = 1 << 20

// keyFile is a file of authorized keys as it was before the trial. No generation
// contains it, so that no switch brings it back.
type keyFile struct {
	User string `json:"user"`
	// Dir is the directory that Name lies below: nothing outside it is touched,
	// wherever the user makes links point.
	Dir  string `json:"dir"`
	Name string `json:"name"`
	// Absent says that there was none; Link is where a symbolic link pointed.
	Absent bool   `json:"absent,omitempty"`
	Link   string `json:"link,omitempty"`

	Content []byte      `json:"content,omitempty"`
	Mode    fs.FileMode `json:"mode,omitempty"`
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`
}

// loginUsers are root and those on whose behalf this process became root.
func loginUsers() []*user.User {
	names := []string{"root", os.Getenv("SUDO_USER"), os.Getenv("DOAS_USER")}
	if uid := firstLine("/proc/self/loginuid"); uid != "" {
		if u, err := user.LookupId(uid); err == nil {
			names = append(names, u.Username)
		}
	}
	var users []*user.User
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			continue
		}
		if u, err := user.Lookup(name); err == nil && filepath.IsAbs(u.HomeDir) {
			users = append(users, u)
		}
	}
	return users
}

const declaredKeys = "/etc/ssh/authorized_keys.d"

// keyPlaces are where sshd of NixOS looks for the keys of users, and the names
// that it knows by default.
func keyPlaces(users []*user.User) []keyFile {
	var places []keyFile
	for _, u := range users {
		for _, name := range []string{".ssh/authorized_keys", ".ssh/authorized_keys2"} {
			places = append(places, keyFile{User: u.Username, Dir: u.HomeDir, Name: name})
		}
		if !strings.ContainsRune(u.Username, '/') {
			places = append(places, keyFile{User: u.Username, Dir: declaredKeys, Name: u.Username})
		}
	}
	return places
}

// now reads the file as it is. An error says that it cannot be kept, and is
// better left alone.
func (k keyFile) now() (keyFile, error) {
	k.Absent, k.Link, k.Content, k.Mode, k.UID, k.GID = false, "", nil, 0, 0, 0
	dir, err := os.OpenRoot(k.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		k.Absent = true
		return k, nil
	}
	if err != nil {
		return k, err
	}
	defer dir.Close()
	info, err := dir.Lstat(k.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.Absent = true
		return k, nil
	case err != nil:
		return k, err
	case info.Mode()&fs.ModeSymlink != 0:
		k.Link, err = dir.Readlink(k.Name)
		return k, err
	}
	return k, k.readFrom(dir)
}

func (k *keyFile) readFrom(dir *os.Root) error {
	// A pipe, which a user may put there, must not be waited for.
	f, err := dir.OpenFile(k.Name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Size() > keyLimit {
		return fmt.Errorf("%s is no file of keys", k.Name)
	}
	k.Mode, k.UID, k.GID = info.Mode().Perm(), int(owner.Uid), int(owner.Gid)
	k.Content, err = io.ReadAll(io.LimitReader(f, keyLimit))
	return err
}

func (k keyFile) is(other keyFile) bool {
	return k.Absent == other.Absent && k.Link == other.Link && k.Mode == other.Mode &&
		k.UID == other.UID && k.GID == other.GID && bytes.Equal(k.Content, other.Content)
}

// putBack makes the file what it was, and says whether it was something else.
func (k keyFile) putBack() (bool, error) {
	is, err := k.now()
	if err == nil && k.is(is) {
		return false, nil
	}
	dir, err := os.OpenRoot(k.Dir)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	if k.Absent {
		return true, dir.Remove(k.Name)
	}
	return true, k.writeTo(dir)
}

// writeTo replaces the file by a new one beside it: whoever logs in meanwhile
// meets the old keys or the new ones, never half of them.
func (k keyFile) writeTo(dir *os.Root) error {
	if err := k.ensureParent(dir); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(k.Name), ".hdeploy-"+strings.ToLower(rand.Text()))
	err := k.create(dir, temp)
	if err == nil {
		err = dir.Rename(temp, k.Name)
	}
	if err != nil {
		return errors.Join(err, ignoreAbsent(dir.Remove(temp)))
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ensureParent makes the directory of the file anew, for its owner alone.
func (k keyFile) ensureParent(dir *os.Root) error {
	parent := filepath.Dir(k.Name)
	if parent == "." {
		return nil
	}
	err := dir.Mkdir(parent, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return dir.Lchown(parent, k.UID, k.GID)
}

func (k keyFile) create(dir *os.Root, name string) error {
	if k.Link != "" {
		return dir.Symlink(k.Link, name)
	}
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(k.Content)
	// The owner first: a change of it may clear bits of the mode.
	err = errors.Join(err, f.Chown(k.UID, k.GID), f.Chmod(k.Mode), f.Sync())
	return errors.Join(err, f.Close())
}

// keysFile is where the keys of a transaction are kept, of root alone. It lies on
// the disk: a host that restarts in a trial needs them too.
func (h Host) keysFile(id string) string { return filepath.Join(h.Store.Dir, "keys-"+id+".json") }

// keepKeys keeps the authorized keys of whoever logged in, and of root. What cannot
// be read is not kept.
func (h Host) keepKeys(r transaction.Record) error {
	h.forgetOtherKeys(r.ID)
	if kept := h.keptKeys(r.ID); kept != nil {
		// Armed anew after a boot: what is there now may be the new system's.
		return h.copyRootKeys(r.ID, kept)
	}
	var kept []keyFile
	for _, place := range keyPlaces(loginUsers()) {
		if k, err := place.now(); err == nil {
			kept = append(kept, k)
		}
	}
	return errors.Join(h.copyRootKeys(r.ID, kept), h.writeKeys(r.ID, kept))
}

// forgetOtherKeys removes what could not be put back after earlier transactions: it
// is too old to be right.
func (h Host) forgetOtherKeys(id string) {
	all, _ := filepath.Glob(filepath.Join(h.Store.Dir, "keys-*.json"))
	for _, name := range all {
		if name != h.keysFile(id) {
			os.Remove(name)
		}
	}
}

func (h Host) writeKeys(id string, kept []keyFile) error {
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return atomicfile.Write(h.keysFile(id), data, 0o600)
}

func (h Host) keptKeys(id string) []keyFile {
	data, err := os.ReadFile(h.keysFile(id))
	if err != nil {
		return nil
	}
	var kept []keyFile
	if json.Unmarshal(data, &kept) != nil {
		return nil
	}
	return kept
}

// writtenInThisBoot says that the file is not what the trial left, which a boot ended.
func (k keyFile) writtenInThisBoot() bool {
	booted, err := os.Lstat(bootedSystem)
	if err != nil {
		return false
	}
	dir, err := os.OpenRoot(k.Dir)
	if err != nil {
		return false
	}
	defer dir.Close()
	info, err := dir.Lstat(k.Name)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = dir.Lstat(filepath.Dir(k.Name)) // it was removed
	}
	return err == nil && info.ModTime().After(booted.ModTime())
}

// restoreKeys puts the authorized keys back that changed since the trial began,
// and says so in the record. Those that are spared are left as they are.
func (h Host) restoreKeys(ctx context.Context, r transaction.Record, spared func(keyFile) bool) error {
	var failures []error
	for _, k := range h.keptKeys(r.ID) {
		if spared != nil && spared(k) {
			continue
		}
		changed, err := k.putBack()
		if err != nil {
			failures = append(failures, fmt.Errorf("restore %s of %s: %v", k.Name, k.User, err))
		} else if changed {
			_ = h.Store.Note(ctx, r.ID, fmt.Sprintf("authorized_keys of %s was restored (%s)", k.User, filepath.Join(k.Dir, k.Name)))
		}
	}
	return errors.Join(failures...)
}

// byRoot says that only root can change what lies in the file's directory.
func (k keyFile) byRoot() bool { return k.Dir == declaredKeys || k.User == "root" }

func (h Host) keyCopies(id string) string { return filepath.Join(h.dir(id), "keys") }

// copyRootKeys makes plain copies, with owner and mode, for the last resort, which
// has nothing but the previous system's programs.
func (h Host) copyRootKeys(id string, kept []keyFile) error {
	copies := h.keyCopies(id)
	if err := os.MkdirAll(copies, 0o700); err != nil {
		return err
	}
	dir, err := os.OpenRoot(copies)
	if err != nil {
		return err
	}
	defer dir.Close()
	for i, k := range kept {
		if !k.byRoot() || k.Absent || k.Link != "" {
			continue
		}
		name := fmt.Sprint(i)
		if err := errors.Join(ignoreAbsent(dir.Remove(name)), k.create(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// copyBack are the last resort's lines that put the copies back. Homes of users
// are left out: cp would follow whatever links a user makes there.
func (h Host) copyBack(r transaction.Record) string {
	var lines strings.Builder
	for i, k := range h.keptKeys(r.ID) {
		to := filepath.Join(k.Dir, k.Name)
		if !k.byRoot() || k.Absent || k.Link != "" || !plainPath(to) {
			continue
		}
		fmt.Fprintf(&lines, "ExecStartPre=-%s/sw/bin/cp --preserve=mode,ownership --remove-destination %s %s\n",
			r.Previous.Running, filepath.Join(h.keyCopies(r.ID), fmt.Sprint(i)), to)
	}
	return lines.String()
}

// plainPath says that a path means itself in a unit file.
func plainPath(path string) bool {
	return !strings.ContainsFunc(path, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/._-@+", c)
	})
}

// forgetKeys removes what was kept.
func (h Host) forgetKeys(id string) error {
	return errors.Join(os.RemoveAll(h.keyCopies(id)), ignoreAbsent(os.Remove(h.keysFile(id))))
}
