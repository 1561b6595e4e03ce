package transaction

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// A simulated process runs the real code of the engine in goroutines of its own.
// Each operation that others can see stops it until the simulation gives the
// result. What it does next depends on nothing but its results so far: so it is
// run only to find that out, once for every such history, and the simulation
// walks over what was found.

// call is an operation that a process waits for.
type call struct {
	op op
	// quiet operations commute with everything that other processes can do in
	// the meantime, see [process.quiet]: nobody needs to be let in before them.
	quiet bool
	ctx   context.Context
	reply chan string
}

// process is one run of a process.
type process struct {
	model *model
	role  role
	ctx   context.Context
	end   context.CancelFunc

	mu      sync.Mutex
	pending []*call
	over    bool
	// locked says that the store's lock is held; watching counts what waits for
	// a change; driving says that a step changes the host.
	locked   bool
	watching int
	driving  bool
	// claims are the locks that show that it acts.
	claims []string
	now    Instant
	// stage is what the program does, head what its code remembers, where that is
	// known: see [process.log].
	stage, head string
	done        bool
	err         error
}

// role is which process it is.
type role struct {
	slot slot
	boot int
}

// start runs a process until it waits or ends.
func start(m *model, r role) *process {
	p := &process{model: m, role: r}
	p.ctx, p.end = context.WithCancel(context.Background())
	go func() {
		err := m.program(p)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done, p.err = true, err
	}()
	synctest.Wait()
	return p
}

// stop ends the goroutines of a process, wherever they are.
func (p *process) stop() {
	p.mu.Lock()
	p.over = true
	waiting := p.pending
	p.pending = nil
	p.mu.Unlock()
	p.end()
	for _, c := range waiting {
		close(c.reply)
	}
	synctest.Wait()
}

// answer gives the i-th operation its result and runs the process on.
func (p *process) answer(i int, result string) {
	p.mu.Lock()
	c := p.pending[i]
	p.pending = slices.Delete(p.pending, i, i+1)
	p.head = ""
	p.mu.Unlock()
	c.reply <- result
	synctest.Wait()
}

// waiting are the operations that a process waits for, in an order that depends
// on them alone.
func (p *process) waiting() []*call {
	slices.SortFunc(p.pending, func(a, b *call) int { return strings.Compare(a.op.String(), b.op.String()) })
	return p.pending
}

func (p *process) do(ctx context.Context, verb verb, name, arg string) string {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		runtime.Goexit()
	}
	o := op{verb, name, arg}
	c := &call{op: o, quiet: p.quiet(o), ctx: ctx, reply: make(chan string)}
	p.pending = append(p.pending, c)
	p.mu.Unlock()
	result, ok := <-c.reply
	if !ok {
		runtime.Goexit()
	}
	return result
}

// ask does an operation that waits for nothing but the simulation.
func (p *process) ask(verb verb, name, arg string) string {
	return p.do(context.Background(), verb, name, arg)
}

// quiet says that an operation commutes with what any other process can do at
// this point, so that nothing is lost if it follows the one before at once. A
// power cut is tried after each all the same.
//
//   - Temporary files are their writer's alone, and a sync changes only what a
//     power cut leaves.
//   - Freeing a lock only lets others do more.
//   - The clock differs only after time passed, and then it can have passed
//     before the operation that came before.
//   - Under the store's lock the record is read and written by nobody else, and
//     who reads it without the lock sees the one before or the one after.
//   - The copy of the record in /run is never there: the disk is never full.
//   - A root is made, and the way back opened, before anybody can remove it, or in
//     an order with the removal that does not depend on the operation before.
//   - The history is only written, each file with the same text by whoever does; what
//     a transaction's number is follows from the last record too.
//   - A second deployer who was refused finds no record of its own and removes its
//     root, which nobody else knows of.
//   - Who waits for a change only ends the wait by what it reads, and a state
//     that was left and an instant that has passed stay so.
func (p *process) quiet(o op) bool {
	if path.Dir(o.path) == simHistory || o.path == simHistory || p.stage == "refused" {
		return true
	}
	switch o.verb {
	case opCreate, opWrite, opSync, opSyncDir, opNow, opUnlock, opFreeSwitch:
		return true
	case opLink:
		return temporary(o.path)
	case opRename:
		return p.locked || path.Dir(o.arg) == simRoots || path.Base(o.arg) == "open"
	case opRead, opList, opRemove, opRemoveAll:
		return p.locked || o.path == simRun+"/"+recordFile || p.watching > 0 && path.Base(o.path) == recordFile
	default:
		return false
	}
}

