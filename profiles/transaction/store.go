package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

const (
	// StateDir survives a power cut.
	StateDir = "/var/lib/hdeploy"
	// RunDir lives as long as a boot.
	RunDir = "/run/hdeploy"

	recordFile  = "transaction.json"
	reserveFile = "reserve"
	reserveSize = 512 << 10
	recordLimit = 4 << 20
)

// Store keeps the one current or last transaction of a host.
//
// Records are written to Dir. Where that is impossible, since the disk is full
// or read-only, they are written to Run instead: a rollback never waits for a
// write, and the next write that works carries everything to Dir.
type Store struct {
	Dir, Run string
	// FS holds both; nil is the file system of this machine.
	FS atomicfile.FS
}

func (s Store) fs() atomicfile.FS {
	if s.FS == nil {
		return atomicfile.OS
	}
	return s.FS
}

// HostStore is the store of this host.
func HostStore() Store { return Store{Dir: StateDir, Run: RunDir} }

// Open makes the store's directories, private to root.
func (s Store) Open() error {
	for _, dir := range []string{s.Run, s.Dir} {
		if err := s.fs().MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("open state: %v", err)
		}
	}
	return nil
}

// Reserve sets the space aside that the records of one transaction need. It
// fails where the disk is full or read-only, before anything was changed.
func (s Store) Reserve() error {
	name := filepath.Join(s.Dir, reserveFile)
	f, err := s.fs().OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve space for the state: %v", err)
	}
	defer f.Close()
	if err := f.Allocate(reserveSize); err != nil {
		return fmt.Errorf("reserve space for the state: %v", err)
	}
	return nil
}

// Load returns the newer of the copies in Dir and Run, nil where there is none.
func (s Store) Load() (*Record, error) {
	disk, diskErr := s.load(filepath.Join(s.Dir, recordFile))
	run, runErr := s.load(filepath.Join(s.Run, recordFile))
	if run != nil && (disk == nil || run.Sequence > disk.Sequence) {
		return run, nil
	}
	if disk != nil {
		return disk, nil
	}
	return nil, errors.Join(diskErr, runErr)
}

func (s Store) load(name string) (*Record, error) {
	r, err := readJSON[Record](s.fs(), name)
	if err == nil && r != nil {
		err = r.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("read transaction %s: %v", name, err)
	}
	return r, nil
}

// readJSON reads one value; nil where there is no file.
func readJSON[T any](files atomicfile.FS, name string) (*T, error) {
	f, err := files.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var v T
	if err := json.NewDecoder(io.LimitReader(f, recordLimit)).Decode(&v); err != nil {
		return nil, err
	}
	return &v, nil
}

// save writes r durably to Dir, or to Run where that fails.
func (s Store) save(r *Record) error {
	r.Sequence++
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write transaction: %v", err)
	}
	name := filepath.Join(s.Dir, recordFile)
	err = atomicfile.WriteOn(s.fs(), name, data, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		_ = s.fs().Remove(filepath.Join(s.Dir, reserveFile))
		err = atomicfile.WriteOn(s.fs(), name, data, 0o600)
	}
	if err == nil {
		return nil
	}
	if r.State == Committing || r.State == Prepared || r.State == Trying && !r.Restarted {
		// These open the way to a change that a reboot must be able to judge. A trial
		// that goes on after its boot opens none: what the disk says of it still holds.
		return fmt.Errorf("write transaction: %v", err)
	}
	if err := atomicfile.WriteOn(s.fs(), filepath.Join(s.Run, recordFile), data, 0o600); err != nil {
		return fmt.Errorf("write transaction: %v", err)
	}
	return nil
}

