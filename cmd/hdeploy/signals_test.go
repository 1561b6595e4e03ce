package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy"
)

// SIGTERM is what systemd ends a unit with, which a switch on this very machine may do:
// it does not ask for the old system. SIGINT is a person's.
func TestWhatASignalMeans(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		leaves bool
	}{{syscall.SIGTERM, true}, {syscall.SIGHUP, true}, {syscall.SIGINT, false}} {
		s, _, _ := testStreams(t)
		var cause error
		interruptible(context.Background(), s, func(ctx context.Context) int {
			_ = syscall.Kill(os.Getpid(), c.signal)
			select {
			case <-ctx.Done():
				cause = context.Cause(ctx)
			case <-time.After(10 * time.Second):
			}
			return 0
		})
		if cause == nil || errors.Is(cause, deploy.ErrLeave) != c.leaves {
			t.Errorf("%v: the run ends for %v", c.signal, cause)
		}
	}
}

func TestAnEffectIsKnownByItsEnvironment(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "": false, "false": false} {
		s, _, _ := testStreams(t)
		s.Env = func(name string) (string, bool) { return value, name == "IN_HERCULES_CI_EFFECT" }
		if inEffect(s) != want {
			t.Errorf("%q: %v", value, !want)
		}
	}
}
