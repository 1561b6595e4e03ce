package transaction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// note says what a step was, for whoever reads a schedule.
type note struct {
	what       string
	slot       slot
	op, result int32
	// voluntary steps are those that a deployer may make or not.
	voluntary bool
}

func (m *model) tell(n note) string {
	if n.what != "" {
		return n.what
	}
	o := m.ops.values[n.op]
	text := fmt.Sprintf("%s: %s", n.slot, o)
	if o.verb == opRename && o.arg == simLib+"/"+recordFile {
		text += " (the record)"
	}
	if result := m.texts.values[n.result]; len(result) < 60 && result != "" {
		text += " -> " + result
	}
	return text
}

// visit receives a state that follows another one.
type visit func(world, note)

// outcome is what an operation of a process leads to.
type outcome struct {
	world  world
	result string
}

// steps visits every state that can follow w: whoever can act does, time passes,
// a process is killed, or power is cut in the middle of any of it.
func (m *model) steps(w world, visited visit) {
	if m.over(w) {
		return
	}
	visit := func(w world, n note) {
		if w.crashes == 0 {
			w.disk = m.settled(w.disk)
		}
		visited(w, n)
	}
	for s := range slots {
		if w.proc[s] <= 0 {
			continue
		}
		for i := range m.memories[w.proc[s]].requests {
			m.act(w, s, i, visit)
		}
		if w.crashes > 0 && m.killable(w.proc[s]) {
			k := m.exit(w, s, true)
			k.crashes--
			m.arrive(k, note{what: s.String() + " is killed"}, visit)
		}
	}
	m.surroundings(w, func(w world, n note) { m.arrive(w, n, visit) })
}

// killable says whether it is worth a crash to kill a process: where an agent has
// only looked, that it never called is the same, and the crash is left.
func (m *model) killable(memory int32) bool {
	mem := m.memories[memory]
	return (mem.touched || mem.role.slot == supervisor || mem.role.slot == deadMan) && !m.undecided(memory)
}

// undecided says that a process waits for its deployer's word. It holds nothing,
// so that one that is never told is one that was killed there, and no step of its
// own.
func (m *model) undecided(memory int32) bool {
	r := m.memories[memory].requests
	return len(r) == 1 && m.ops.values[r[0].op].verb == opDecide
}

// arrive visits a state, and what a power cut makes of it.
func (m *model) arrive(w world, n note, visit visit) {
	visit(w, n)
	m.cutPower(w, visit)
}

func (m *model) cutPower(w world, visit visit) {
	if w.crashes == 0 {
		return
	}
	for k, disk := range m.afterCrash(w.disk) {
		next := m.boots(w, disk)
		next.crashes--
		visit(next, note{what: fmt.Sprintf("power is cut (outcome %d)", k)})
	}
}

// boots is a host that boots from a disk. What was to boot once is not any more.
func (m *model) boots(w world, disk int32) world {
	// A deployer calls once; one that has only looked may as well not have called.
	// Who calls after a boot is the next agent.
	var proc [slots]int32
	for _, s := range []slot{annsAgent, bobsAgent} {
		if w.proc[s] < 0 || w.proc[s] > 0 && m.memories[w.proc[s]].touched {
			proc[s] = ended
		}
	}
	f := m.look(disk)
	running := f.boots
	if f.once != "" {
		running = f.once
		disk = m.change(disk, slots, op{opRemove, simOnce, ""}, op{opSyncDir, simBoot, ""})
	}
	return world{
		proc: proc,
		disk: disk, running: system(running), boot: w.boot + 1, crashes: w.crashes, faults: w.faults, late: w.late, called: w.called,
		started: w.started, confirmed: w.confirmed, final: w.final, byItself: w.byItself, refuted: w.refuted, agent: system(running),
	}
}