// locked runs fn under the store's lock, which lives in Run so that a full disk
// cannot keep it from being taken. A holder that hangs is waited for until ctx
// ends.
func (s Store) locked(ctx context.Context, fn func() error) error {
	f, err := s.fs().OpenFile(filepath.Join(s.Run, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock state: %v", err)
	}
	defer f.Close()
	for {
		err := f.Lock()
		if err == nil {
			return fn()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock state: %v", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock state: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// ErrOther says that the store holds another transaction than the one asked for.
var ErrOther = errors.New("not the current transaction")

// update changes the record of transaction id by fn, in one synced write under
// the lock. Where fn fails nothing is written; the record as it stands is
// returned in every case where one could be read.
func (s Store) update(ctx context.Context, id string, fn func(*Record) error) (*Record, error) {
	var result *Record
	err := s.locked(ctx, func() error {
		r, err := s.Load()
		if err != nil {
			return err
		}
		if r == nil || r.ID != id {
			result = r
			return fmt.Errorf("transaction %s: %w", id, ErrOther)
		}
		unchanged := *r
		if err := fn(r); err != nil {
			result = &unchanged
			return err
		}
		if err := s.save(r); err != nil {
			result = &unchanged
			return err
		}
		result = r
		return nil
	})
	return result, err
}

// forget removes what finished transactions left in Run: their logs are kept
// only until the next one.
func (s Store) forget() {
	entries, _ := s.fs().ReadDir(s.Run)
	for _, entry := range entries {
		if entry.IsDir() && ValidID(entry.Name()) {
			_ = s.fs().RemoveAll(filepath.Join(s.Run, entry.Name()))
		}
	}
}

// cleanedFile shows that nothing of a finished transaction is left. A boot takes
// it away, and what power cut off is then cleaned up once more.
const cleanedFile = "cleaned"

func (s Store) markCleaned(id string) error {
	dir := filepath.Join(s.Run, id)
	if err := s.fs().MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("note the cleaning up: %v", err)
	}
	if err := atomicfile.WriteOn(s.fs(), filepath.Join(dir, cleanedFile), nil, 0o600); err != nil {
		return fmt.Errorf("note the cleaning up: %v", err)
	}
	return nil
}

func (s Store) cleaned(id string) bool {
	f, err := s.fs().OpenFile(filepath.Join(s.Run, id, cleanedFile), os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// SaveBaseline keeps what was true on the host before transaction id.
func (s Store) SaveBaseline(id string, b probe.Baseline) error {
	data, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("write baseline: %v", err)
	}
	if err := s.fs().MkdirAll(filepath.Join(s.Run, id), 0o700); err != nil {
		return fmt.Errorf("write baseline: %v", err)
	}
	if err := atomicfile.WriteOn(s.fs(), filepath.Join(s.Run, id, "baseline.json"), data, 0o600); err != nil {
		return fmt.Errorf("write baseline: %v", err)
	}
	return nil
}

// LoadBaseline returns what SaveBaseline kept in this boot.
func (s Store) LoadBaseline(id string) (probe.Baseline, error) {
	var b probe.Baseline
	f, err := s.fs().OpenFile(filepath.Join(s.Run, id, "baseline.json"), os.O_RDONLY, 0)
	if err != nil {
		return b, fmt.Errorf("read baseline: %v", err)
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&b); err != nil {
		return b, fmt.Errorf("read baseline: %v", err)
	}
	return b, nil
}

// Watch calls on with the record of transaction id, first as it is and then
// after every change, until it is final, on returns false, or ctx ends.
func (s Store) Watch(ctx context.Context, id string, on func(Record) bool) error {
	changes := s.fs().Watch(s.Dir, s.Run)
	defer changes.Close()
	var seen uint64
	for ctx.Err() == nil {
		r, err := s.Load()
		if err != nil {
			return err
		}
		if r == nil || r.ID != id {
			return fmt.Errorf("transaction %s: %w", id, ErrOther)
		}
		if r.Sequence != seen {
			seen = r.Sequence
			if !on(*r) || r.State.Final() {
				return nil
			}
		}
		changes.Wait(ctx, time.Second)
	}
	return ctx.Err()
}
