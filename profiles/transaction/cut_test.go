package transaction

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// fixed is a file system on which nothing can be made below a directory while it
// is read-only.
type fixed struct {
	atomicfile.FS
	dir      string
	readOnly *atomic.Bool
}

func (f fixed) OpenFile(name string, flag int, mode fs.FileMode) (atomicfile.File, error) {
	if f.readOnly.Load() && flag&os.O_CREATE != 0 && strings.HasPrefix(name, f.dir+"/") {
		return nil, syscall.EROFS
	}
	return f.FS.OpenFile(name, flag, mode)
}

// The new system mounts /var/lib read-only, which shows only after its boot.
func TestSystemBootedOnceThatCannotWriteItsStateIsTakenBack(t *testing.T) {
	b := newBootable(t)
	var readOnly atomic.Bool
	b.Store.FS = fixed{atomicfile.OS, b.Store.Dir, &readOnly}
	b.begin()
	b.awaitRestart()
	readOnly.Store(true)
	boot := func(system, id string) {
		b.kill()
		_ = b.supervised() // it ends with the boot
		b.host.run(system)
		b.host.armed = false
		if err := os.RemoveAll(filepath.Join(b.Store.Run, "abcd1234")); err != nil {
			t.Fatal(err)
		}
		b.clock.reboot(id)
	}
	b.host.supervise = func(context.Context, Record) error { b.supervise(); return nil }
	boot(newPath, "boot-2")
	if _, launched, err := b.Resume(b.ctx()); err != nil || !launched {
		t.Fatalf("nobody watches over it: %v", err)
	}
	b.untilJudged()
	b.clock.advance(2 * limits.Total())
	b.awaitRestart()
	boot(oldPath, "boot-3")
	if err := os.Remove(filepath.Join(b.Store.Run, recordFile)); err != nil {
		t.Fatal(err)
	}
	readOnly.Store(false)
	if _, _, err := b.Resume(b.ctx()); err != nil {
		t.Fatal(err)
	}
	b.untilState(RolledBack)
	b.on(oldPath)
}

// The new system is what ran, or what was to boot, before: that it booted after a
// power cut in the commit still means that the commit is finished.
func TestCommitOfWhatWasThereBeforeIsFinishedAfterARestart(t *testing.T) {
	at := func(number int, link, path string) profiles.Generation {
		return profiles.Generation{Number: number, Link: link, Path: path}
	}
	for name, previous := range map[string]Previous{
		"a switch to what was staged": {Running: oldPath, Profile: at(13, "system-13-link", newPath), Newest: 13, Boots: newPath},
		"a switch to what was tested": {Running: newPath, Profile: at(12, "system-12-link", oldPath), Newest: 12, Boots: oldPath},
		"a rollback from what waits":  {Running: newPath, Profile: at(13, "system-13-link", elsePath), Newest: 13, Boots: elsePath},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.put(Committing, func(now *Record) { now.Previous = previous })
			r.host.run(newPath)
			r.host.at, r.host.boots = at(14, "system-14-link", newPath), newPath
			if previous.Profile.Path == newPath {
				r.host.at = previous.Profile
			}
			r.clock.reboot("boot-2")
			got, err := r.settle()
			if err != nil || got.State != Committed {
				t.Fatalf("settled as %+v, %v", got, err)
			}
			r.on(newPath)
		})
	}
}