// act gives a process the result of its i-th operation, and then of those that
// need nobody to be let in before them.
func (m *model) act(w world, s slot, i int, visit visit) {
	for _, o := range m.outcomes(w, s, m.memories[w.proc[s]].requests[i]) {
		next := o.world
		n := note{slot: s, op: m.memories[w.proc[s]].requests[i].op, result: m.texts.number(o.result), voluntary: m.undecided(w.proc[s])}
		m.answer(&next, w.proc[s], s, i, n.result)
		last := n
		for next.proc[s] > 0 {
			q := slices.IndexFunc(m.memories[next.proc[s]].requests, func(r request) bool { return r.quiet })
			if q < 0 {
				break
			}
			// What power leaves in between is tried; the state itself is on the way.
			m.cutPower(next, func(w world, cut note) {
				if m.verbose {
					cut.what = m.tell(n) + ", up to: " + m.tell(last) + "; " + cut.what
				}
				visit(w, cut)
			})
			from := next.proc[s]
			only := m.outcomes(next, s, m.memories[from].requests[q])
			if len(only) == 0 {
				return // a branch that is not followed
			}
			next = only[0].world
			last.op, last.result = m.memories[from].requests[q].op, m.texts.number(only[0].result)
			m.answer(&next, from, s, q, last.result)
		}
		m.arrive(next, n, visit)
	}
}

// answer moves a process on, and ends it where it is at its end.
func (m *model) answer(w *world, from int32, s slot, i int, result int32) {
	if w.proc[s] != from {
		return // it killed itself
	}
	w.proc[s] = m.next(from, i, result)
	if w.proc[s] < 0 {
		*w = m.exit(*w, s, w.proc[s] == failed)
	}
}

// exit ends a process. The kernel frees its locks, and systemd starts what its
// unit names for a failure.
func (m *model) exit(w world, s slot, bad bool) world {
	w.proc[s] = ended
	w.disk = m.drop(w.disk, s)
	if w.holder == int8(s)+1 {
		w.holder = 0
	}
	switch {
	case s == supervisor && bad && w.due[0] > 0:
		w = m.spring(w)
	case s == deadMan && bad && slices.Contains(m.look(w.disk).open, simIDs[0]):
		w.resort = 1
	}
	return w
}

// spring starts the dead-man's switch unless it runs.
func (m *model) spring(w world) world {
	if w.proc[deadMan] <= 0 {
		w.proc[deadMan] = m.root(role{deadMan, int(w.boot)})
	}
	return w
}

func number(id string) int { return slices.Index(simIDs[:], id) }

