package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// oneHostOptions are those of a command for one host, which needs no Nix.
type oneHostOptions struct {
	commonOptions
	host string
	// id names a transaction; empty for the one that runs, or the last one.
	id string
}

// readOneHost reads HOST and, where the command takes it, an ID.
func readOneHost(c *cli.Context, s streams, takesID bool) (oneHostOptions, error) {
	common, err := readCommon(c, s)
	o := oneHostOptions{commonOptions: common, host: c.Args().First()}
	if err != nil {
		return o, err
	}
	most := 1
	if takesID {
		most = 2
		o.id = c.Args().Get(1)
	}
	if n := c.Args().Len(); n < 1 || n > most {
		return o, usageFailure(fmt.Sprintf("%s needs one host%s", c.Command.Name, map[bool]string{true: ", and takes the id of one transaction"}[takesID]),
			"hdeploy help "+c.Command.Name)
	}
	if o.id != "" && !transaction.ValidIDPrefix(o.id) {
		return o, usageFailure(fmt.Sprintf("not the id of a transaction, nor how one begins: %q", o.id), "hdeploy attach "+o.host)
	}
	return o, nil
}

// request turns options and deploy.toml into what the engine takes.
func (o oneHostOptions) request(s streams) (deploy.Request, error) {
	inventory, err := loadInventory(o.commonOptions, s)
	if err != nil {
		return deploy.Request{}, err
	}
	selected, err := inventory.Select([]string{o.host})
	if err != nil {
		return deploy.Request{}, err
	}
	if len(selected) != 1 {
		return deploy.Request{}, usageFailure(fmt.Sprintf("%s stands for %d hosts: name one of them", o.host, len(selected)), "hdeploy hosts")
	}
	return deploy.Request{Hosts: selected, Deployer: deployer(s), Automatic: automatic(s)}, nil
}

// stage is where a run is told: nowhere, until it is opened. A question is asked
// before that, on a terminal that nobody else writes to.
type stage struct {
	mu      sync.Mutex
	told    []event.Event
	story   *telling
	log     func(event.Event)
	display func() (display.Display, error)
	// shown is set where the question has shown the plan to a person already.
	shown bool
}

func (g *stage) event(e event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.story == nil {
		g.told = append(g.told, e)
		return
	}
	g.story.event(e)
}

// open shows what was told so far.
func (g *stage) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.story != nil {
		return nil
	}
	show, err := g.display()
	if err != nil {
		return usageFailure(err.Error(), "hdeploy help")
	}
	g.story = &telling{to: show, log: g.log}
	for _, e := range g.told {
		if e.Plan == nil || !g.shown {
			g.story.event(e)
		}
	}
	return nil
}

func (g *stage) close() error {
	if err := g.open(); err != nil {
		return err
	}
	return g.story.close()
}

// oneHostRun is one run of the engine.
type oneHostRun struct {
	// interrupted is what a first interrupt means for the command.
	interrupted string
	// asks says that the run asks a question, and opens the stage itself.
	asks bool
	work func(context.Context, deploy.Request, *stage) deploy.Report
}

// onOneHost runs the engine for the one host of o and tells what came of it.
func onOneHost(ctx context.Context, s streams, o oneHostOptions, run oneHostRun) error {
	request, err := o.request(s)
	if err != nil {
		return err
	}
	log, logFile, err := openLog(o.commonOptions, s)
	if err != nil {
		return err
	}
	defer logFile.Close()
	g := &stage{log: func(e event.Event) { logEvent(log, e) }, display: func() (display.Display, error) {
		return display.New(o.output, o.display(s, request.Hosts))
	}}
	if !run.asks {
		if err := g.open(); err != nil {
			return err
		}
	}
	request.Events, request.Log = g.event, log
	stop := context.AfterFunc(ctx, func() {
		g.event(event.Event{Time: time.Now(), Type: "note", Note: &event.Note{Level: "warning", Text: run.interrupted}})
	})
	report := run.work(ctx, request, g)
	stop()
	closeErr := g.close()
	if f, ok := errors.AsType[*failure](closeErr); ok {
		return f
	}
	if !o.sameTerminal(s) {
		printFailures(s, report)
	}
	return verdict(report, nil, closeErr)
}
