package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// askedAtMost caps the files and units of one request.
const askedAtMost = 200

// probe judges the host as it is, and tells each verdict as it comes.
func (a agent) probe(ctx context.Context, p protocol.ProbeRequest, emit func(any) error) (any, error) {
	for _, s := range p.Probes {
		if err := s.Validate(); err != nil {
			return nil, refuse("probe %s: %v", s.Name, err)
		}
	}
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return nil, err
	}
	tell := func(r probe.Result) { _ = emit(r) } // who asked is told all of them at the end, too
	return probe.Run(ctx, p.Probes, &probe.Host{Systemd: systemd.Of(running), NewSystem: running}, tell), nil
}

// recorded returns the probes of the newest transaction that made the running
// system run, or tried to.
func (a agent) recorded() (any, error) {
	if err := a.readable(); err != nil {
		return nil, err
	}
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return nil, err
	}
	return recordedFor(running, a.remembered()), nil
}

// recordedFor prefers a transaction that had probes: one of a person who went
// back may have had none.
func recordedFor(running string, history []transaction.Record) protocol.RecordedResult {
	result := protocol.RecordedResult{System: running}
	for _, r := range history {
		if r.New != running || result.ID != "" && len(r.Probes) == 0 {
			continue
		}
		result.ID, result.Deployer, result.Started, result.Probes = r.ID, printable(r.Deployer), r.Started, r.Probes
		if len(r.Probes) > 0 {
			break
		}
	}
	return result
}

func (a agent) check(ctx context.Context, p protocol.CheckRequest) (any, error) {
	if len(p.Files) > askedAtMost || len(p.Units) > askedAtMost {
		return nil, refuse("more than %d files or units", askedAtMost)
	}
	var result protocol.CheckResult
	for _, path := range p.Files {
		result.Files = append(result.Files, stateOf(path))
	}
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return result, nil // the facts say so
	}
	if err := sound(ctx, running, running); err != nil {
		result.Broken = err.Error()
	}
	result.Rooted = rooted(running)
	result.Processes = processesBeside(ctx, systemd.Of(running), p.Units)
	return result, nil
}

// stateOf looks at a file, and tells of its content only whether there is any.
func stateOf(path string) protocol.FileState {
	s := protocol.FileState{Path: path}
	if !filepath.IsAbs(path) {
		s.Error = "not an absolute path"
		return s
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s
	case err != nil:
		s.Error = printable(err.Error())
		return s
	}
	s.Exists, s.Regular = true, info.Mode().IsRegular()
	s.Empty = s.Regular && probe.IsBlank(path, info)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Mode, s.UID = stat.Mode&0o7777, stat.Uid
	}
	return s
}

// rooted says whether a link that Nix takes for a root leads to the system. NixOS
// makes current-system one, and every generation of a profile is one.
func rooted(system string) bool {
	for _, place := range []string{"/nix/var/nix/gcroots/*", profiles.RootsDir + "/*", "/nix/var/nix/profiles/system*"} {
		links, _ := filepath.Glob(place)
		for _, link := range links {
			if target, err := filepath.EvalSymlinks(link); err == nil && target == system {
				return true
			}
		}
	}
	return false
}

// processesBeside counts the processes of units beside their main ones; of a unit
// that does not run nothing is told.
func processesBeside(ctx context.Context, m systemd.Manager, names []string) map[string]int {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if len(names) == 0 {
		return nil
	}
	units, err := m.Show(ctx, names...)
	if err != nil {
		return nil
	}
	counts := map[string]int{}
	for name, u := range units {
		if u.ControlGroup == "" || u.ControlGroup == "/" || strings.Contains(u.ControlGroup, "..") {
			continue
		}
		if n := processesIn("/sys/fs/cgroup" + u.ControlGroup); n > 1 {
			counts[name] = n - 1
		}
	}
	return counts
}

func processesIn(group string) int {
	n := 0
	_ = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "cgroup.procs" {
			if data, err := os.ReadFile(path); err == nil {
				n += strings.Count(string(data), "\n")
			}
		}
		return nil // what cannot be read is not counted
	})
	return n
}
