// Command hercules-ci-agent stands in for the Hercules CI agent on lab hosts: its self-test, its messages and their form, its
// state, one connection to the service, and workers that run effects for whoever puts them into its queue. As with the real one "Agent online." says that it tries, not that it is accepted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, arguments []string) int {
	flags := flag.NewFlagSet("hercules-ci-agent", flag.ContinueOnError)
	configFile := flags.String("config", "", "configuration file")
	testOnly := flags.Bool("test-configuration", false, "check the configuration and exit")
	if err := flags.Parse(arguments); err != nil {
		return 1
	}
	agent, err := start(*configFile)
	if err != nil {
		fmt.Fprintf(os.Stderr, "hercules-ci-agent: %v\n", err)
		return 1
	}
	if *testOnly {
		return 0
	}
	if err := agent.openSession(); err != nil {
		fmt.Fprintf(os.Stderr, "hercules-ci-agent: %v\n", err)
		return 1
	}
	if os.Getenv("LAB_NEVER_ONLINE") == "" {
		agent.log("Info", "Hercules/Agent.hs:97:13", "Agent online.")
	}
	for range int(seconds("LAB_TASKS", 0) / time.Second) {
		agent.log("Info", "Hercules/Agent.hs:201:5", "Starting task")
	}
	return agent.serve(ctx)
}

// serve holds the socket until it is told to stop, or crashes where that is asked for.
func (a *agent) serve(ctx context.Context) int {
	crash := make(<-chan time.Time)
	if after := seconds("LAB_CRASH_AFTER", -1); after >= 0 {
		timer := time.NewTimer(after)
		defer timer.Stop()
		crash = timer.C
	}
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if os.Getenv("LAB_NO_CONNECTION") == "" {
			a.holdSocket(ctx)
		}
	})
	tasks.Go(func() { a.takeTasks(ctx) })
	code := 0
	select {
	case <-ctx.Done():
	case <-crash:
		fmt.Fprintln(os.Stderr, "hercules-ci-agent: ExitFailure 1: lab crash")
		code = 1
	}
	cancel()
	tasks.Wait()
	return code
}
