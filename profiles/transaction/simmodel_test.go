package transaction

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// slot is the place of a process; at most one runs in each.
type slot int8

const (
	supervisor slot = iota
	deadMan
	annsAgent
	bobsAgent
	// nextAgent is the first call after a boot, lastAgent one when all is quiet.
	// They only look at the host: they settle.
	nextAgent
	lastAgent
	slots
)

func (s slot) String() string {
	return [...]string{"supervisor", "dead-man", "ann", "bob", "next", "last"}[s]
}

// phase is how far a switch is.
type phase uint8

const (
	noSwitch phase = iota
	begun
	effective // what it was started for has happened
	exited0
	exited1
)

// unit is a run of switch-to-configuration.
type unit struct {
	phase  phase
	action byte // the first letter of test, boot or switch
	system int8
}

var unitRoles = [...]string{"activation", "commit", "rollback"}

// world is a state of the simulation: a host with its processes, the bounds that
// are left, and what was said so far.
type world struct {
	disk int32
	// proc are what the processes remember, by the interned of memories: 0 where
	// none was started in this boot, ended where it is over.
	proc    [slots]int32
	units   [2][3]unit
	running int8
	// agent is the system whose agent runs, which an activation leaves alone.
	agent int8
	// holder is who holds the lock of switch-to-configuration, from 1.
	holder int8
	// due is when the timer of each dead-man's switch acts, in hours; 0 is never.
	due [2]int8
	// resort says that the last resort was asked for, and then that it has acted.
	resort int8
	now    int8
	boot   int8
	// crashes, faults and delays may still happen.
	crashes, faults, late int8
	// called is how many interruptions there had been when the last agent called.
	called int8

	// What was seen in any of the boots: transactions that began, that were
	// confirmed, and how they ended.
	started, confirmed [2]bool
	// byItself says that the host confirmed the first one, refuted that it heard what
	// forbids that.
	byItself, refuted bool
	final             [2]State8
}

const (
	ended  int32 = -1
	failed int32 = -2 // it ended with an error
)

// State8 is a final state's number, from 1.
type State8 int8

func stateNumber(s State) State8 {
	for i, known := range States {
		if s == known && s.Final() {
			return State8(i + 1)
		}
	}
	return 0
}

// request is an operation that a process waits for.
type request struct {
	op      int32
	quiet   bool
	driving bool
	// dead says that the context has ended with which it was asked for.
	dead bool
	// until is when a wait ends, in hours; 0 where it has no end.
	until int8
}

// memory is what a process remembers, and so what it does next.
type mind struct {
	role     role
	parent   int32
	answered int
	result   int32
	requests []request
	done     bool
	failed   bool
	// touched says that it may have changed what others can see.
	touched bool
	// loop is the memory to which a wait returns that found nothing.
	loop int32
}

type answerKey struct {
	memory  int32
	request int
	result  int32
}

type diskKey struct {
	disk, op int32
	process  slot
}

type diskResult struct {
	disk, result int32
	ok           bool
}

// model is the simulation.
//
// It visits fewer states than there are, and misses none that matters:
//
//   - Operations that commute with what all others can do follow at once: see
//     [process.quiet]. A power cut is tried after each of them all the same.
//   - What a process remembers is one where it is known to depend on the same: see
//     [process.log], [process.looked] and [process.enter]. A wait that found nothing
//     is back where it began.
//   - A record is kept without what nothing decides by: see [model.decisive].
//   - Where no crash is left, what is durable makes no difference: see
//     [model.settled]. Crashes that leave equal disks are one.
//   - Temporary files of processes that have ended are dropped, but for roots.
//   - To kill an agent that has only looked, or that waits for its deployer, is the
//     same as that it never called, or is never told: see [model.killable].
//   - Who settles goes on at any moment where the real one would look until the end:
//     that is more than can happen. With no crashes the real one runs.
//   - The second transaction is followed while something of the first is there; alone
//     it is the first one again: see [model.over].
//
// The fields are its bounds, what is broken in it on purpose, and what
// was found out so far.
type model struct {
	crashes, faults, late int8
	// second lets the second deployer call; watched lets who settles watch.
	second, watched bool
	// alone says that the host decides by itself.
	alone bool
	// plan is what the first deployer asks for, beyond a switch.
	plan Plan
	// calls are what the second deployer may call for.
	calls string
	// repeats says that the states without the second deployer are another
	// model's too, and not to be counted twice.
	repeats bool
	// progress is told before each layer.
	progress func(*walk)
	// keepAll keeps every state for a second look.
	keepAll bool
	wall    func(boot int, now Instant) time.Time

	// What tests break: the file system, the host, what it proves, the action of a trial, and the
	// sync of the boot loader's files.
	fs       func(*process) atomicfile.FS
	host     func(*process) Host
	prover   func(*process) Prover
	trial    string
	syncBoot bool

	texts    interned[string]
	ops      interned[op]
	memories []mind
	answers  map[answerKey]int32
	// live are processes that wait, by what they remember.
	live    map[int32]*process
	heads   map[string]int32
	roots   map[role]int32
	disks   []*disk
	diskIDs map[[sha256.Size]byte]int32
	done    map[diskKey]diskResult
	crashed map[int32][]int32
	settles map[int32]int32
	records map[string]*Record
	facts   map[int32]facts
	// verbose says that steps are to be told in full.
	verbose bool
	// runs counts how often real code was run to find out what it does.
	runs int
}

