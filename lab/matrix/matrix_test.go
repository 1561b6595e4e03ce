//go:build lab

package matrix

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

var (
	full   = flag.Bool("matrix.full", false, "run all cells instead of the representative quarter")
	atOnce = flag.Int("matrix.at-once", 6, "cells that run side by side")
)

var (
	world       *lab.World
	workstation *lab.Host
	// systems are the toplevels of each flavour for each loader, collected those
	// of cells whose system has no root on the deployer.
	systems   = map[string]map[flavour]string{}
	collected = map[string]string{}

	// places are taken by the cells that are busy.
	places chan struct{}

	hostCount  atomic.Int64
	cells      = generate()
	held, lost atomic.Int64
)

const flakeDir = "/root/flake"

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := lab.RunTests(m, "matrix", func(ctx context.Context, w *lab.World, station *lab.Host) error {
		world, workstation = w, station
		if err := buildSystems(ctx); err != nil {
			return err
		}
		places = make(chan struct{}, *atOnce)
		return flag.Set("test.parallel", fmt.Sprint(len(cells)))
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
	}
	fmt.Printf("matrix: %d cells, %d held, %d lost\n", held.Load()+lost.Load(), held.Load(), lost.Load())
	os.Exit(code)
}

// settings is one hosts/NAME.json of the lab's flake.
type settings map[string]any

var loaders = []string{lab.GRUB, lab.SystemdBoot}

var flavours = map[flavour]settings{
	good:       {"revision": "new"},
	large:      {"revision": "new", "payloadMiB": 12, "payloadPaths": 16},
	failing:    {"revision": "new", "faults": settings{"stcExit": 2}},
	unbootable: {"revision": "new", "faults": settings{"bootFull": true}},
	mountless:  {"revision": "new", "faults": settings{"badMount": true}},
	busless:    {"revision": "new", "faults": settings{"dbusDead": true}},
	after:      {"revision": "after"},
}

func attributeOf(f flavour, loader string) string { return string(f) + "-" + loader }

// collectable is the attribute of a system that only one cell deploys.
func collectable(name string) string { return "cell-" + strings.ReplaceAll(name, "@", "-") }

// buildSystems builds everything that the cells deploy once, so that a cell costs
// what happens on its host.
func buildSystems(ctx context.Context) error {
	if err := workstation.NewFlake(ctx, flakeDir); err != nil {
		return err
	}
	var rooted []string
	write := func(name, loader, revision string, of settings) error {
		all := settings{"loader": loader, "setHostName": false}
		for key, value := range of {
			all[key] = value
		}
		all["revision"] = revision
		return workstation.WriteHostConfig(ctx, flakeDir, name, all)
	}
	for _, loader := range loaders {
		for f, of := range flavours {
			if err := write(attributeOf(f, loader), loader, fmt.Sprint(of["revision"]), of); err != nil {
				return err
			}
			rooted = append(rooted, flakeDir+"#nixosConfigurations."+attributeOf(f, loader)+".config.system.build.toplevel")
		}
	}
	for _, c := range cells {
		if c.fault.collectable {
			if err := write(collectable(c.name), c.loader, c.name, flavours[c.step.system]); err != nil {
				return err
			}
		}
	}
	build := append([]string{"nix", "build", "--out-link", "/root/built"}, rooted...)
	if _, err := inWorkstation(ctx, build...); err != nil {
		return err
	}
	out, err := inWorkstation(ctx, "nix", "eval", "--json", flakeDir+"#nixosConfigurations",
		"--apply", "builtins.mapAttrs (name: host: host.config.system.build.toplevel.outPath)")
	if err != nil {
		return err
	}
	var paths map[string]string
	if err := json.Unmarshal([]byte(out), &paths); err != nil {
		return fmt.Errorf("read the systems: %v", err)
	}
	for _, loader := range loaders {
		systems[loader] = map[flavour]string{}
		for f := range flavours {
			systems[loader][f] = paths[attributeOf(f, loader)]
		}
	}
	for _, c := range cells {
		if c.fault.collectable {
			collected[c.name] = paths[collectable(c.name)]
		}
	}
	return nil
}

func inWorkstation(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	result, err := workstation.Exec(ctx, command...)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("%s: code %d: %s", command[0], result.Code, result.Stderr)
	}
	return result.Stdout, err
}

// planned is a cell that was not begun.
type planned struct {
	name   string
	step   step
	fault  fault
	loader string
	// quarter says that it is one of the representative ones.
	quarter bool
}

