package transaction

import (
	"fmt"
	"strings"
)

// wrong says what is wrong with a state that was reached from before; empty
// where nothing is.
func (m *model) wrong(before, w world) string {
	f := m.look(w.disk)
	if f.damaged {
		return "the record cannot be read"
	}
	if text := m.oneOwner(w); text != "" {
		return text
	}
	if text := m.confirmedOnly(w, f); text != "" {
		return text
	}
	if text := m.byTheHost(w); text != "" {
		return text
	}
	if f.record == nil {
		return ""
	}
	if text := m.agentFits(w, f.record); text != "" {
		return text
	}
	if text := m.lawful(before, w, f.record); text != "" {
		return text
	}
	if text := m.finalIsTrue(w, f); text != "" {
		return text
	}
	return m.forgotten(w, f.record)
}

// forgotten: who ended a transaction has stopped its timer, unless that failed.
func (m *model) forgotten(w world, r *Record) string {
	if !r.State.Final() || w.due[number(r.ID)] == 0 || w.crashes < m.crashes || w.faults < m.faults {
		return ""
	}
	for s := range slots {
		if w.proc[s] > 0 && !m.undecided(w.proc[s]) {
			return ""
		}
	}
	return "a timer is left"
}

// oneOwner: at most one process changes the host.
func (m *model) oneOwner(w world) string {
	var driving []string
	for s := range slots {
		if w.proc[s] <= 0 {
			continue
		}
		for _, r := range m.memories[w.proc[s]].requests {
			if r.driving {
				driving = append(driving, s.String())
				break
			}
		}
	}
	if len(driving) > 1 {
		return "two processes change the host: " + strings.Join(driving, " and ")
	}
	return ""
}

// confirmedOnly: profile and boot default are always a confirmed system, and the
// record of a confirmation is there before either moves.
func (m *model) confirmedOnly(w world, f facts) string {
	for what, name := range map[string]string{"the profile": f.profile, "the boot default": f.boots} {
		s := system(name)
		if s < 0 {
			return what + " leads nowhere"
		}
		if s == 0 || name == f.profile && m.plan.Action == Reboot {
			continue // boot loaders list generations: what boots once is one before it is confirmed
		}
		if !w.confirmed[s-1] {
			return what + " is a system that nobody confirmed"
		}
		if r := f.record; r == nil || r.ID == simIDs[s-1] && r.CommitBy == 0 {
			return what + " moved, and no record says that it was confirmed"
		}
	}
	return ""
}

// lawful: the record moves along the table, from one transaction to another only
// after the end, and what it once said at the end it says for ever.
func (m *model) lawful(before, w world, r *Record) string {
	n := number(r.ID)
	if said := w.final[n]; said != 0 && said != stateNumber(r.State) {
		return fmt.Sprintf("it ended as %s after it had ended as %s", r.State, States[said-1])
	}
	old := m.look(before.disk).record
	if old == nil || before.boot != w.boot || old == r {
		return ""
	}
	if old.ID != r.ID {
		if !old.State.Final() {
			return fmt.Sprintf("%s began while %s was %s", r.ID, old.ID, old.State)
		}
		return ""
	}
	if !leads(old.State, r.State) {
		return fmt.Sprintf("%s became %s", old.State, r.State)
	}
	return ""
}

// leads says whether the machine allows one state to follow another, at once or,
// where nothing was begun, with the rollback in between.
func leads(from, to State) bool {
	for _, next := range moves[from] {
		if next == to {
			return true
		}
	}
	return from == to || from == Prepared && to == RolledBack
}

// finalIsTrue: what a final record says is so, even if power is cut now.
func (m *model) finalIsTrue(w world, f facts) string {
	r := f.record
	switch r.State {
	case Committed:
		if !r.Action.Commits() {
			return ""
		}
		if f.profile != r.New || f.boots != r.New {
			return fmt.Sprintf("committed, but the profile is %s and it boots %s", f.profile, f.boots)
		}
	case RolledBack:
		if f.profile != r.Previous.Profile.Path || f.boots != r.Previous.Boots {
			return fmt.Sprintf("rolled back, but the profile is %s and it boots %s", f.profile, f.boots)
		}
		if simSystems[w.running] != r.Previous.Running {
			return "rolled back, but it runs " + simSystems[w.running]
		}
	default: // says nothing about the host
	}
	return ""
}

// unsettled says what is wrong with a state in which nothing happens any more but
// what a deployer or a fault does.
func (m *model) unsettled(w world) string {
	f := m.look(w.disk)
	if f.record == nil {
		return ""
	}
	if len(f.locks) > 0 {
		return "a lock is left: " + strings.Join(f.locks, ", ")
	}
	killed := m.interruptions(w) > 0
	if r := f.record; !r.State.Final() {
		if r.ID == simIDs[1] && w.due[0] == 0 {
			return "" // the second transaction has no supervisor here
		}
		return fmt.Sprintf("the last deadline has passed, and the transaction is %s", r.State)
	}
	if w.due[number(f.record.ID)] != 0 {
		return "a timer is left"
	}
	if f.once != "" {
		return "a system is left that boots once"
	}
	if len(f.open) > 0 {
		return "the way back is left open"
	}
	for _, units := range w.units {
		for _, u := range units {
			if u.phase != noSwitch {
				return "a switch is left"
			}
		}
	}
	if w.holder != 0 {
		return "the lock of switch-to-configuration is left"
	}
	return m.leftRoot(f, killed)
}

// leftRoot: what a power cut or a killed process leaves has a name by which a
// later transaction removes it.
func (m *model) leftRoot(f facts, killed bool) string {
	for _, root := range f.roots {
		id, kind, _ := strings.Cut(root, "-")
		kept := id == "confirmed" || f.record.State == RollbackFailed && root == f.record.ID+"-previous"
		swept := killed && (id[0] == '.' || kind == "new" || kind == "previous")
		if !kept && !swept {
			return "a root is left: " + root
		}
	}
	return ""
}
