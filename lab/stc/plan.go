package main

import (
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// names is a set of units.
type names map[string]bool

func (n names) sorted() []string {
	list := make([]string, 0, len(n))
	for name := range n {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

func (n names) without(hidden names) []string {
	return slices.DeleteFunc(n.sorted(), func(name string) bool { return hidden[name] })
}

// unitState is what systemd says of a unit.
type unitState struct {
	active string
	sub    string
}

// plan is what a switch does with the units.
type plan struct {
	stop    names
	start   names
	restart names
	reload  names
	skip    names // changed, and left running
	hidden  names // started, and not worth a line: the targets
}

func newPlan() plan {
	return plan{stop: names{}, start: names{}, restart: names{}, reload: names{}, skip: names{}, hidden: names{}}
}

// planner compares the unit files of two systems. Only active units matter: new ones come up through the targets.
type planner struct {
	current string // directory of the running system's unit files
	next    string
	active  map[string]unitState
	plan    plan
}

// compareUnits fills the plan. What an earlier, killed run has left in the plan stays in it.
func (p *planner) compareUnits() error {
	for unit, state := range p.active {
		if state.active != "active" && state.active != "activating" {
			continue
		}
		if err := p.compareUnit(unit); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) compareUnit(unit string) error {
	currentFile, nextFile := p.files(unit)
	if !exists(currentFile) {
		return nil
	}
	current, err := readUnit(currentFile)
	if err != nil {
		return err
	}
	if !exists(nextFile) || isMasked(nextFile) {
		if current.flag("X-StopOnRemoval", true) {
			p.plan.stop[unit] = true
		}
		return nil
	}
	next, err := readUnit(nextFile)
	if err != nil {
		return err
	}
	if strings.HasSuffix(unit, ".target") {
		p.target(unit, next)
		return nil
	}
	switch compare(current, next) {
	case needsRestart:
		p.modified(unit, next)
	case needsReload:
		if !p.plan.restart[unit] {
			p.plan.reload[unit] = true
		}
	case equal:
	}
	return nil
}

// files returns the unit's files in both systems; an instance without a file of its own has its template's.
func (p *planner) files(unit string) (current, next string) {
	current, next = filepath.Join(p.current, unit), filepath.Join(p.next, unit)
	prefix, rest, isInstance := strings.Cut(unit, "@")
	if !isInstance || exists(current) {
		return current, next
	}
	template := prefix + "@" + filepath.Ext(rest)
	return filepath.Join(p.current, template), filepath.Join(p.next, template)
}

// target starts every active target again: that is what starts units which the new system wants and nobody has started.
func (p *planner) target(unit string, next unitFile) {
	switch unit {
	case "suspend.target", "hibernate.target", "hybrid-sleep.target":
	default:
		if !next.flag("RefuseManualStart", false) && !next.flag("X-OnlyManualStart", false) {
			p.plan.start[unit] = true
			p.plan.hidden[unit] = true
		}
	}
	// An active target would satisfy an ordering that the changed units behind it do not yet fulfil.
	if next.flag("X-StopOnReconfiguration", false) {
		p.plan.stop[unit] = true
	}
}

// modified decides how a changed unit becomes the new one.
func (p *planner) modified(unit string, next unitFile) {
	kind := filepath.Ext(unit)
	switch {
	case kind == ".slice" || kind == ".path" || kind == ".socket":
		// daemon-reload is enough, or the service brings its socket along.
	case kind == ".mount":
		p.plan.reload[unit] = true
	case next.flag("X-ReloadIfChanged", false) && !p.plan.restart[unit] && !p.plan.stop[unit]:
		p.plan.reload[unit] = true
	case !next.flag("X-RestartIfChanged", true) || next.flag("RefuseManualStop", false) || next.flag("X-OnlyManualStart", false):
		p.plan.skip[unit] = true
	case kind != ".service" || !next.flag("X-StopIfChanged", true):
		delete(p.plan.reload, unit)
		p.plan.restart[unit] = true
	default:
		delete(p.plan.reload, unit)
		p.stopAndStart(unit, next)
	}
}

// stopAndStart stops a service by its old definition and starts it by its new one; sockets that activate it go with it.
func (p *planner) stopAndStart(unit string, next unitFile) {
	p.plan.stop[unit] = true
	bySocket := false
	for _, socket := range socketsOf(unit, next) {
		if _, active := p.active[socket]; !active {
			continue
		}
		p.plan.stop[socket] = true
		if exists(filepath.Join(p.next, socket)) {
			p.plan.start[socket] = true
			bySocket = true
		}
	}
	if !bySocket {
		p.plan.start[unit] = true
	}
}

func socketsOf(unit string, next unitFile) []string {
	var sockets []string
	for _, value := range next["Service"]["Sockets"] {
		sockets = append(sockets, strings.Fields(value)...)
	}
	if len(sockets) == 0 {
		sockets = []string{strings.TrimSuffix(unit, ".service") + ".socket"}
	}
	return sockets
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isMasked(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && target == os.DevNull
}
