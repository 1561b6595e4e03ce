package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestRecordedProbesAreThoseOfTheRunningSystem(t *testing.T) {
	specs := []probe.Spec{probe.Defaults(probe.KindNoNewFailedUnits)}
	history := []transaction.Record{
		{ID: "newest", New: "/nix/store/other", Probes: specs},
		{ID: "bare", New: "/nix/store/running"},
		{ID: "probed", New: "/nix/store/running", Probes: specs, Deployer: "ann@laptop"},
		{ID: "older", New: "/nix/store/running", Probes: specs},
	}
	if got := recordedFor("/nix/store/running", history); got.ID != "probed" || len(got.Probes) != 1 || got.Deployer != "ann@laptop" {
		t.Errorf("got %+v", got)
	}
	if got := recordedFor("/nix/store/running", history[:2]); got.ID != "bare" || got.Probes != nil {
		t.Errorf("without probes: %+v", got)
	}
	if got := recordedFor("/nix/store/factory", history); got.ID != "" || got.System != "/nix/store/factory" {
		t.Errorf("never deployed: %+v", got)
	}
}

func TestOfAFileIsToldHowItLooks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(file); !s.Exists || !s.Regular || s.Empty || s.Mode != 0o600 || s.UID != uint32(os.Getuid()) {
		t.Errorf("a file: %+v", s)
	}
	if err := os.WriteFile(file, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(file); !s.Empty {
		t.Errorf("a file of blanks: %+v", s)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(link); !s.Regular || !s.Empty {
		t.Errorf("a link to an empty file: %+v", s)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := stateOf(pipe); !s.Exists || s.Regular { // and it does not wait for a writer
		t.Errorf("a pipe: %+v", s)
	}
	if s := stateOf(filepath.Join(dir, "gone")); s.Exists || s.Error != "" {
		t.Errorf("no file: %+v", s)
	}
	if s := stateOf(filepath.Join(file, "below")); s.Exists || s.Error == "" {
		t.Errorf("below a file: %+v", s)
	}
	if s := stateOf("token"); s.Error == "" {
		t.Errorf("a relative path: %+v", s)
	}
}

func TestProcessesAreCountedInAllGroupsOfAUnit(t *testing.T) {
	group := t.TempDir()
	for name, procs := range map[string]string{"cgroup.procs": "10\n", "effect/cgroup.procs": "11\n12\n", "effect/memory.max": "max\n"} {
		file := filepath.Join(group, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(procs), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := processesIn(group); n != 3 {
		t.Errorf("%d processes, not 3", n)
	}
	if n := processesIn(filepath.Join(group, "gone")); n != 0 {
		t.Errorf("%d processes of a unit that does not run", n)
	}
}
