package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
)

// interruptible runs a command so that the first signal asks it to end, with
// every host left in a state that it can name, and the second one does not
// wait for it: the code is then that of an interrupted run at once, and the
// hosts go on by themselves. SIGTERM and SIGHUP come from whoever ends a session or a
// service, which a switch may do itself: they ask the run to leave a host alone that
// decides by itself. SIGINT is a person's.
func interruptible(ctx context.Context, s streams, run func(context.Context) int) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	// Two signals may arrive before the first is read.
	arrived := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		// What nohup or a shell's & made ignored stays ignored.
		if !signal.Ignored(sig) {
			signal.Notify(arrived, sig)
		}
	}
	defer signal.Stop(arrived)

	// A reader that left, as in "hdeploy ... | head", must be an error of the
	// write and not the end of a process that watches over a host. Being
	// notified does that, and unlike ignoring is not inherited by Nix.
	brokenPipe := make(chan os.Signal, 1)
	signal.Notify(brokenPipe, syscall.SIGPIPE)
	defer signal.Stop(brokenPipe)

	done := make(chan int, 1)
	go func() { done <- run(ctx) }()
	select {
	case code := <-done:
		return code
	case sig := <-arrived:
		cancel(causeOf(sig))
	}
	select {
	case code := <-done:
		return code
	case <-arrived:
		if s.ErrTTY {
			fmt.Fprint(s.ErrOut, display.ShowCursor+"\n")
		}
		fmt.Fprintln(s.ErrOut, "hdeploy: interrupted again: left without waiting; a host in trial goes back by itself, or decides by itself where it deploys itself, and one that was committing or rebooting goes on: hdeploy status HOST says where it is")
		return deploy.CodeInterrupted
	}
}

// causeOf is why the context of a run ends that got the signal.
func causeOf(sig os.Signal) error {
	if sig == os.Interrupt {
		return nil
	}
	return deploy.ErrLeave
}