// generate makes a cell of every fault at each of its steps. The quarter is every
// fourth of them, and one of a fault that would have none.
func generate() []planned {
	var all []planned
	for f, fault := range faults {
		represented := false
		for s, step := range steps {
			if !fault.at(step) {
				continue
			}
			p := planned{
				name: fault.name + "@" + step.name, step: step, fault: fault,
				loader: loaders[(f+s)%len(loaders)], quarter: len(all)%4 == 3,
			}
			represented = represented || p.quarter
			all = append(all, p)
		}
		all[len(all)-1].quarter = all[len(all)-1].quarter || !represented
	}
	return all
}

func TestTableIsWholeAndTheQuarterTouchesAllOfIt(t *testing.T) {
	covered := map[string]bool{}
	quarter, names := 0, map[string]bool{}
	for _, p := range cells {
		names[p.name] = true
		if p.quarter {
			quarter++
			covered["fault "+p.fault.name], covered["step "+p.step.name] = true, true
		}
	}
	if len(cells) < 150 || len(names) != len(cells) {
		t.Errorf("%d cells of %d names", len(cells), len(names))
	}
	known := map[string]bool{}
	for _, s := range steps {
		known[s.name] = true
	}
	for _, f := range faults {
		for _, name := range f.steps {
			if !known[name] {
				t.Errorf("%s is tried at %q, which is no step", f.name, name)
			}
		}
		if len(f.steps) > 0 && f.elsewhere == "" {
			t.Errorf("there is no reason why %s is not tried elsewhere", f.name)
		}
		if !covered["fault "+f.name] {
			t.Errorf("the quarter has no %s", f.name)
		}
	}
	for _, s := range steps {
		if !covered["step "+s.name] {
			t.Errorf("the quarter has no %s", s.name)
		}
	}
	t.Logf("%d cells, %d in the quarter, %d excluded", len(cells), quarter, len(faults)*len(steps)-len(cells))
}

func TestMatrix(t *testing.T) {
	var report sync.Mutex
	var slowOnes sync.WaitGroup // have begun
	for _, p := range cells {
		if !*full && !p.quarter {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			if p.fault.slow {
				slowOnes.Add(1)
			}
			t.Parallel()
			if !p.fault.slow {
				slowOnes.Wait()
			}
			places <- struct{}{}
			giveWay := sync.OnceFunc(func() { <-places })
			defer giveWay()
			if p.fault.slow {
				slowOnes.Done()
			}
			began := time.Now()
			c, err := p.run(t.Context(), giveWay)
			verdict := "held"
			if err != nil {
				verdict = "LOST"
				lost.Add(1)
				t.Errorf("%v%s", err, c.evidence())
			} else {
				held.Add(1)
			}
			report.Lock()
			defer report.Unlock()
			fmt.Printf("%s  %-40s %5.1f s  %s\n", verdict, p.name, time.Since(began).Seconds(), c.ends())
		})
	}
}

// run makes the host and runs the cell.
func (p planned) run(ctx context.Context, giveWay func()) (*cell, error) {
	name := fmt.Sprintf("cell%d", hostCount.Add(1))
	c := &cell{name: p.name, step: p.step, fault: p.fault, dir: path.Join("/root", name), giveWay: giveWay}
	var err error
	c.host, err = world.NewHost(ctx, name, lab.HostOptions{Loader: p.loader, Disks: p.fault.disks})
	if err != nil {
		return c, err
	}
	err = c.run(ctx)
	c.leave(err != nil)
	return c, err
}

// leave switches the host off, and its deployers.
func (c *cell) leave(isLost bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, d := range []*deployer{c.first, c.second} {
		if d != nil {
			_ = d.kill()
		}
	}
	if isLost {
		c.log = c.hostLog(ctx)
	}
	_ = c.host.PowerCut(ctx)
}

// hostLog is what a lost cell left on its host.
func (c *cell) hostLog(ctx context.Context) string {
	if !c.host.Running() {
		return "the host is off"
	}
	result, err := c.host.Exec(ctx, "sh", "-c", "journalctl -o short-monotonic --no-pager -n 150 | cut -c1-220; cat /run/hdeploy/*/activation.log | tail -n 40; cut -c1-3000 /var/lib/hdeploy/transaction.json")
	return fmt.Sprintf("%s%s%v", result.Stdout, result.Stderr, err)
}

// evidence is everything that may tell why a cell is lost.
func (c *cell) evidence() string {
	return fmt.Sprintf("\nfirst deployer:\n%s\nsecond deployer:\n%s\nhost:\n%s", c.first.story(), c.second.story(), c.log)
}

// ends says how the cell ended.
func (c *cell) ends() string {
	if c.first == nil {
		return "not begun"
	}
	return fmt.Sprintf("deployer %d, host %s", c.first.code, c.ended)
}
