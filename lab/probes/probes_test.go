//go:build lab

package probes

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

var (
	all    = flag.Bool("probes.all", false, "run all cases instead of the share that is always run")
	inFull = flag.Bool("probes.real", false, "run all cases with the real waiting windows")
	atOnce = flag.Int("probes.at-once", 7, "hosts that are busy at the same time")
)

// mostHosts is how many hosts there are at the same time, where most only wait.
const mostHosts = 40

var (
	world       *lab.World
	workstation *lab.Host
	hostCount   atomic.Int64
	// busy is taken by hosts that do something, present by all.
	busy, present chan struct{}

	right, wrong atomic.Int64
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := runTests(m)
	if healthy := healthyCount.Load(); healthy > 0 {
		fmt.Printf("healthy: %d deployments, %d rolled back, %d degraded\n", healthy, rolledBack.Load(), degraded.Load())
	}
	fmt.Printf("probes: %d cases, %d wrong\n", right.Load()+wrong.Load(), wrong.Load())
	os.Exit(code)
}

func runTests(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		if world == nil {
			return
		}
		if err := world.Close(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "probes:", err)
			code = 1
		}
	}()
	err := openWorld(ctx)
	if err == nil {
		err = writeSystems(ctx)
	}
	if err == nil {
		busy, present = make(chan struct{}, *atOnce), make(chan struct{}, mostHosts)
		err = flag.Set("test.parallel", fmt.Sprint(len(cases())+1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probes:", err)
		return 1
	}
	finished := make(chan int, 1)
	go func() { finished <- m.Run() }()
	select {
	case code := <-finished:
		return code
	case <-ctx.Done(): // the world must not outlive an interrupted run
		return 1
	}
}

func openWorld(ctx context.Context) (err error) {
	name := "probes"
	if chosen := os.Getenv("HDEPLOY_LAB_WORLD"); chosen != "" {
		name = chosen
	}
	if world, err = lab.OpenFresh(ctx, name); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "scripts/build", world.BinDir())
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build hdeploy: %v: %s", err, out)
	}
	workstation, err = world.Workstation(ctx)
	return err
}

// cases is the whole table.
func cases() []probeCase {
	return slices.Concat(kindsCases, opnixCases, herculesCases)
}

func chosenWindows() windows {
	if *inFull {
		return realWindows
	}
	return shortWindows
}

// writeSystems writes the flake with the systems of all cases, once: a flake that
// changes would be read anew by each deployment. They are built as they are needed.
func writeSystems(ctx context.Context) error {
	if err := workstation.NewFlake(ctx, flakeDir); err != nil {
		return err
	}
	written := map[string]settings{}
	for _, system := range healthyPair() {
		written[attribute(system)] = system
	}
	for _, c := range cases() {
		since, judged, err := c.systems(chosenWindows())
		if err != nil {
			return fmt.Errorf("case %s: %v", c.name, err)
		}
		for _, system := range []settings{since, judged} {
			if system != nil {
				written[attribute(system)] = system
			}
		}
	}
	for name, system := range written {
		if err := workstation.WriteHostConfig(ctx, flakeDir, name, system); err != nil {
			return err
		}
	}
	return nil
}

func TestTableIsWellFormed(t *testing.T) {
	names, always := map[string]bool{}, 0
	for _, c := range cases() {
		if names[c.name] {
			t.Errorf("two cases are called %q", c.name)
		}
		names[c.name] = true
		if c.system == nil && c.since == nil {
			t.Errorf("%s: there is nothing to deploy", c.name)
		}
		if c.outcome == "" || len(c.names()) == 0 {
			t.Errorf("%s: it has no outcome, or no probe", c.name)
		}
		for _, a := range c.answers() {
			if !slices.Contains(c.names(), a.probe) {
				t.Errorf("%s: there is no probe %q", c.name, a.probe)
			}
			if (a.verdict == "pass") != (a.class == "") {
				t.Errorf("%s: verdict %q with class %q", c.name, a.verdict, a.class)
			}
		}
		if !c.more {
			always++
		}
	}
	t.Logf("%d cases, %d of them always", len(names), always)
}

func TestProbes(t *testing.T) {
	var report sync.Mutex
	for _, c := range cases() {
		if c.more && !*all && !*inFull {
			continue
		}
		t.Run(strings.ReplaceAll(c.name, "/", " "), func(t *testing.T) {
			t.Parallel()
			present <- struct{}{}
			defer func() { <-present }()
			busy <- struct{}{}
			waits := sync.OnceFunc(func() { <-busy })
			defer waits()
			began := time.Now()
			tried, err := c.run(t.Context(), waits)
			report.Lock()
			defer report.Unlock()
			if err != nil {
				wrong.Add(1)
				fmt.Printf("wrong  %-60s %6.1f s  %s\n", c.name, time.Since(began).Seconds(), strings.ReplaceAll(err.Error(), "\n", "; "))
				t.Errorf("%v\n%s\n%s", err, tried.run.Story(), tried.log)
				return
			}
			right.Add(1)
			fmt.Printf("right  %-60s %6.1f s  %s\n", c.name, time.Since(began).Seconds(), tried.verdicts())
		})
	}
}

// run makes the host and runs the case.
func (c probeCase) run(ctx context.Context, waits func()) (*trial, error) {
	name := fmt.Sprintf("case%d", hostCount.Add(1))
	t := &trial{probeCase: c, windows: chosenWindows(), dir: "/root/" + name}
	if !*inFull {
		waits = func() {} // short windows leave no room for more hosts
	}
	var err error
	if t.host, err = world.NewHost(ctx, name, lab.HostOptions{Loader: lab.GRUB}); err != nil {
		return t, err
	}
	err = t.judge(ctx, waits)
	t.leave(err != nil)
	return t, err
}