// simFS is the simulated file system as a process sees it.
type simFS struct{ *process }

// temporary says whether a file is one that will be renamed.
func temporary(name string) bool { return path.Base(name)[0] == '.' }

// own names a temporary file by its writer instead of at random, so that equal
// states are equal.
func (p *process) own(name string) string {
	if !temporary(name) {
		return name
	}
	dir, base := path.Split(name)
	return dir + base[:strings.LastIndexByte(base, '.')+1] + p.role.slot.String()
}

var simDirs = []string{simLib, simHistory, simRun, simProfiles, simRoots, simBoot}

func (s simFS) OpenFile(name string, flag int, _ fs.FileMode) (atomicfile.File, error) {
	name = s.own(name)
	f := &simFile{process: s.process, name: name}
	switch {
	case slices.Contains(simDirs, name) || path.Dir(name) == simRun && path.Ext(name) == "" && path.Base(name) != "lock":
		f.dir = true
	case temporary(name):
		s.ask(opCreate, name, "")
	case flag&os.O_RDWR == 0 && flag&os.O_CREATE == 0:
		data, there := strings.CutPrefix(s.ask(opRead, name, ""), "=")
		if !there {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		f.Reader = strings.NewReader(data)
		if name == simLib+"/"+recordFile {
			s.looked(data)
		}
	}
	return f, nil
}

func (s simFS) MkdirAll(string, fs.FileMode) error { return nil }
func (s simFS) Symlink(target, name string) error {
	s.ask(opLink, s.own(name), target)
	return nil
}
func (s simFS) Rename(from, to string) error { return s.found(s.ask(opRename, s.own(from), to)) }
func (s simFS) Remove(name string) error     { return s.found(s.ask(opRemove, s.own(name), "")) }
func (s simFS) RemoveAll(name string) error  { s.ask(opRemoveAll, name, ""); return nil }

func (s simFS) found(result string) error {
	if result == absent {
		return fs.ErrNotExist
	}
	return nil
}

func (s simFS) ReadDir(dir string) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	for _, name := range strings.Fields(s.ask(opList, dir, "")) {
		entries = append(entries, simEntry(name))
	}
	return entries, nil
}

func (s simFS) Watch(...string) atomicfile.Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching++
	return simChanges(s)
}

// simEntry is an entry of a directory; that of a directory ends with a slash.
type simEntry string

func (e simEntry) Name() string               { return strings.TrimSuffix(string(e), "/") }
func (e simEntry) IsDir() bool                { return strings.HasSuffix(string(e), "/") }
func (e simEntry) Type() fs.FileMode          { return 0 }
func (e simEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrInvalid }

type simChanges struct{ *process }

// Wait may end at any moment, as the real one does after a quarter of a second.
func (s simChanges) Wait(ctx context.Context, d time.Duration) {
	until := ""
	if d > time.Second { // less is a pause, not a deadline
		s.mu.Lock()
		until = strconv.Itoa(int(s.process.now.Add(d) / simHour))
		s.mu.Unlock()
	}
	s.do(ctx, opWait, until, "")
}

func (s simChanges) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching--
}

type simFile struct {
	*process
	io.Reader
	name          string
	dir           bool
	locks, claims bool
}

func (f *simFile) Write(data []byte) (int, error) {
	f.ask(opWrite, f.name, f.model.decisive(data))
	return len(data), nil
}

