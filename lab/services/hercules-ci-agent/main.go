// Command hercules-ci-agent stands in for the Hercules CI agent on lab hosts: its self-test, its messages and their form, its
// state, and one connection to the service. As with the real one "Agent online." says that it tries, not that it is accepted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
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
	agent.log("Info", "Hercules/Agent.hs:97:13", "Agent online.")
	return agent.serve(ctx)
}

// serve holds the socket until it is told to stop, or crashes where that is asked for.
func (a *agent) serve(ctx context.Context) int {
	crash := make(<-chan time.Time)
	if seconds, err := strconv.Atoi(os.Getenv("LAB_CRASH_AFTER")); err == nil {
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		defer timer.Stop()
		crash = timer.C
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.holdSocket(ctx)
	}()
	code := 0
	select {
	case <-ctx.Done():
	case <-crash:
		fmt.Fprintln(os.Stderr, "hercules-ci-agent: ExitFailure 1: lab crash")
		code = 1
	}
	cancel()
	<-done
	return code
}