// interned gives values interned, the same to equal ones.
type interned[T comparable] struct {
	of     map[T]int32
	values []T
}

func (n *interned[T]) number(value T) int32 {
	if i, ok := n.of[value]; ok {
		return i
	}
	if n.of == nil {
		n.of = map[T]int32{}
	}
	i := int32(len(n.values))
	n.of[value] = i
	n.values = append(n.values, value)
	return i
}

func newModel() *model {
	return &model{
		wall:   func(int, Instant) time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
		fs:     func(p *process) atomicfile.FS { return simFS{p} },
		host:   func(p *process) Host { return simHost{p} },
		prover: func(p *process) Prover { return simProver{simHost{p}} },
		trial:  "test", syncBoot: true, calls: "deploy repeat confirm abort",
		memories: make([]mind, 1),
		answers:  map[answerKey]int32{}, live: map[int32]*process{}, heads: map[string]int32{}, roots: map[role]int32{},
		disks: make([]*disk, 1), diskIDs: map[[sha256.Size]byte]int32{}, done: map[diskKey]diskResult{}, crashed: map[int32][]int32{}, settles: map[int32]int32{},
		records: map[string]*Record{}, facts: map[int32]facts{},
	}
}

// first is a host that runs, keeps and boots the old system.
func (m *model) first() world {
	d := &disk{files: map[string]int{}, durable: map[string]int{}, locks: map[string]int{}}
	for name, target := range map[string]string{
		simProfiles + "/system-12-link": simSystems[0],
		simProfile:                      "system-12-link",
		simDefault:                      simSystems[0],
	} {
		d.create(name, inode{target, []string{target}})
	}
	d.syncDir(simProfiles)
	d.syncDir(simBoot)
	return world{disk: m.diskNumber(d), crashes: m.crashes, faults: m.faults, late: m.late, boot: 1}
}

func (m *model) diskNumber(d *disk) int32 {
	text := sha256.Sum256([]byte(d.canonical()))
	if i, ok := m.diskIDs[text]; ok {
		return i
	}
	i := int32(len(m.disks))
	m.disks = append(m.disks, d)
	m.diskIDs[text] = i
	return i
}

// does carries out an operation of the disk.
func (m *model) does(disk, o int32, process slot) diskResult {
	key := diskKey{disk, o, process}
	if r, ok := m.done[key]; ok {
		return r
	}
	d := m.disks[disk].clone()
	text, ok := d.does(m.ops.values[o], int(process))
	r := diskResult{disk: m.diskNumber(d), result: m.texts.number(text), ok: ok}
	m.done[key] = r
	return r
}

// change changes the disk by the host's own doing.
func (m *model) change(disk int32, process slot, ops ...op) int32 {
	for _, o := range ops {
		disk = m.does(disk, m.ops.number(o), process).disk
	}
	return disk
}

// drop ends the locks of a process.
func (m *model) drop(disk int32, process slot) int32 {
	return m.change(disk, process, op{verb: opExit})
}

// settled is a disk of which power is not cut any more: what is durable makes no
// difference then.
func (m *model) settled(disk int32) int32 {
	if to, ok := m.settles[disk]; ok {
		return to
	}
	d := m.disks[disk].clone()
	d.keepAll()
	to := m.diskNumber(d)
	m.settles[disk] = to
	return to
}

// afterCrash lists the disks that a power cut can leave.
func (m *model) afterCrash(disk int32) []int32 {
	if outcomes, ok := m.crashed[disk]; ok {
		return outcomes
	}
	var outcomes []int32
	seen := map[int32]bool{}
	for _, d := range m.disks[disk].crash() {
		if i := m.diskNumber(d); !seen[i] {
			seen[i] = true
			outcomes = append(outcomes, i)
		}
	}
	m.crashed[disk] = outcomes
	return outcomes
}

