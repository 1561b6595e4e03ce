package transaction

import (
	"fmt"
	"slices"
)

// surroundings visits what happens without a process of hdeploy.
func (m *model) surroundings(w world, visit visit) {
	for _, s := range []slot{annsAgent, bobsAgent, nextAgent} {
		calls := s == annsAgent || s == bobsAgent && m.second || s == nextAgent && w.boot > 1
		if calls && w.proc[s] == 0 && w.proc[lastAgent] == 0 {
			next := w
			next.proc[s] = m.root(role{s, int(w.boot)})
			if s == bobsAgent {
				m.act(next, s, 0, visit) // what he calls for
				continue
			}
			visit(next, note{what: s.String() + " calls", voluntary: true})
		}
	}
	m.switches(w, visit)
	for n, due := range w.due {
		if due > 0 && w.now >= due {
			next := w
			next.due[n] = 0
			if n == 0 {
				next = m.spring(next)
			}
			visit(next, note{what: "the timer acts"})
		}
	}
	if w.resort == 1 {
		next := m.lastResort(w)
		visit(next, note{what: "the last resort acts"})
	}
	if then := m.deadline(w); then > w.now {
		next := w
		next.now = then
		if m.busy(w) {
			next.late--
		}
		if next.late >= 0 {
			visit(next, note{what: fmt.Sprintf("it is %d o'clock", next.now)})
		}
	}
}

// busy says whether a process could act now: time that passes makes it late.
func (m *model) busy(w world) bool {
	for s := range slots {
		if w.proc[s] <= 0 {
			continue
		}
		for i, r := range m.memories[w.proc[s]].requests {
			switch m.ops.values[r.op].verb {
			case opDecide:
			case opWait:
				moves := false
				m.act(w, s, i, func(next world, _ note) { moves = moves || next.crashes == w.crashes && next != w })
				if moves {
					return true
				}
			default:
				if len(m.outcomes(w, s, r)) > 0 {
					return true
				}
			}
		}
	}
	return false
}

// deadline is the next instant at which anything can be different: a timer acts,
// or somebody waits no longer. Processes may be late for it, as often as the model says.
func (m *model) deadline(w world) int8 {
	next := int8(127)
	consider := func(at int8) {
		if at > w.now {
			next = min(next, at)
		}
	}
	consider(w.due[0])
	consider(w.due[1])
	for s := range slots {
		if w.proc[s] <= 0 {
			continue
		}
		for _, r := range m.memories[w.proc[s]].requests {
			consider(r.until)
		}
	}
	const lastHour = 12 // nothing takes as long that ends at all
	if next > lastHour {
		return 0
	}
	return next
}

// switches lets each run of switch-to-configuration go on; one that does not is
// one that hangs.
func (m *model) switches(w world, visit visit) {
	for n := range w.units {
		for k := range w.units[n] {
			u := w.units[n][k]
			name := simIDs[n] + "/" + unitRoles[k]
			to := func(p phase, text string) {
				next := w
				next.units[n][k].phase = p
				switch p {
				case effective:
					next = m.effect(next, u)
				case exited1:
					next.faults--
				default:
				}
				visit(next, note{what: name + " " + text})
			}
			switch u.phase {
			case begun:
				to(effective, "has its effect")
			case effective:
				to(exited0, "ends")
			default:
			}
			if w.faults > 0 && (u.phase == begun || u.phase == effective) {
				to(exited1, "fails")
			}
		}
	}
}

// effect is what a switch does: the system runs, or the boot loader's files are
// replaced, and nobody has synced them.
func (m *model) effect(w world, u unit) world {
	if u.action != 'b' {
		w.running = u.system
	}
	if u.action != 't' {
		w.disk = m.change(w.disk, slots, op{opLink, simDefault, simSystems[u.system]})
	}
	return w
}

// lastResort is the unit that needs no program of hdeploy: it kills what acts and
// switches back.
func (m *model) lastResort(w world) world {
	w.resort = 2
	if !slices.Contains(m.look(w.disk).open, simIDs[0]) {
		return w
	}
	w.due[0] = 0
	if w.proc[supervisor] > 0 {
		w = m.exit(w, supervisor, true)
	}
	w.units[0] = [3]unit{}
	w.running = 0
	w.disk = m.change(w.disk, slots, op{opRemove, openFile(simIDs[0]), ""})
	return w
}