// decisive leaves out of a record what nothing decides by, so that fewer states
// differ: the words of a reason, what is written for people only, and instants
// that are read in one state alone in all the others. The timer is armed by the
// copy in memory. A sequence is only read by who watches.
func (m *model) decisive(data []byte) string {
	var r Record
	if json.Unmarshal(data, &r) != nil || r.validate() != nil {
		return string(data)
	}
	r.Steps, r.Notes, r.Results, r.DeployerResults, r.Cause, r.ExitCode, r.Boots, r.Generation = nil, nil, nil, nil, "", 0, "", profiles.Generation{}
	if r.Reason != "" {
		r.Reason = "it failed"
	}
	if r.State != Prepared && r.State != Trying {
		r.ActivateBy = 0
	}
	if r.State != Waiting {
		r.ConfirmBy = 0
	}
	if r.State != Committing {
		r.CommitBy = min(r.CommitBy, 1)
	}
	if r.Action != Reboot {
		r.DeadMan = 0
	}
	if !m.watched {
		r.Sequence = 1
	}
	text, _ := json.Marshal(r)
	return string(text)
}

func (f *simFile) Sync() error {
	if f.dir {
		f.ask(opSyncDir, f.name, "")
	} else {
		f.ask(opSync, f.name, "")
	}
	return nil
}

func (f *simFile) Chmod(fs.FileMode) error { return nil }

// Allocate has nothing to reserve: the simulated disk is never full.
func (f *simFile) Allocate(int64) error { return nil }

func (f *simFile) Lock() error {
	f.ask(opLock, f.name, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks, f.locked = true, true
	return nil
}

func (f *simFile) Claim() error {
	if f.ask(opClaim, f.name, "") == busy {
		return syscall.EAGAIN
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims = true
	f.process.claims = append(f.process.claims, f.name)
	return nil
}

func (f *simFile) Claimed() (bool, error) { return f.ask(opClaimed, f.name, "") == yes, nil }

func (f *simFile) Close() error {
	if !f.locks && !f.claims {
		return nil
	}
	f.ask(opUnlock, f.name, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks {
		f.locked = false
	} else {
		f.process.claims = slices.DeleteFunc(f.process.claims, func(name string) bool { return name == f.name })
	}
	return nil
}

// simClock is the clock as a process reads it.
type simClock struct{ *process }

func (c simClock) Now() Instant {
	var now Instant
	fmt.Sscan(c.ask(opNow, "", ""), &now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process.now = now
	return now
}

func (c simClock) BootID() string { return fmt.Sprintf("boot-%d", c.role.boot) }

func (c simClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.model.wall(c.role.boot, c.process.now)
}

// log is told a record each time that a driver has read it. There the driver
// remembers nothing else but its claims: histories that lead here are one.
func (p *process) log(r Record) {
	if caller, _, _, _ := runtime.Caller(1); !strings.HasSuffix(runtime.FuncForPC(caller).Name(), ".drive") {
		return // only tells of something
	}
	var text bytes.Buffer
	_ = json.NewEncoder(&text).Encode(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.head = fmt.Sprintf("%v %s %v %s", p.role, p.stage, p.claims, text.String())
}

// looked is told a record that was read without the lock. The dead-man's switch,
// and who settles, keep of it what is in the head, and read the rest anew; but for
// a final one, which is cleaned up after as it was read.
func (p *process) looked(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	settles := strings.HasPrefix(p.stage, "settle")
	drives := slices.ContainsFunc(p.claims, func(name string) bool { return path.Base(name) != starterLock })
	if p.locked || p.watching > 0 || drives || p.role.slot != deadMan && !settles {
		return
	}
	r := p.model.record(text)
	if r == nil || r.State.Final() && settles {
		return
	}
	p.head = fmt.Sprintf("%v %s %v %s %s %v %v", p.role, p.stage, p.claims, r.ID, r.BootID, r.Restarted, r.State.Final())
}

// enter says that the program begins something for which it remembers nothing.
func (p *process) enter(stage string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = stage
	p.head = fmt.Sprintf("%v %s %v", p.role, p.stage, p.claims)
}
