package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Commit implements [transaction.Host]: the profile gets a generation of the closure
// that is active. There is no boot loader that would know of it.
func (h Host) Commit(ctx context.Context, r transaction.Record) (profiles.Generation, string, error) {
	at, err := profiles.Current(h.Link)
	if err != nil {
		return at, "", err
	}
	if err := nixos.Sync("/nix/store"); err != nil {
		return at, "", err
	}
	if at.Path != r.New {
		if at, err = h.set(ctx, r.New); err != nil {
			return at, "", err
		}
	}
	return at, at.Path, nixos.Sync(filepath.Dir(h.Link))
}

// set makes a generation. In root's own folder it is done here; elsewhere Nix must
// know of each link to keep what it leads to, and the owner's folder is the owner's.
func (h Host) set(ctx context.Context, closure string) (profiles.Generation, error) {
	m := h.Manager()
	if h.owner.itself() && strings.HasPrefix(h.Link, globalProfiles+"/") && os.Getuid() == 0 {
		if err := os.MkdirAll(filepath.Dir(h.Link), 0o755); err != nil {
			return profiles.Generation{}, fmt.Errorf("set profile: %v", err)
		}
		return profiles.Set(ctx, strings.TrimSuffix(m.Bin, "/sw/bin"), h.Link, closure)
	}
	err := h.owner.run(ctx, m, filepath.Join(m.Bin, "mkdir"), "-p", filepath.Dir(h.Link))
	if err == nil {
		err = h.owner.run(ctx, m, filepath.Join(m.Bin, "nix-env"), "--profile", h.Link, "--set", closure, "--option", "substitute", "false")
	}
	if err != nil {
		// The owner may not be allowed to speak to the daemon, or it may be dead.
		if handErr := h.setByHand(ctx, closure); handErr != nil {
			return profiles.Generation{}, fmt.Errorf("set profile: %v; %v", err, handErr)
		}
	}
	at, err := profiles.Current(h.Link)
	if err == nil && at.Path != closure {
		err = fmt.Errorf("set profile: it points at %s afterwards", at.Path)
	}
	return at, err
}

// setByHand makes the next generation as nix-env does. What Nix is not told of it
// would collect, so that only root can do this, who makes the root.
func (h Host) setByHand(ctx context.Context, closure string) error {
	if os.Getuid() != 0 {
		return errors.New("only root can do without the Nix daemon")
	}
	newest, err := profiles.Newest(h.Link)
	if err != nil {
		return err
	}
	generation := func(number int) string { return fmt.Sprintf("%s-%d-link", h.Link, number) }
	link := generation(newest)
	if has, err := os.Readlink(link); err != nil || has != closure {
		link = generation(newest + 1)
	}
	if err := h.point(ctx, filepath.Base(link), closure); err != nil {
		return err
	}
	if strings.HasPrefix(link, globalProfiles+"/") {
		return nil
	}
	// Nix forgets a root of this folder by itself when its link is gone.
	sum := sha256.Sum256([]byte(link))
	return atomicfile.Symlink(link, filepath.Join(autoRoots, "hdeploy-"+hex.EncodeToString(sum[:16])))
}

// autoRoots are the roots that lead to links elsewhere.
const autoRoots = "/nix/var/nix/gcroots/auto"

// point makes a generation, which is made where it is missing, the profile's, and
// removes those called made. An empty one removes the profile.
func (h Host) point(ctx context.Context, generation, path string, made ...string) error {
	return h.owner.run(ctx, h.Manager(), append([]string{"/bin/sh", "-c", putBack, "hdeploy", h.Link, generation, path}, made...)...)
}

// putBack points a link at a generation that it had, or removes it where it had
// none, and then the generations that the transaction made.
const putBack = `set -e
link=$1 to=$2 path=$3; shift 3
dir=${link%/*}
if [ -n "$to" ]; then
	[ -L "$dir/$to" ] || ln -s "$path" "$dir/$to"
	ln -sfn "$to" "$link.hdeploy"
	mv -fT "$link.hdeploy" "$link"
else
	rm -f "$link"
fi
for made; do rm -f "$dir/$made"; done
`

