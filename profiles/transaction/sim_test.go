package transaction

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// walk visits every state of a model once, nearest first, and stops at the first
// violation: its schedule is one of the shortest.
type walk struct {
	*model
	seen    map[world]bool
	order   []world
	parents []int32
	// violation is what is wrong with the last state, at which the walk stops.
	violation string
	at        int
}

func (k *walk) add(w world, parent int) bool {
	if k.seen[w] {
		return false
	}
	k.seen[w] = true
	k.order = append(k.order, w)
	k.parents = append(k.parents, int32(parent))
	return true
}

// simulate walks over all that a model allows.
func simulate(m *model) *walk {
	k := &walk{model: m, seen: map[world]bool{}}
	k.add(m.first(), -1)
	for i := 0; i < len(k.order) && k.violation == ""; i++ {
		k.expand(i)
	}
	if k.violation == "" && m.crashes == 0 && m.late == 0 {
		if at := k.endless(); at >= 0 {
			k.violation, k.at = "it never comes to rest", at
		}
	}
	for _, p := range m.live {
		p.stop()
	}
	return k
}

// expand visits what can follow a state, and looks at what is left where nothing
// can but what a deployer or a failure does.
func (k *walk) expand(i int) {
	w := k.order[i]
	rests := true
	k.steps(w, func(next world, n note) {
		if next != w && next.boot == w.boot && next.crashes == w.crashes && !n.voluntary {
			rests = false
		}
		if k.violation != "" || !k.add(next, i) {
			return
		}
		if k.violation = k.wrong(w, next); k.violation != "" {
			k.at = len(k.order) - 1
		}
	})
	if k.violation != "" || !rests || k.over(w) {
		return
	}
	left := k.unsettled(w)
	if left != "" && w.crashes < k.crashes-w.called {
		// What was killed cannot clean up; the next that calls does. Who called
		// before has hung up.
		w = k.exit(w, lastAgent, false)
		w.called = k.crashes - w.crashes
		w.proc[lastAgent] = k.root(role{lastAgent, int(w.boot)})
		k.add(w, i)
		return
	}
	k.violation, k.at = left, i
}

// schedule are the steps that lead to the violation.
func (k *walk) schedule() string {
	k.verbose = true
	defer func() { k.verbose = false }()
	var steps []string
	for i := int32(k.at); k.parents[i] >= 0; i = k.parents[i] {
		text := "the last agent calls"
		k.steps(k.order[k.parents[i]], func(w world, n note) {
			if w == k.order[i] {
				text = k.tell(n)
			}
		})
		steps = append([]string{text}, steps...)
	}
	for i := range steps {
		steps[i] = fmt.Sprintf("%3d  %s", i+1, steps[i])
	}
	return strings.Join(steps, "\n")
}

// fullSimulation asks for all bounds at once. It takes minutes and gigabytes.
const fullSimulation = "HDEPLOY_SIMULATION"

func bounds() []*model {
	with := func(crashes, faults, late int8, second bool) *model {
		m := newModel()
		m.crashes, m.faults, m.late, m.second = crashes, faults, late, second
		m.watched = crashes == 0
		return m
	}
	switch {
	case os.Getenv(fullSimulation) == "full":
		return []*model{with(1, 1, 1, false), with(1, 0, 0, true), with(2, 0, 0, true)}
	case raceEnabled:
		return []*model{with(1, 0, 0, false), with(0, 1, 0, false)}
	}
	return []*model{with(0, 1, 0, false), with(0, 0, 1, false), with(0, 0, 0, true), with(2, 0, 0, false)}
}

// TestSimulation walks over every order in which supervisor, dead-man's switch,
// deployers, switches, time, killed processes and power cuts can follow each
// other in one transaction, within the bounds.
func TestSimulation(t *testing.T) {
	states, violations := 0, 0
	synctest.Test(t, func(t *testing.T) {
		for _, m := range bounds() {
			k := simulate(m)
			states += len(k.order)
			t.Logf("two deployers %v, %d crashes, %d faults, %d delays: %d states, %d local ones, %d disks", m.second, m.crashes, m.faults, m.late, len(k.order), len(m.memories), len(m.disks))
			if k.violation != "" {
				violations++
				t.Errorf("%s\n%s", k.violation, k.schedule())
			}
		}
	})
	fmt.Fprintf(t.Output(), "simulation: %d states, %d violations\n", states, violations)
}

