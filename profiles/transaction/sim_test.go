package transaction

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

// fullSimulation asks for all bounds. It takes minutes and gigabytes.
const fullSimulation = "HDEPLOY_SIMULATION"

func bounds() []*model {
	with := func(crashes, faults, late int8, second bool) *model {
		m := newModel()
		m.crashes, m.faults, m.late, m.second = crashes, faults, late, second
		m.watched = crashes == 0
		m.keepAll = crashes == 0 && late == 0
		return m
	}
	if raceEnabled {
		return []*model{with(1, 0, 0, false), with(0, 1, 0, false)}
	}
	asked := func(faults int8, p Plan) *model {
		m := with(1, faults, 0, p.Action == Reboot)
		m.plan, m.alone, m.calls = p, p.Alone != nil, "confirm" // a reboot ends the first deployer's connection
		return m
	}
	uncut := func(p Plan) *model { // where things fail, and nobody is killed
		m := asked(1, p)
		m.crashes = 0
		return m
	}
	normal := []*model{
		with(0, 1, 0, false), with(0, 0, 1, false), with(0, 0, 0, true), with(2, 0, 0, false),
		asked(1, Plan{Action: Test}), asked(1, Plan{Action: Boot}), asked(1, Plan{Keep: true}),
		asked(0, Plan{Action: Reboot}), asked(0, Plan{LastResort: Restart}),
		asked(0, simAlone(Alone{RestartLast: []string{agentUnit}})), asked(0, simAlone(Alone{OnUnknown: reach.GoBack})), uncut(simAlone(Alone{RestartLast: []string{agentUnit}})),
	}
	if os.Getenv(fullSimulation) != "full" {
		return normal
	}
	tested := simAlone(Alone{RestartLast: []string{agentUnit}, OnUnknown: reach.GoBack})
	tested.Action = Test
	full := []*model{asked(1, Plan{Action: Reboot}), asked(1, Plan{LastResort: Restart}), asked(1, tested), asked(1, simAlone(Alone{RestartLast: []string{agentUnit}}))}
	// The second deployer calls for one thing, so that each is a simulation of its
	// own. What happens while that call is still to come is the same in all.
	for i, call := range strings.Fields(newModel().calls) {
		m := with(2, 0, 0, true)
		m.calls, m.repeats = call, i > 0
		full = append(full, m)
	}
	watched := with(2, 0, 0, false)
	watched.watched = true
	full = append(full, watched)
	return append(full, append(normal, with(1, 1, 0, false), with(1, 0, 1, false))...)
}

func (m *model) String() string {
	text := fmt.Sprintf("%d crashes, %d faults, %d delays", m.crashes, m.faults, m.late)
	switch p := m.plan; {
	case p.Action != "":
		text += ", action " + string(p.Action)
	case p.Keep:
		text += ", kept where it fails"
	case p.LastResort != "":
		text += ", last resort " + string(p.LastResort)
	}
	if a := m.plan.Alone; a != nil {
		text += fmt.Sprintf(", alone, %q where unknown, last %v", a.OnUnknown, a.RestartLast)
	}
	if m.watched {
		text += ", watched"
	}
	if m.second {
		text += ", a second deployer to " + m.calls
	}
	return text
}

// TestSimulation walks over every order in which supervisor, dead-man's switch,
// deployers, switches, time, killed processes and power cuts can follow each
// other in one transaction, within the bounds.
func TestSimulation(t *testing.T) {
	if os.Getenv(fullSimulation) == "full" {
		defer debug.SetGCPercent(debug.SetGCPercent(25)) // memory is what it needs most
	}
	var states, violations atomic.Int64
	t.Run("bounds", func(t *testing.T) {
		for _, m := range bounds() {
			t.Run(m.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					k := simulate(m)
					states.Add(k.states)
					t.Logf("%d states, %d local ones, %d disks", k.states, len(m.memories), len(m.disks))
					if k.violation != "" {
						violations.Add(1)
						t.Errorf("%s\n%s", k.violation, k.schedule())
					}
				})
			})
		}
	})
	fmt.Fprintf(t.Output(), "simulation: %d states, %d violations\n", states.Load(), violations.Load())
}

// The time of day decides nothing: with clocks that jump by years the same
// records are reached, but for the times in them.
func TestJumpsOfTheClockChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steady, jumping := newModel(), newModel()
		steady.keepAll, jumping.keepAll = true, true
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
	alone := func(proves func(simProver) Prover) func(*testing.T, *model) {
		return func(_ *testing.T, m *model) {
			m.plan, m.alone = simAlone(Alone{RestartLast: []string{agentUnit}}), true
			m.prover = func(p *process) Prover { return proves(simProver{simHost{p}}) }
		}
	}
	proves := func(p simProver) Prover { return p }
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
		{what: "the host confirms, and nobody asked it to", want: "nobody confirmed, and it is committed",
			breakIt: func(t *testing.T, m *model) { alone(proves)(t, m); m.alone = false }},
		{what: "a proof that failed is not heard", want: "it is committed, although", breakIt: alone(func(p simProver) Prover { return deaf{p} })},
		{what: "a probe that failed is not heard", want: "it is committed, although",
			breakIt: func(t *testing.T, m *model) {
				alone(proves)(t, m)
				m.faults, m.host = 1, func(p *process) Host { return unhurt{simHost{p}} }
			}},
		{what: "the agent is not restarted on the way back", want: "rolled back, but the agent", breakIt: alone(func(p simProver) Prover { return onlyForward{p} })},
		{what: "what is restarted last is recorded afterwards", want: "rolled back, but the agent", crashes: 1,
			breakIt: func(t *testing.T, m *model) {
				alone(proves)(t, m)
				m.fs = func(p *process) atomicfile.FS { return afterwards{simFS{p}, new(int)} }
			}},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := newModel()
			m.crashes, m.late, m.keepAll = c.crashes, c.late, c.crashes == 0 && c.late == 0
			c.breakIt(t, m)
			synctest.Test(t, func(t *testing.T) {
				k := simulate(m)
				if !strings.Contains(k.violation, c.want) {
					t.Errorf("found %q in %d states, want %q", k.violation, k.seen.count, c.want)
				}
				t.Logf("%s after %d states:\n%s", k.violation, k.seen.count, k.schedule())
			})
		})
	}
}
