// Package lab runs real hosts on one machine: each with its own systemd as PID 1, sshd,
// nix daemon, store, address and power switch, in a network that nothing else can see.
//
// Every file, mount, network and process of a world is found from its name and what is
// written below its directory, never from memory alone: any later process can use the
// world, or remove it after a crash without leaving anything behind.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// World is a network with hosts in it.
type World struct {
	Name string

	image string
	base  base
	repo  string

	mu      sync.Mutex
	created map[string]bool // hosts made through this World, whose names are taken
}

// Open makes the layers that are missing (a minute and more the first time), the network
// and the directories of the world called name. A world that is there is used as it is,
// with the hosts that run in it. Must be root.
func Open(ctx context.Context, name string) (*World, error) {
	w, err := Attach(name)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("open lab: must be root")
	}
	if w.repo, err = repository(); err != nil {
		return nil, err
	}
	if w.image, err = imageLayer(ctx); err != nil {
		return nil, err
	}
	if w.base, err = baseLayer(ctx, w.repo, w.image); err != nil {
		return nil, err
	}
	for _, dir := range []string{w.hostsDir(), w.BinDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create world: %v", err)
		}
	}
	unlock, err := lockRun(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := allowManyHosts(); err != nil {
		return nil, err
	}
	return w, w.openNetwork(ctx)
}

// OpenFresh is Open for a world of which nothing is wanted that an earlier process left.
func OpenFresh(ctx context.Context, name string) (*World, error) {
	stale, err := Attach(name)
	if err != nil {
		return nil, err
	}
	if err := stale.Close(ctx); err != nil {
		return nil, err
	}
	return Open(ctx, name)
}

// Attach returns the world called name without making anything, to look at it, or to
// close what an earlier process left.
func Attach(name string) (*World, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return &World{Name: name, created: map[string]bool{}}, nil
}

// Worlds lists the names of all worlds that have anything on this machine.
func Worlds() ([]string, error) {
	entries, err := os.ReadDir(runDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list worlds: %v", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Close cuts the power of all hosts and removes everything of the world: processes,
// control groups, network, files. The shared layers stay.
func (w *World) Close(ctx context.Context) error {
	hosts, err := w.Hosts()
	if err != nil {
		return err
	}
	failures := make([]error, len(hosts))
	var tasks sync.WaitGroup
	for i, host := range hosts {
		tasks.Go(func() { failures[i] = host.remove(ctx) })
	}
	tasks.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	unlock, err := lockRun(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// A crash can leave a group whose host has no directory any more.
	return errors.Join(cgroupOf(w.Name, "").kill(ctx), w.closeNetwork(ctx), os.RemoveAll(w.dir()))
}

// BinDir is a directory of this machine that the workstation sees as /hdeploy.
func (w *World) BinDir() string { return filepath.Join(w.dir(), "hdeploy") }

func (w *World) dir() string      { return filepath.Join(runDir(), w.Name) }
func (w *World) hostsDir() string { return filepath.Join(w.dir(), "hosts") }

// lockRun serialises the short changes of what all worlds share: numbers and networks.
func lockRun(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(runDir(), 0o700); err != nil {
		return nil, fmt.Errorf("create run directory: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return lockFile(ctx, filepath.Join(runDir(), "lock"))
}

// allowManyHosts raises a limit of the machine that a dozen systemds exhaust.
func allowManyHosts() error {
	const file, want = "/proc/sys/fs/inotify/max_user_instances", 8192
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read inotify limit: %v", err)
	}
	var limit int
	if _, err := fmt.Sscan(string(data), &limit); err != nil || limit >= want {
		return err
	}
	if err := os.WriteFile(file, fmt.Appendln(nil, want), 0); err != nil {
		return fmt.Errorf("raise inotify limit: %v", err)
	}
	return nil
}