// The time of day decides nothing: with clocks that jump by years the same
// records are reached, but for the times in them.
func TestJumpsOfTheClockChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steady, jumping := newModel(), newModel()
		jumping.wall = func(boot int, now Instant) time.Time {
			years := []int{30, -40, 3, 0, -7, 50}
			return time.Date(2026+years[(int(now/simHour)+boot)%len(years)], 1, 2, 3, 4, 5, 0, time.UTC)
		}
		reached := func(m *model) string {
			k := simulate(m)
			if k.violation != "" {
				t.Errorf("%s\n%s", k.violation, k.schedule())
			}
			return strings.Join(k.records(), "\n")
		}
		if a, b := reached(steady), reached(jumping); a != b {
			t.Errorf("with a steady clock:\n%s\nwith one that jumps:\n%s", a, b)
		}
	})
}

// A simulation that finds nothing may look at nothing: so what it must find is
// broken on purpose.
func TestSimulationFindsWhatIsBroken(t *testing.T) {
	onDisk := func(change func(simFS) atomicfile.FS) func(*testing.T, *model) {
		return func(_ *testing.T, m *model) {
			m.fs = func(p *process) atomicfile.FS { return change(simFS{p}) }
		}
	}
	without := func(s State, e Event) func(*testing.T, *model) {
		return func(t *testing.T, _ *model) {
			next := table[s][e]
			delete(table[s], e)
			t.Cleanup(func() { table[s][e] = next })
		}
	}
	for _, c := range []struct {
		what, want string
		crashes    int8
		late       int8
		breakIt    func(*testing.T, *model)
	}{
		{what: "files are not synced", want: "the record cannot be read", crashes: 1,
			breakIt: onDisk(func(s simFS) atomicfile.FS { return forgetful{s, ""} })},
		{what: "the directory of the record is not synced", want: "no record says that it was confirmed", crashes: 1,
			breakIt: onDisk(func(s simFS) atomicfile.FS { return forgetful{s, simLib} })},
		{what: "the profile is made as nix-env does, without a sync in between", want: "the profile leads nowhere", crashes: 1,
			breakIt: onDisk(func(s simFS) atomicfile.FS { return forgetful{s, simProfiles} })},
		{what: "the boot loader's files are not synced", want: "committed, but", crashes: 1,
			breakIt: func(_ *testing.T, m *model) { m.syncBoot = false }},
		{what: "the trial moves the boot default", want: "the boot default is a system that nobody confirmed",
			breakIt: func(_ *testing.T, m *model) { m.trial = "switch" }},
		{what: "the end forgets the timer", want: "a timer is left",
			breakIt: func(_ *testing.T, m *model) { m.host = func(p *process) Host { return noDisarm{simHost{p}} } }},
		{what: "claims keep nobody out", want: "two processes change the host", late: 1,
			breakIt: onDisk(func(s simFS) atomicfile.FS { return unclaimed{s} })},
		{what: "waiting has no way back", want: "it never comes to rest", breakIt: without(Waiting, Abort)},
		{what: "a rollback cannot end", want: "it never comes to rest", breakIt: without(RollingBack, RestoreDone)},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := newModel()
			m.crashes, m.late = c.crashes, c.late
			c.breakIt(t, m)
			synctest.Test(t, func(t *testing.T) {
				k := simulate(m)
				if !strings.Contains(k.violation, c.want) {
					t.Errorf("found %q in %d states, want %q", k.violation, len(k.order), c.want)
				}
				t.Logf("%s after %d states:\n%s", k.violation, len(k.order), k.schedule())
			})
		})
	}
}
