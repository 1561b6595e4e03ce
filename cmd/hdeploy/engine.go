package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

// engineRun is one run of the engine.
type engineRun struct {
	// interrupted is what a first interrupt means for the command.
	interrupted string
	// asks says that the run asks a question, and opens the stage itself.
	asks bool
	work func(context.Context, deploy.Request, *stage) (deploy.Report, error)
}

// runEngine runs the engine and tells what came of it.
func runEngine(ctx context.Context, s streams, o commonOptions, request deploy.Request, run engineRun) error {
	log, logFile, err := openLog(o, s)
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
	if request.Secrets == nil {
		request.Secrets = secrets(s, g.alone)
	}
	stop := context.AfterFunc(ctx, func() {
		g.event(event.Event{Time: time.Now(), Type: "note", Note: &event.Note{Level: "warning", Text: run.interrupted}})
	})
	report, runErr := run.work(ctx, request, g)
	stop()
	closeErr := g.close()
	if f, ok := errors.AsType[*failure](closeErr); ok {
		return f
	}
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
	return (s.OutTTY && s.ErrTTY || o.together) && o.output != display.JSON
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

// stage is where a run is told: nowhere, until it is opened. A question is asked
// before that, on a terminal that nobody else writes to.
type stage struct {
	mu      sync.Mutex
	told    []event.Event
	story   *telling
	log     func(event.Event)
	display func() (display.Display, error)
	// shown is set where the question has shown the plan to a person already,
	// asking while one is open.
	shown, asking bool
}

func (g *stage) event(e event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.story == nil || g.asking {
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
	g.catchUp()
	return nil
}

// catchUp tells what has waited.
func (g *stage) catchUp() {
	for _, e := range g.told {
		if e.Plan == nil || !g.shown {
			g.story.event(e)
		}
	}
	g.told = nil
}

// alone keeps everything else from the terminal while a question is asked there:
// events wait. One question at a time is the caller's part.
func (g *stage) alone(question func()) {
	g.pause()
	defer g.resume()
	question()
}

func (g *stage) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking = true
	if live, ok := g.live(); ok {
		live.Pause()
	}
}

func (g *stage) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking = false
	if g.story == nil {
		return
	}
	g.catchUp()
	if live, ok := g.live(); ok {
		live.Resume()
	}
}

// live is the display that draws by itself, if there is one.
func (g *stage) live() (display.Pauser, bool) {
	if g.story == nil {
		return nil, false
	}
	live, ok := g.story.to.(display.Pauser)
	return live, ok
}

func (g *stage) close() error {
	if err := g.open(); err != nil {
		return err
	}
	return g.story.close()
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
