package hosts

import (
	"fmt"
	"slices"
	"strings"
)

// resolver replaces the names in a host's settings by what they stand for.
type resolver struct {
	d       *decoder
	defined map[string]Probe
	jumps   map[string]Jump
	hosts   []*settings
	byName  map[string]*settings
	// reported keeps a dangling name of a level from being reported once per host.
	reported map[position]bool
}

func newResolver(d *decoder, inv *Inventory, jumps map[string]Jump, all []*settings) *resolver {
	r := &resolver{d: d, defined: inv.Probes, jumps: jumps, hosts: all, byName: map[string]*settings{}, reported: map[position]bool{}}
	for _, host := range all {
		r.byName[host.Name] = host
	}
	return r
}

func (r *resolver) resolve(host *settings) {
	host.Probes = r.probes(host.probes)
	r.resolveBuild(host)
	r.resolveWitness(host)
	host.Profiles = nil
	for _, draft := range host.profiles {
		draft.Probes = r.probes(draft.probes)
		host.Profiles = append(host.Profiles, draft.Profile)
	}
	host.Jump = r.way(host)
}

func (r *resolver) probes(uses []*node) []Probe {
	var probes []Probe
	for _, use := range uses {
		if probe, ok := r.probe(use.text); ok {
			probes = append(probes, probe)
			continue
		}
		known := append(sortedNames(r.defined), r.d.kinds.presets()...)
		r.dangling(use, known, fmt.Sprintf("[probes.%s] with a kind", use.text), "probe %q is not defined", use.text)
	}
	return probes
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

// resolveBuild looks up the host that builds. One that is sent to itself, as happens
// when a level names it, builds on itself.
func (r *resolver) resolveBuild(host *settings) {
	switch {
	case host.build == nil || host.Build == BuildLocal || host.Build == BuildHost:
	case host.Build == host.Name:
		host.Build = BuildHost
	case r.byName[host.Build] == nil:
		known := append([]string{BuildLocal, BuildHost}, sortedNames(r.byName)...)
		r.dangling(host.build, known, `"local", "host" or the name of a host`, "build host %q is not defined", host.Build)
	}
}

// hops are the names that a host's own list leads through, nearest first. A host
// that stands in its own list, as it does when [defaults] sends everything through
// it, is reached by the hops before.
func (host *settings) hops() []*node {
	own := slices.IndexFunc(host.jump, func(use *node) bool { return use.text == host.Name })
	if own < 0 {
		return host.jump
	}
	return host.jump[:own]
}

// mostHops caps the way to a host.
const mostHops = 32

// way follows jump. The first hop may itself be a host behind others: then these
// come before it.
func (r *resolver) way(host *settings) []Jump {
	var way []Jump
	for _, use := range host.hops() {
		jump, ok := r.jump(use.text)
		if !ok {
			known := append(sortedNames(r.jumps), sortedNames(r.byName)...)
			r.dangling(use, known, fmt.Sprintf("[jumps.%s] with an address", use.text), "jump host %q is not defined", use.text)
			continue
		}
		way = append(way, jump)
	}
	seen := map[string]bool{host.Name: true}
	for first := host; len(first.hops()) > 0; {
		name := first.hops()[0].text
		if _, isJump := r.jumps[name]; isJump || r.byName[name] == nil || seen[name] {
			return way // seen: a cycle, which is told elsewhere
		}
		seen[name] = true
		first = r.byName[name]
		var before []Jump
		for _, use := range first.hops() {
			if jump, ok := r.jump(use.text); ok {
				before = append(before, jump)
			}
		}
		way = append(before, way...)
		if len(way) > mostHops {
			r.d.fail(host.jump[0].at, "", "host %s is reached through more than %d others", host.Name, mostHops)
			return nil
		}
	}
	return way
}

func (r *resolver) jump(name string) (Jump, bool) {
	if jump, ok := r.jumps[name]; ok {
		return jump, true
	}
	other := r.byName[name]
	if other == nil {
		return Jump{}, false
	}
	return other.asJump(), true
}

// refuseCycles reports hosts that are reached through each other.
func (r *resolver) refuseCycles() {
	const unseen, open, closed = 0, 1, 2
	state := map[string]int{}
	var path []string
	var visit func(host *settings)
	visit = func(host *settings) {
		state[host.Name] = open
		path = append(path, host.Name)
		for _, use := range host.hops() {
			next := r.byName[use.text]
			if _, isJump := r.jumps[use.text]; isJump || next == nil {
				continue
			}
			switch state[next.Name] {
			case open:
				cycle := append(slices.Clone(path[slices.Index(path, next.Name):]), next.Name)
				r.d.fail(use.at, "", "hosts are reached through each other: %s", strings.Join(cycle, " through "))
			case unseen:
				visit(next)
			}
		}
		path = path[:len(path)-1]
		state[host.Name] = closed
	}
	for _, host := range r.hosts {
		if state[host.Name] == unseen {
			visit(host)
		}
	}
}

func (r *resolver) dangling(use *node, known []string, otherwise, format string, args ...any) {
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
