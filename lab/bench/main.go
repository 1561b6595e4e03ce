// Command bench measures hdeploy against the commands that a careful person would type
// for the same deployment, in one world of the lab.
//
// It keeps the comparison fair: both sides run in turn and in alternating order, on the
// same workstation, against the same host, for closures that are built already, with a
// flake that neither has evaluated before; and every run is checked to have left what it
// was to leave, or nothing is said about its time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `bench: hdeploy beside the same deployment by hand, in the lab

Usage: scripts/bench [--runs N] [--only NAME[,NAME]] [--json] [--check]

  --runs N        pairs of runs for each figure, of which the medians are taken (7)
  --only NAMES    only these figures, with commas between them:
                  %s
  --json          one JSON object for each figure instead of the table
  --check         exit code 1 if a limit is missed
  --phases        also print where hdeploy's time goes, to stderr
  --timeout TIME  give up after this long (25m)
  --hdeploy FILE  the program to measure; scripts/bench builds it

  scripts/bench --runs 11 --only unchanged@0ms,changed@0ms --check
`

type options struct {
	runs    int
	only    []string
	json    bool
	check   bool
	phases  bool
	timeout time.Duration
	hdeploy string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf(usage, strings.Join(figureNames(), " "))
		stop()
		return
	}
	code := 2
	if err == nil {
		code, err = run(ctx, o)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(code)
}

func parse(args []string) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&o.runs, "runs", 7, "")
	flags.StringVar(&only, "only", "", "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.BoolVar(&o.check, "check", false, "")
	flags.BoolVar(&o.phases, "phases", false, "")
	flags.DurationVar(&o.timeout, "timeout", 25*time.Minute, "")
	flags.StringVar(&o.hdeploy, "hdeploy", "", "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(figureNames(), name) {
			return o, fmt.Errorf("unknown figure %q; there are %s", name, strings.Join(figureNames(), ", "))
		}
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; see scripts/bench --help", flags.Arg(0))
	case o.runs < 1 || o.runs > 99:
		return o, fmt.Errorf("--runs %d: want 1 to 99", o.runs)
	case o.timeout <= 0:
		return o, fmt.Errorf("--timeout %v: want more than zero", o.timeout)
	case o.hdeploy == "":
		return o, errors.New("--hdeploy is missing; scripts/bench gives it")
	}
	return o, nil
}

// run measures and prints. The world is gone when it returns.
func run(ctx context.Context, o options) (code int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done within %v (--timeout)", o.timeout))
	defer cancel()
	b, err := open(ctx, o)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var taken []reading
	for _, f := range figures {
		if !f.wanted(o.only) {
			continue
		}
		r, err := b.measure(ctx, f)
		if cause := context.Cause(ctx); cause != nil {
			return 1, cause
		}
		if err != nil {
			return 1, fmt.Errorf("%s: %w", f.name, err)
		}
		taken = append(taken, r)
		if o.json {
			fmt.Println(r.json())
		}
	}
	if !o.json {
		printTable(os.Stdout, taken, o.runs)
	}
	if o.check && slices.ContainsFunc(taken, reading.missed) {
		return 1, nil
	}
	return 0, nil
}
