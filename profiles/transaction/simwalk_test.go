package transaction

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// walk visits every state of a model once, nearest first, and stops at the first
// violation: its schedule is one of the shortest.
//
// Of a state that was visited only a hash is kept, and that of the state from which
// it was reached. Should two of N states share one of the 2^64 hashes, what only the
// second leads to is missed; for a hundred million states the odds are 1 to 3000.
type walk struct {
	*model
	seen visited
	// states are those that count.
	states int64
	// layer are the states to expand, next those found meanwhile.
	layer, next []world
	// all are the states that were visited, where the model asks to keep them.
	all []world
	// violation is what is wrong with the state at, where the walk stops.
	violation string
	at        uint64
}

// hash packs a state and mixes it as wyhash does.
func (w *world) hash() uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	mix := func(x uint64) {
		hi, lo := bits.Mul64(h^x, 0xd6e8feb86659fd93)
		h = hi ^ bits.RotateLeft64(lo, 29) ^ x
	}
	mix(uint64(uint32(w.disk)) | uint64(uint32(w.proc[0]))<<32)
	mix(uint64(uint32(w.proc[1])) | uint64(uint32(w.proc[2]))<<32)
	mix(uint64(uint32(w.proc[3])) | uint64(uint32(w.proc[4]))<<32)
	small := []int8{
		w.running, w.holder, w.due[0], w.due[1], w.resort, w.now, w.boot, w.crashes, w.faults, w.late, w.called,
		int8(w.final[0]), int8(w.final[1]), flag(w.started[0]), flag(w.started[1]), flag(w.confirmed[0]), flag(w.confirmed[1]),
		w.agent, flag(w.byItself), flag(w.refuted),
	}
	packed := uint64(uint32(w.proc[5]))
	for i, v := range small {
		if packed = packed<<4 | uint64(v&15); i%8 == 7 {
			mix(packed)
			packed = 0
		}
	}
	mix(packed)
	packed = 0
	for _, units := range w.units {
		for _, u := range units {
			packed = packed<<9 | uint64(u.phase)<<6 | uint64(u.action&3)<<4 | uint64(u.system&15)
		}
	}
	mix(packed)
	mix(h >> 32)
	return max(h, 1)
}

func flag(b bool) int8 {
	if b {
		return 1
	}
	return 0
}

// visited is a hash table of the states that were visited: a hash, and that of the
// state before. It grows shard by shard, so that it is never in memory twice.
type visited struct {
	shards [256]shard
	count  int
}

type shard struct {
	slots []step
	count int
}

type step struct{ state, before uint64 }

// add notes a state; it is false where it was there already.
func (v *visited) add(state, before uint64) bool {
	s := &v.shards[state>>56]
	if 4*(s.count+1) > 3*len(s.slots) {
		s.grow()
	}
	if slot := s.find(state); slot.state == 0 {
		*slot = step{state, before}
		s.count++
		v.count++
		return true
	}
	return false
}

func (s *shard) find(state uint64) *step {
	mask := uint64(len(s.slots) - 1)
	for i := state & mask; ; i = (i + 1) & mask {
		if s.slots[i].state == state || s.slots[i].state == 0 {
			return &s.slots[i]
		}
	}
}

func (s *shard) grow() {
	old := s.slots
	s.slots = make([]step, max(64, 2*len(old)))
	for _, step := range old {
		if step.state != 0 {
			*s.find(step.state) = step
		}
	}
}

// before is the state from which another was reached; 0 for the first.
func (v *visited) before(state uint64) uint64 { return v.shards[state>>56].find(state).before }

// simulate walks over all that a model allows.
func simulate(m *model) *walk {
	k := &walk{model: m}
	k.add(m.first(), 0)
	for len(k.next) > 0 && k.violation == "" {
		k.layer, k.next = k.next, k.layer[:0]
		if m.progress != nil {
			m.progress(k)
		}
		for _, w := range k.layer {
			k.expand(w)
			if k.violation != "" {
				break
			}
		}
	}
	if k.violation == "" && m.keepAll {
		if w := k.endless(); w != nil {
			k.violation, k.at = "it never comes to rest", w.hash()
		}
	}
	for _, p := range m.live {
		p.stop()
	}
	return k
}

// add visits a state, and is false where it was visited before.
func (k *walk) add(w world, before uint64) (hash uint64, added bool) {
	hash = w.hash()
	if !k.seen.add(hash, before) {
		return hash, false
	}
	if !k.repeats || w.proc[bobsAgent] != 0 {
		k.states++
	}
	k.next = append(k.next, w)
	if k.keepAll {
		k.all = append(k.all, w)
	}
	return hash, true
}

// expand visits what can follow a state, and looks at what is left where nothing
// can but what a deployer or a failure does.
func (k *walk) expand(w world) {
	here := w.hash()
	rests := true
	k.steps(w, func(next world, n note) {
		if next != w && next.crashes == w.crashes && !n.voluntary {
			rests = false
		}
		if k.violation != "" {
			return
		}
		hash, added := k.add(next, here)
		if !added {
			return
		}
		if k.violation = k.wrong(w, next); k.violation != "" {
			k.at = hash
		}
	})
	if k.violation != "" || !rests || k.over(w) {
		return
	}
	left := k.unsettled(w)
	if left != "" && k.interruptions(w) > w.called {
		k.add(k.lastCall(w), here)
		return
	}
	k.violation, k.at = left, here
}

// lastCall is the next call of an agent: what was killed cannot clean up, that one
// does. Who called before has hung up.
func (k *walk) lastCall(w world) world {
	w = k.exit(w, lastAgent, false)
	w.called = k.interruptions(w)
	w.proc[lastAgent] = k.root(role{lastAgent, int(w.boot)})
	return w
}

// interruptions grows with each crash and each reboot.
func (m *model) interruptions(w world) int8 { return m.crashes - w.crashes + w.boot - 1 }

// schedule are the steps that lead to the violation.
func (k *walk) schedule() string {
	k.verbose = true
	defer func() { k.verbose = false }()
	var chain []uint64
	for at := k.at; at != 0; at = k.seen.before(at) {
		chain = append(chain, at)
	}
	slices.Reverse(chain)
	var text strings.Builder
	w := k.first()
	for i, want := range chain[1:] {
		here, what := w, "the last agent calls"
		found := false
		k.steps(here, func(next world, n note) {
			if !found && next.hash() == want {
				w, what, found = next, k.tell(n), true
			}
		})
		if !found {
			w = k.lastCall(here)
		}
		fmt.Fprintf(&text, "%3d  %s\n", i+1, what)
	}
	return text.String()
}
