package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// belowFile is a directory that can never be made, not even by root.
func belowFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(file, "state")
}

func writeRecord(t *testing.T, dir string, r *Record) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	// A second process that counts in the record, for the test of the lock.
	if root := os.Getenv("TRANSACTION_COUNT_IN"); root != "" {
		if err := count(rootStore(root), 20); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A process in a mount namespace of its own, with a full disk.
	if root := os.Getenv("TRANSACTION_FULL_DISK"); root != "" {
		os.Exit(onFullDisk(root))
	}
	os.Exit(m.Run())
}

func rootStore(root string) Store {
	return Store{Dir: filepath.Join(root, "lib"), Run: filepath.Join(root, "run")}
}

func count(s Store, times int) error {
	for range times {
		_, err := s.update(context.Background(), id, func(r *Record) error {
			n, _ := strconv.Atoi(r.Revision)
			r.Revision = strconv.Itoa(n + 1)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestNoUpdateIsLostBetweenProcesses(t *testing.T) {
	root := t.TempDir()
	s := rootStore(root)
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if err := s.save(&Record{ID: id, State: Waiting}); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TRANSACTION_COUNT_IN="+root)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := count(s, 20); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if err != nil || got.Revision != "60" || got.Sequence != 61 {
		t.Errorf("counted %+v, %v; want 60", got, err)
	}
}

func TestTheLockIsWaitedForOnlyAsLongAsAsked(t *testing.T) {
	s := newRig(t).Store
	held, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.locked(context.Background(), func() error { close(held); <-release; return nil })
	}()
	<-held
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.locked(ctx, func() error { t.Error("two hold the lock"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.locked(context.Background(), func() error { return nil }); err != nil {
		t.Errorf("the lock is not given back: %v", err)
	}
}

func TestOpenMakesPrivateDirectories(t *testing.T) {
	s := rootStore(filepath.Join(t.TempDir(), "a", "b"))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.Dir, s.Run} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if err := (Store{Dir: belowFile(t), Run: s.Run}).Open(); err == nil {
		t.Error("no error where the directory cannot be made")
	}
}

func TestAReaderNeverSeesAHalfRecord(t *testing.T) {
	s := newRig(t).Store
	r := &Record{ID: id, State: Waiting, Notes: []string{strings.Repeat("x", 100_000)}}
	if err := s.save(r); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for last := uint64(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			got, err := s.Load()
			if err != nil || got == nil || len(got.Notes[0]) != 100_000 || got.Sequence < last {
				t.Errorf("read %v, %v", got != nil, err)
				return
			}
			last = got.Sequence
		}
	})
	for range 60 {
		if err := s.save(r); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != recordFile {
		t.Errorf("left %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(s.Dir, recordFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWhereTheDiskCannotBeWritten(t *testing.T) {
	for _, s := range States {
		t.Run(string(s), func(t *testing.T) {
			store := newRig(t).Store
			store.Dir = belowFile(t)
			err := store.save(&Record{ID: id, State: s})
			opensTheWay := s == Prepared || s == Trying || s == Committing
			if opensTheWay != (err != nil) {
				t.Fatalf("save: %v", err)
			}
			got, err := store.Load()
			if opensTheWay {
				if got != nil {
					t.Errorf("recorded in %s only in /run", s)
				}
				return
			}
			if err != nil || got == nil || got.State != s {
				t.Errorf("load: %v, %v", got, err)
			}
		})
	}
}

func TestTheNextWriteThatWorksCarriesEverythingBack(t *testing.T) {
	s := newRig(t).Store
	broken := s
	broken.Dir = belowFile(t)
	r := &Record{ID: id, State: Waiting}
	if err := s.save(r); err != nil { // to the disk
		t.Fatal(err)
	}
	r.State = RollingBack
	if err := broken.save(r); err != nil { // to Run
		t.Fatal(err)
	}
	if got, err := s.Load(); err != nil || got.State != RollingBack || got.Sequence != 2 {
		t.Fatalf("the newer copy is in Run: got %+v, %v", got, err)
	}
	if _, err := s.update(context.Background(), id, func(r *Record) error { return r.apply(RestoreDone) }); err != nil {
		t.Fatal(err)
	}
	if got, err := s.load(filepath.Join(s.Dir, recordFile)); err != nil || got.State != RolledBack || got.Sequence != 3 {
		t.Errorf("on the disk: %+v, %v", got, err)
	}
	if got, err := s.Load(); err != nil || got.State != RolledBack {
		t.Errorf("the old copy in Run wins: %+v, %v", got, err)
	}
}

func TestANewTransactionIsNewerThanEveryOldCopy(t *testing.T) {
	r := newRig(t)
	r.put(RolledBack, func(r *Record) { r.Sequence = 40 })
	if data, err := os.ReadFile(filepath.Join(r.Store.Dir, recordFile)); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(filepath.Join(r.Store.Run, recordFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	plan := r.plan()
	plan.ID = "efgh5678"
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.ID != plan.ID || got.Sequence <= 41 {
		t.Errorf("got %s with %d", got.ID, got.Sequence)
	}
}

func TestLoadOfDamagedRecords(t *testing.T) {
	good := `{"sequence":3,"id":"abcd1234","state":"waiting"}`
	for _, c := range []struct {
		name, disk, run string
		want            State
		bad             bool
	}{
		{name: "none"},
		{name: "disk", disk: good, want: Waiting},
		{name: "run only", run: good, want: Waiting},
		{name: "damaged disk, good run", disk: "{", run: good, want: Waiting},
		{name: "good disk, damaged run", disk: good, run: `{"sequence":9`, want: Waiting},
		{name: "empty file", disk: "", run: "", bad: false},
		{name: "damaged", disk: "{", bad: true},
		{name: "not a record", disk: `[1,2]`, bad: true},
		{name: "nothing in it", disk: `null`, bad: true},
		{name: "unknown state", disk: `{"sequence":3,"id":"abcd1234","state":"bogus"}`, bad: true},
		{name: "too long", disk: `{"id":"` + strings.Repeat("x", recordLimit) + `"}`, bad: true},
		{name: "newer run", disk: good, run: `{"sequence":4,"id":"abcd1234","state":"rolling-back"}`, want: RollingBack},
		{name: "older run", disk: good, run: `{"sequence":2,"id":"abcd1234","state":"rolling-back"}`, want: Waiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRig(t).Store
			for dir, text := range map[string]string{s.Dir: c.disk, s.Run: c.run} {
				if text != "" {
					if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := s.Load()
			if c.bad != (err != nil) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if c.want == "" && got != nil || c.want != "" && (got == nil || got.State != c.want) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestReserveSetsSpaceAside(t *testing.T) {
	s := newRig(t).Store
	for range 2 {
		if err := s.Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(s.Dir, reserveFile))
	if err != nil || info.Size() != reserveSize || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks*512 < reserveSize {
		t.Errorf("only %d bytes are really there", blocks*512)
	}
	s.Dir = belowFile(t)
	if err := s.Reserve(); err == nil {
		t.Error("reserved where nothing can be written")
	}
}

// The reserve is what lets a decision be recorded on a disk that filled up in
// the middle of a trial. It needs a small file system; where the system allows
// nobody to mount one, there is nothing to be seen and the test says so.
func TestTheReserveIsSpentOnAFullDisk(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TRANSACTION_FULL_DISK="+t.TempDir())
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	child.SysProcAttr = attr
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() != cannotMount:
		t.Errorf("%s", out)
	default:
		t.Logf("no file system of its own on this machine: %v", err)
	}
}

const cannotMount = 77

// onFullDisk commits on a tmpfs of 640 KiB that is filled behind the reserve.
func onFullDisk(root string) int {
	if syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, "") != nil ||
		syscall.Mount("tmpfs", root, "tmpfs", 0, "size=640k") != nil {
		return cannotMount
	}
	s := rootStore(root)
	r := &Record{ID: id, State: Prepared}
	for _, step := range []func() error{s.Open, s.Reserve, func() error { return s.save(r) }, func() error { return fill(root) }} {
		if err := step(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	r.State = Committing
	r.Notes = []string{strings.Repeat("x", 100<<10)}
	if err := s.save(r); err != nil {
		fmt.Println("the decision could not be recorded on the full disk:", err)
		return 1
	}
	got, err := Store{}.load(filepath.Join(s.Dir, recordFile))
	if err != nil || got.State != Committing {
		fmt.Println("on the disk:", got, err)
		return 1
	}
	if err := fill(root); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := s.Reserve(); err == nil {
		fmt.Println("the next transaction reserved what is not there")
		return 1
	}
	return 0
}

// fill writes until nothing more fits.
func fill(root string) error {
	f, err := os.CreateTemp(root, "fill")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestUpdateChangesNothingWhereItFails(t *testing.T) {
	r := newRig(t)
	r.put(Waiting)
	got, err := r.Store.update(r.ctx(), id, func(r *Record) error { r.State = Committed; return errBroken })
	if !errors.Is(err, errBroken) || got == nil || got.State != Waiting || r.load().State != Waiting || r.load().Sequence != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBaselineIsKept(t *testing.T) {
	s := newRig(t).Store
	want := probe.Baseline{BootID: "b", Failed: []string{"x.service"}, Monotonic: 5}
	if err := s.SaveBaseline(id, want); err != nil {
		t.Fatal(err)
	}
	got, err := s.LoadBaseline(id)
	if err != nil || got.BootID != "b" || len(got.Failed) != 1 || got.Monotonic != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(s.Run, id)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := s.LoadBaseline("efgh5678"); err == nil {
		t.Error("loaded a baseline that was never taken")
	}
	s.Run = belowFile(t)
	if err := s.SaveBaseline(id, want); err == nil {
		t.Error("saved where nothing can be written")
	}
}

func TestWatchTellsEveryStateOnceItChanged(t *testing.T) {
	r := newRig(t)
	r.put(Waiting)
	var seen []State
	err := r.Store.Watch(r.ctx(), id, func(now Record) bool {
		seen = append(seen, now.State)
		event := map[State]Event{Waiting: Abort, RollingBack: RestoreDone}[now.State]
		if _, err := r.Store.update(r.ctx(), id, func(r *Record) error { return r.apply(event) }); now.State != RolledBack && err != nil {
			t.Error(err)
		}
		return true
	})
	if err != nil || fmt.Sprint(seen) != "[waiting rolling-back rolled-back]" {
		t.Errorf("saw %v, %v", seen, err)
	}
}

func TestWatchEnds(t *testing.T) {
	r := newRig(t)
	if err := r.Store.Watch(r.ctx(), id, func(Record) bool { return true }); !errors.Is(err, ErrOther) {
		// Nothing recorded: there is nothing to wait for.
		t.Errorf("without a record: %v", err)
	}
	r.put(Waiting)
	if err := r.Store.Watch(r.ctx(), "efgh5678", func(Record) bool { return true }); !errors.Is(err, ErrOther) {
		t.Errorf("another transaction: %v", err)
	}
	if err := r.Store.Watch(r.ctx(), id, func(Record) bool { return false }); err != nil {
		t.Errorf("the watcher has enough: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.Store.Watch(ctx, id, func(Record) bool { cancel(); return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
