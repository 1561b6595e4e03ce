package hosts

import (
	"fmt"
	"maps"
	"slices"
)

// resolver replaces the names in a host's settings by what they stand for.
type resolver struct {
	d       *decoder
	defined map[string]Probe
	jumps   map[string]Jump
	hosts   []settings
	// reported keeps a dangling name in [defaults] from being reported once
	// per host.
	reported map[position]bool
}

func (r *resolver) resolve(host *settings) {
	for _, use := range host.probes {
		if probe, ok := r.probe(use.text); ok {
			host.Probes = append(host.Probes, probe)
			continue
		}
		known := append(slices.Sorted(maps.Keys(r.defined)), r.d.kinds.presets()...)
		r.dangling(use, known, fmt.Sprintf("[probes.%s] with a kind", use.text), "probe %q is not defined", use.text)
	}
	r.resolveJump(host)
}

func (r *resolver) probe(name string) (Probe, bool) {
	if probe, ok := r.defined[name]; ok {
		return probe, true
	}
	kind, ok := r.d.kinds.named(name)
	if !ok || !kind.Preset {
		return Probe{}, false
	}
	return newProbe(name, kind), true
}

// resolveJump follows jump. A host that stands in its own list, as it does
// when [defaults] sends everything through it, is reached by the hops before.
func (r *resolver) resolveJump(host *settings) {
	for _, use := range host.jump {
		if use.text == host.Name {
			return
		}
		if jump, ok := r.jump(use.text); ok {
			host.Jump = append(host.Jump, jump)
			continue
		}
		known := slices.Sorted(maps.Keys(r.jumps))
		for _, other := range r.hosts {
			known = append(known, other.Name)
		}
		r.dangling(use, known, fmt.Sprintf("[jumps.%s] with an address", use.text), "jump host %q is not defined", use.text)
	}
}

func (r *resolver) jump(name string) (Jump, bool) {
	if jump, ok := r.jumps[name]; ok {
		return jump, true
	}
	for _, other := range r.hosts {
		if other.Name == name {
			return Jump{
				Name: name, Address: other.Address, Port: other.Port, User: other.User,
				HostKeys: other.HostKeys, IdentityFiles: other.IdentityFiles,
			}, true
		}
	}
	return Jump{}, false
}

func (r *resolver) dangling(use *node, known []string, otherwise, format string, args ...any) {
	if r.reported == nil {
		r.reported = map[position]bool{}
	}
	if r.reported[use.at] {
		return
	}
	r.reported[use.at] = true
	suggestion := otherwise
	if like := closest(use.text, known); like != "" {
		suggestion = fmt.Sprintf("%q", like)
	}
	r.d.fail(use.at, suggestion, format, args...)
}

func isOneOf(word string, words []string) bool { return slices.Contains(words, word) }
