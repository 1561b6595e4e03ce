package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// RunTests runs the tests of a package two folders below the project's, in a fresh
// world whose workstation has hdeploy as it is now, and removes the world
// afterwards, also when the run is interrupted. HDEPLOY_LAB_WORLD replaces the
// world's name: two runs at the same time need two. The error is why the tests did
// not run, or why the world was not removed.
func RunTests(tests interface{ Run() int }, name string, prepare func(context.Context, *World, *Host) error) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	world, err := OpenFresh(ctx, cmp.Or(os.Getenv("HDEPLOY_LAB_WORLD"), name))
	if err != nil {
		return 1, err
	}
	defer func() {
		if closeErr := world.Close(context.Background()); closeErr != nil {
			code, err = 1, errors.Join(err, closeErr)
		}
	}()
	build := exec.CommandContext(ctx, "scripts/build", world.BinDir())
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build hdeploy: %v: %s", err, out)
	}
	workstation, err := world.Workstation(ctx)
	if err != nil {
		return 1, err
	}
	if err := prepare(ctx, world, workstation); err != nil {
		return 1, err
	}
	finished := make(chan int, 1)
	go func() { finished <- tests.Run() }()
	select {
	case code := <-finished:
		return code, nil
	case <-ctx.Done(): // the world must not outlive an interrupted run
		return 1, nil
	}
}
