//go:build lab

package probes

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// healthyKnobs are both services as they should be. Every revision restarts the agent.
var healthyKnobs = settings{"opnix": settings{}, "hercules": settings{"labelRevision": true}}

// healthyProbes are all that have an opinion of them.
var healthyProbes = probe("onepassword-secrets", "onepassword-secrets", "@secrets@") +
	probe("hercules-ci-agent", "hercules-ci-agent", "@agent@") +
	probe("no-new-failed-units", "no-new-failed-units", watch)

var healthyCount, rolledBack, degraded atomic.Int64

// healthyPair are the two systems that are deployed in turn.
func healthyPair() [2]settings {
	var pair [2]settings
	for i, revision := range []string{"healthy-a", "healthy-b"} {
		var err error
		if pair[i], err = chosenWindows().system(revision, healthyKnobs); err != nil {
			panic(err)
		}
	}
	return pair
}

// TestHealthyDeploymentsStayUnderLoad deploys two healthy systems in turn, on several
// hosts side by side, while something else wants all of the machine's time.
func TestHealthyDeploymentsStayUnderLoad(t *testing.T) {
	deployments, hosts := 5, 2
	if *inFull {
		deployments, hosts = 50, 17
	}
	defer load(t)()
	var tasks sync.WaitGroup
	for i := range hosts {
		share := deployments / hosts
		if i < deployments%hosts {
			share++
		}
		tasks.Go(func() {
			if err := deployHealthy(t.Context(), fmt.Sprintf("healthy%d", i), share); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
}

// load keeps one more process busy than there are processors, until it is called off.
func load(t *testing.T) (off func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var processes []*lab.Process
	for range runtime.NumCPU() + 1 {
		p, err := workstation.Start(ctx, lab.ExecOptions{}, "sh", "-c", "while :; do :; done")
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		processes = append(processes, p)
	}
	return func() {
		cancel()
		for _, p := range processes {
			_, _ = p.Wait() // it was killed
		}
	}
}

// deployHealthy makes a host and deploys to it so often.
func deployHealthy(ctx context.Context, name string, times int) error {
	host, err := world.NewHost(ctx, name, lab.HostOptions{Loader: lab.GRUB})
	if err != nil {
		return err
	}
	t := &trial{probeCase: probeCase{name: name, probes: healthyProbes}, windows: chosenWindows(), host: host, dir: "/root/" + name}
	var failures []error
	for i := range times {
		if err := t.deployOnceMore(ctx, healthyPair()[i%2]); err != nil {
			failures = append(failures, fmt.Errorf("%s, deployment %d: %w\n%s", name, i+1, err, t.run.Story()))
		}
	}
	t.leave(len(failures) > 0)
	if len(failures) > 0 {
		failures = append(failures, errors.New(t.log))
	}
	return errors.Join(failures...)
}

func (t *trial) deployOnceMore(ctx context.Context, system settings) error {
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	busy <- struct{}{}
	waits := sync.OnceFunc(func() { <-busy })
	defer waits()
	if err := settle(ctx, t.host); err != nil {
		return err
	}
	var err error
	if t.run, err = t.deploy(ctx, "healthy", system, t.probes); err != nil {
		return err
	}
	if err := t.meanwhile(ctx, waits); err != nil {
		return err
	}
	if err := t.run.Wait(ctx); err != nil {
		return err
	}
	healthyCount.Add(1)
	outcome := t.run.Outcome()
	switch {
	case outcome == nil:
		return errors.New("no outcome is told")
	case outcome.Outcome == "degraded":
		degraded.Add(1)
	case outcome.Outcome != "committed":
		rolledBack.Add(1)
	default:
		return nil
	}
	return fmt.Errorf("it ended as %s", outcome.Outcome)
}
