package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// freshness is how old a baseline may be when the trial begins.
const freshness = 10 * time.Second

// ahead takes the baseline while the closure is being copied, since PID 1 needs
// its time for it. One that got old during a long copy is taken again.
type ahead struct {
	began   time.Time
	running string
	done    chan struct{}
	taken   probe.Baseline
	err     error
}

func (a *ahead) begin(ctx context.Context) {
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil || a.done != nil {
		return
	}
	a.began, a.running, a.done = time.Now(), running, make(chan struct{})
	go func() {
		defer close(a.done)
		a.taken, a.err = probe.Take(ctx, systemd.Of(running))
	}()
}

// baseline returns what was taken ahead where it is still good, else a new one.
func (a *ahead) baseline(ctx context.Context, running string) (probe.Baseline, error) {
	if a.done != nil && a.running == running && time.Since(a.began) < freshness {
		select {
		case <-a.done:
			if a.err == nil {
				return a.taken, nil
			}
		case <-ctx.Done():
			return probe.Baseline{}, ctx.Err()
		}
	}
	return probe.Take(ctx, systemd.Of(running))
}