// outcomes are what an operation of a process can lead to; none where it waits.
func (m *model) outcomes(w world, s slot, r request) []outcome {
	o := m.ops.values[r.op]
	if o.verb <= opExit {
		done := m.does(w.disk, r.op, s)
		if !done.ok {
			return nil
		}
		was := w.disk
		w.disk = done.disk
		if o.verb == opSyncDir && o.path == simLib {
			m.ends(&w)
		}
		if o.verb == opRename && o.arg == simLib+"/"+recordFile && !m.recorded(&w, was, s) {
			return nil
		}
		return []outcome{{w, m.texts.values[done.result]}}
	}
	result := func(text string) []outcome { return []outcome{{w, text}} }
	n := number(o.path)
	switch o.verb {
	case opWait:
		return result("")
	case opNow:
		return result(strconv.FormatInt(int64(w.now)*int64(simHour), 10))
	case opLook:
		f := m.look(w.disk)
		return result(strings.Join([]string{simSystems[w.running], f.link, f.profile, f.boots}, " "))
	case opArm:
		due, _ := strconv.Atoi(o.arg)
		refused := w
		w.due[n] = int8(due)
		return m.orFault(outcome{w, ""}, outcome{refused, "refused"})
	case opArmed:
		if w.due[n] > 0 || n == 0 && w.proc[deadMan] > 0 {
			return result(yes)
		}
		return result("")
	case opDisarm:
		stays := w
		w.due[n] = 0
		return m.orFault(outcome{w, ""}, outcome{stays, "failed"})
	case opSupervise:
		not := w
		if n == 0 {
			w.proc[supervisor] = m.root(role{supervisor, int(w.boot)})
		}
		return m.orFault(outcome{w, ""}, outcome{not, "failed"}, outcome{w, "not answered"})
	case opHoldSwitch:
		if w.switching() {
			return result(busy)
		}
		w.holder = int8(s) + 1
	case opFreeSwitch:
		w.holder = 0
	case opProbe:
		if r.dead {
			return result("ended")
		}
		failing := w
		failing.refuted = true
		return m.orFault(outcome{w, ""}, outcome{failing, "fail"})
	case opKill:
		if n == 0 && w.proc[supervisor] > 0 {
			w = m.exit(w, supervisor, true)
		}
	case opUnitKill:
		if strings.Contains(o.path, "/") {
			*w.unit(o.path) = unit{}
		} else {
			w.units[n] = [3]unit{}
		}
	case opUnitStart:
		u := unit{begun, o.arg[0], system(o.arg[strings.IndexByte(o.arg, ' ')+1:])}
		if w.switching() {
			u.phase = exited1
		}
		*w.unit(o.path) = u
	case opUnitWait:
		switch u := w.unit(o.path); {
		case u.phase == exited0 || u.phase == exited1:
			exit := strconv.Itoa(int(u.phase - exited0))
			*u = unit{}
			return result(exit)
		case u.phase == noSwitch:
			return result("was killed")
		case r.dead:
			return result("did not end in time")
		}
		return nil
	case opReboot:
		disk := m.disks[w.disk].clone()
		disk.keepAll()
		maps.DeleteFunc(disk.files, func(name string, _ int) bool { return strings.HasPrefix(name, inMemory) })
		clear(disk.locks)
		w = m.boots(w, m.diskNumber(disk))
	case opProve:
		return m.proofs(w, strings.Fields(o.arg), r.dead)
	case opRestartLast:
		return m.restarts(w, r.dead)
	case opDecide:
		var all []outcome
		for _, word := range strings.Fields(o.arg) {
			all = append(all, outcome{w, word})
		}
		return all
	default:
		panic("not an operation of the host: " + o.String())
	}
	return result("")
}

// orFault adds what happens instead while faults may happen.
func (m *model) orFault(good outcome, bad ...outcome) []outcome {
	all := []outcome{good}
	if good.world.faults > 0 {
		for _, b := range bad {
			b.world.faults--
			all = append(all, b)
		}
	}
	return all
}

func (w *world) unit(path string) *unit {
	id, role, _ := strings.Cut(path, "/")
	return &w.units[number(id)][slices.Index(unitRoles[:], role)]
}

// switching says whether the lock of switch-to-configuration is held.
func (w *world) switching() bool {
	for _, units := range w.units {
		for _, u := range units {
			if u.phase == begun || u.phase == effective {
				return true
			}
		}
	}
	return w.holder != 0
}

// ends notes how a transaction ended, when that is durable.
func (m *model) ends(w *world) {
	if r := m.look(w.disk).record; r != nil && r.State.Final() && w.final[number(r.ID)] == 0 {
		w.final[number(r.ID)] = stateNumber(r.State)
	}
}

// over says that the second transaction runs alone: that is the first again.
func (m *model) over(w world) bool {
	r := m.look(w.disk).record
	if r == nil || r.ID != simIDs[1] || w.due[0] != 0 || w.units[0] != [3]unit{} {
		return false
	}
	for s := range slots {
		if s != bobsAgent && w.proc[s] > 0 {
			return false
		}
	}
	return true
}

// recorded notes what a new record says; it is false where a transaction would
// begin anew under an identifier that was used.
func (m *model) recorded(w *world, was int32, by slot) bool {
	old, now := m.look(was).record, m.look(w.disk).record
	if now == nil {
		return true
	}
	n := number(now.ID)
	if old == nil || old.ID != now.ID {
		if w.started[n] {
			return false
		}
		w.started[n] = true
		return true
	}
	if now.State == Committing && old.State == Waiting {
		w.confirmed[n] = true
		w.byItself = w.byItself || by == supervisor || by == deadMan
	}
	return true
}
