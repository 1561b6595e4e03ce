package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

// switchOptions are those of all commands that bring systems to hosts.
type switchOptions struct {
	commonOptions
	deployment
	hosts      []string
	flake      string // empty where deploy.toml decides
	dryRun     bool
	force      bool
	keep       bool
	thenReboot bool
	confirm    time.Duration // zero where deploy.toml decides
	activation time.Duration
	orBoot     bool
}

func readSwitch(c *cli.Context, s streams) (switchOptions, error) {
	common, err := readCommon(c, s)
	if err != nil {
		return switchOptions{}, err
	}
	o := switchOptions{commonOptions: common, hosts: c.Args().Slice(),
		dryRun: c.Bool("dry-run"), force: c.Bool("force"), keep: c.Bool("no-rollback"), orBoot: c.Bool("or-boot")}
	if len(o.hosts) == 0 {
		return o, usageFailure(c.Command.Name+" needs at least one host, or @TAG", "hdeploy hosts")
	}
	if o.flake, err = readFlake(c, s); err != nil {
		return o, err
	}
	if o.confirm, err = readTimeout(c, "confirm-timeout"); err != nil {
		return o, err
	}
	o.activation, err = readTimeout(c, "activation-timeout")
	return o, err
}

// runSwitch deploys to the selected hosts and tells what came of it.
func runSwitch(ctx context.Context, s streams, o switchOptions) error {
	request, err := o.request(s)
	if err != nil {
		return err
	}
	log, logFile, err := openLog(o.commonOptions, s)
	if err != nil {
		return err
	}
	defer logFile.Close()
	show, err := display.New(o.output, o.display(s, request.Hosts))
	if err != nil {
		return usageFailure(err.Error(), "hdeploy help "+o.name)
	}
	story := &telling{to: show, log: func(e event.Event) { logEvent(log, e) }}
	request.Events, request.Log = story.event, log
	stop := context.AfterFunc(ctx, func() {
		story.event(event.Event{Time: time.Now(), Type: "note", Note: &event.Note{Level: "warning",
			Text: "interrupted: bringing every host into a state that can be named; interrupt again to leave at once"}})
	})
	report, runErr := deploy.Run(ctx, request)
	stop()
	closeErr := story.close()

	if !o.sameTerminal(s) {
		printFailures(s, report)
	}
	return verdict(report, runErr, closeErr)
}

// verdict is the error that leaves the run: what was not told yet, or only the
// exit code.
func verdict(report deploy.Report, runErr, closeErr error) error {
	code := report.Code()
	switch {
	case runErr != nil: // no host got as far as an outcome
		return runErr
	case closeErr != nil:
		return &failure{code: deploy.Worst(code, deploy.CodeInternal), Failure: event.Failure{
			Step:  "print the answer",
			Cause: fmt.Sprintf("%v; without this the exit code would be %d", closeErr, code),
		}}
	default:
		return exit(code)
	}
}

// sameTerminal is true where the answer on standard output and the errors on
// standard error meet in front of the same person, who need not read the
// cause twice.
func (o commonOptions) sameTerminal(s streams) bool {
	return s.OutTTY && s.ErrTTY && o.output != display.JSON
}

func printFailures(s streams, report deploy.Report) {
	for _, o := range report.Outcomes {
		if o.Failure == nil {
			continue
		}
		f := *o.Failure
		if f.Host == "" {
			f.Host = o.Host
		}
		printFailure(s.ErrOut, f)
	}
}

// request turns options and deploy.toml into what the engine takes.
func (o switchOptions) request(s streams) (deploy.Request, error) {
	inventory, err := loadInventory(o.commonOptions, s)
	if err != nil {
		return deploy.Request{}, err
	}
	selected, err := inventory.Select(o.hosts)
	if err != nil {
		return deploy.Request{}, err
	}
	for i := range selected {
		if o.confirm > 0 {
			selected[i].Timeouts.Confirm = o.confirm
		}
		if o.activation > 0 {
			selected[i].Timeouts.Activation = o.activation
		}
		selected[i].OrBoot = selected[i].OrBoot || o.orBoot
	}
	state, err := stateDir(s)
	if err != nil {
		return deploy.Request{}, err
	}
	flake := inventory.Flake
	if o.flake != "" {
		flake = o.flake
	}
	return deploy.Request{
		Hosts: selected, Flake: flake, DryRun: o.dryRun,
		Goal: o.goal, Action: o.action, Keep: o.keep, Force: o.force, Automatic: automatic(s),
		ThenReboot: o.thenReboot, Deployer: deployer(s), StateDir: state,
	}, nil
}

func (o commonOptions) display(s streams, selected []hosts.Host) display.Settings {
	names := make([]string, len(selected))
	for i, h := range selected {
		names[i] = h.Name
	}
	return display.Settings{
		Out: s.Out, ErrOut: s.ErrOut, OutTTY: s.OutTTY, ErrTTY: s.ErrTTY,
		Color: o.color, Width: s.Width(), Hosts: names, Env: s.Env,
	}
}

// telling passes events on to the log and the display, and to nobody once the
// display is closed: an interrupt may arrive in the same instant.
type telling struct {
	mu     sync.Mutex
	closed bool
	to     display.Display
	log    func(event.Event)
}

func (t *telling) event(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.log(e)
	t.to.Event(e)
}

func (t *telling) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.to.Close()
}

// stateDir is where hdeploy keeps what it needs on this machine.
func stateDir(s streams) (string, error) {
	if base := s.env("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "hdeploy"), nil
	}
	home := s.env("HOME")
	if !filepath.IsAbs(home) {
		return "", usageFailure("neither XDG_STATE_HOME nor HOME names a folder for the results of builds", "export XDG_STATE_HOME=/var/lib/hdeploy")
	}
	return filepath.Join(home, ".local", "state", "hdeploy"), nil
}

// deployer names who deploys from where, for whoever finds the lock taken.
func deployer(s streams) string {
	user := "somebody"
	for _, name := range []string{"USER", "LOGNAME"} {
		if v := s.env(name); v != "" {
			user = v
			break
		}
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "an unnamed machine"
	}
	return display.Clean(user + "@" + machine)
}