// Uncommit implements [transaction.Host].
func (h Host) Uncommit(ctx context.Context, r transaction.Record) error {
	was := r.Previous.Profile
	at, err := profiles.Current(h.Link)
	made := h.made(r)
	if err == nil && at == was && len(made) == 0 {
		return nil
	}
	if err := h.point(ctx, was.Link, was.Path, made...); err != nil {
		return fmt.Errorf("put the profile back: %v", err)
	}
	if at, err = profiles.Current(h.Link); err != nil || at != was {
		return errors.Join(err, fmt.Errorf("put the profile back: it is generation %d, %s", at.Number, at.Path))
	}
	if was.Link == "" {
		return nil // the folder may never have been there
	}
	return nixos.Sync(filepath.Dir(h.Link))
}

// made are the links of generations that are newer than the transaction and lead to
// one of its closures. Programs that move the profile themselves make them, too.
func (h Host) made(r transaction.Record) []string {
	all, _ := profiles.List(h.Link)
	var made []string
	for _, g := range all {
		if g.Number > r.Previous.Newest && (g.Path == r.New || g.Path == r.Previous.Profile.Path) {
			made = append(made, g.Link)
		}
	}
	return made
}

// Restore implements [transaction.Host]: the previous closure is activated, or the
// new one's own way back is gone. Then the profile is put back, should a program
// have moved it.
func (h Host) Restore(ctx context.Context, r transaction.Record) error {
	fencing, cancel := context.WithTimeout(ctx, r.Limits.Rollback/4)
	_ = h.Fence(fencing, r.ID) // what cannot be killed must not keep the old closure away
	cancel()
	var failed error
	for range 2 { // the first may meet what the killed activation has left
		attempt, cancel := context.WithTimeout(ctx, r.Limits.Rollback/3)
		failed = h.back(attempt, r)
		cancel()
		if failed == nil {
			break
		}
	}
	failed = errors.Join(failed, h.Uncommit(ctx, r))
	if failed == nil {
		failed = h.over()
	}
	return failed
}

// back runs what undoes the trial.
func (h Host) back(ctx context.Context, r transaction.Record) error {
	p, action, closure := h.way(r)
	if closure == "" {
		if h.Program.Kind == HomeManager {
			return h.unlink(ctx, r.New)
		}
		return fmt.Errorf("there was nothing in profile %s before that could be activated again; what %s has changed stays", h.Program.Profile, r.New)
	}
	exit, err := h.run(ctx, r, p, action, closure)
	if err != nil {
		return err
	}
	if exit != 0 {
		return fmt.Errorf("the %s of %s failed (exit %d)", action, closure, exit)
	}
	return nil
}

// way is the program that undoes the trial, and whose it is. A closure is activated
// by the programs that were declared for it when it was deployed.
func (h Host) way(r transaction.Record) (p transaction.Program, action, closure string) {
	if h.Program.Kind == Custom && len(h.Program.Rollback) > 0 {
		return h.Program, rollback, r.New
	}
	p = h.Program
	if by := transaction.Deployment(h.Store.History(), r.Previous.Running); by != nil && by.Program != nil {
		p = *by.Program
		p.Rollback = nil
	}
	return p, activate, r.Previous.Running
}

// unlinkAll removes the links of a home that lead into a generation's files.
const unlinkAll = `set -e
files=$(readlink -f "$1/home-files")
cd "$files"
find . ! -type d | while IFS= read -r name; do
	at=$(readlink "$HOME/$name") || continue
	case "$at" in "$files"/*|"$1"/home-files/*) rm -f "$HOME/$name";; esac
done
`

// unlink takes back the first generation of a home: there is none before it that
// could be activated, and the links into it are what it has made.
func (h Host) unlink(ctx context.Context, generation string) error {
	if !isDir(filepath.Join(generation, "home-files")) {
		return fmt.Errorf("%s has no home-files, and there was no generation before it; what it has changed stays", generation)
	}
	return h.owner.run(ctx, h.Manager(), "/bin/sh", "-c", unlinkAll, "hdeploy", generation)
}