// root is the memory of a process that begins.
func (m *model) root(r role) int32 {
	if i, ok := m.roots[r]; ok {
		return i
	}
	p := start(m, r)
	m.runs++
	i := m.remember(p, mind{role: r})
	m.keep(i, p)
	m.roots[r] = i
	return i
}

// next is the memory of a process whose i-th request got a result.
func (m *model) next(from int32, i int, result int32) int32 {
	key := answerKey{from, i, result}
	if to, ok := m.answers[key]; ok {
		return to
	}
	p, alive := m.live[from]
	if alive {
		delete(m.live, from)
	} else {
		p = m.replay(from)
	}
	before := m.memories[from]
	o := m.ops.values[before.requests[i].op]
	p.answer(i, m.texts.values[result])
	mem := mind{role: before.role, parent: from, answered: i, result: result, loop: before.loop, touched: before.touched || !o.verb.looks()}
	if o.verb == opWait && !before.requests[i].dead {
		mem.loop = from
	}
	to := m.remember(p, mem)
	m.keep(to, p)
	m.answers[key] = to
	return to
}

// keep lets a process wait where it is, since most have one way to go on.
func (m *model) keep(i int32, p *process) {
	const enough = 20_000
	if i < 0 || m.live[i] != nil || len(m.live) >= enough {
		p.stop()
		return
	}
	m.live[i] = p
}

// replay runs a process until it has a memory again.
func (m *model) replay(to int32) *process {
	var path []int32
	for i := to; m.memories[i].parent != 0; i = m.memories[i].parent {
		path = append(path, i)
	}
	m.runs++
	p := start(m, m.memories[to].role)
	for k := len(path) - 1; k >= 0; k-- {
		mem := m.memories[path[k]]
		p.waiting()
		p.answer(mem.answered, m.texts.values[mem.result])
	}
	p.waiting()
	return p
}

// remember gives what a process remembers now a number. Two histories are one
// where a loop came back to its beginning with nothing but what it reads anew.
func (m *model) remember(p *process, mem mind) int32 {
	var text strings.Builder
	for _, c := range p.waiting() {
		r := request{op: m.ops.number(c.op), quiet: c.quiet, driving: p.driving, dead: c.ctx != nil && c.ctx.Err() != nil}
		if c.op.verb == opWait && r.dead {
			r.quiet = true // it only ends
		}
		if c.op.verb == opWait {
			until, _ := strconv.Atoi(c.op.path)
			r.until = int8(until)
		}
		mem.requests = append(mem.requests, r)
		text.WriteString(c.op.String())
		if r.dead {
			text.WriteString(" dead")
		}
	}
	mem.done, mem.failed = p.done, p.err != nil
	if p.done {
		if p.err != nil {
			return failed
		}
		return ended
	}
	if mem.loop != 0 && same(mem.requests, m.memories[mem.loop].requests) {
		return mem.loop
	}
	if p.watching == 0 {
		mem.loop = 0
	}
	head := ""
	if p.head != "" {
		head = fmt.Sprint(p.head, text.String(), mem.touched)
		if i, ok := m.heads[head]; ok {
			return i
		}
	}
	i := int32(len(m.memories))
	m.memories = append(m.memories, mem)
	if head != "" {
		m.heads[head] = i
	}
	return i
}

func same(a, b []request) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// facts are what a disk says.
type facts struct {
	record               *Record // nil where there is none, or none that can be read
	damaged              bool
	profile, link, boots string
	once                 string
	roots, open, locks   []string
}

func (m *model) look(disk int32) facts {
	if f, ok := m.facts[disk]; ok {
		return f
	}
	d := m.disks[disk]
	var f facts
	if text, ok := d.read(simLib + "/" + recordFile); ok {
		f.record = m.record(text)
		f.damaged = f.record == nil
	}
	f.link, _ = d.read(simProfile)
	f.profile, _ = d.read(simProfiles + "/" + f.link)
	f.boots, _ = d.read(simDefault)
	f.once, _ = d.read(simOnce)
	f.roots = d.list(simRoots)
	for _, id := range simIDs {
		if _, ok := d.read(openFile(id)); ok {
			f.open = append(f.open, id)
		}
	}
	for name := range d.locks {
		f.locks = append(f.locks, name)
	}
	m.facts[disk] = f
	return f
}

func (m *model) record(text string) *Record {
	if r, ok := m.records[text]; ok {
		return r
	}
	var r Record
	parsed := &r
	if json.Unmarshal([]byte(text), &r) != nil || r.validate() != nil {
		parsed = nil
	}
	m.records[text] = parsed
	return parsed
}

func system(name string) int8 {
	for i, s := range simSystems {
		if s == name {
			return int8(i)
		}
	}
	return -1
}
