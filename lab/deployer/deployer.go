//go:build lab

// Package deployer runs hdeploy in the lab's workstation and keeps what it told.
//
// A run that was started has ended, by itself or killed, once Wait has returned.
package deployer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// Options are the surroundings of a run.
type Options struct {
	// Dir is the working directory, State where hdeploy keeps its own.
	Dir, State string
	// Config is the deploy.toml.
	Config string
	// Env is added to the environment.
	Env []string
}

// Run is one hdeploy, running or ended.
type Run struct {
	// Ended is closed at its end.
	Ended <-chan struct{}

	process *lab.Process
	stderr  bytes.Buffer
	code    int

	mu      sync.Mutex
	partial []byte
	events  []event.Event
	changed chan struct{}
}

// Start starts an hdeploy that tells in JSON what happens. It is killed when ctx ends.
func Start(ctx context.Context, workstation *lab.Host, o Options, command ...string) (*Run, error) {
	ended := make(chan struct{})
	r := &Run{Ended: ended, changed: make(chan struct{})}
	args := append([]string{"/hdeploy/hdeploy"}, command...)
	process, err := workstation.Start(ctx, lab.ExecOptions{
		Dir: o.Dir, Env: append([]string{"XDG_STATE_HOME=" + o.State}, o.Env...),
		Stdout: stream{r}, Stderr: &r.stderr,
	}, append(args, "--config", o.Config, "--output", "json")...)
	if err != nil {
		return nil, err
	}
	r.process = process
	go func() {
		defer close(ended)
		if r.code, err = process.Wait(); err != nil {
			r.code = -1
		}
	}()
	return r, nil
}

// stream takes the JSON lines of a run.
type stream struct{ run *Run }

func (s stream) Write(data []byte) (int, error) {
	r := s.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = append(r.partial, data...)
	for {
		line, rest, found := bytes.Cut(r.partial, []byte("\n"))
		if !found {
			break
		}
		var e event.Event
		if json.Unmarshal(line, &e) == nil {
			r.events = append(r.events, e)
		}
		r.partial = append([]byte(nil), rest...)
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return len(data), nil
}

// Code is the exit code of a run that has ended; at least 128 where a signal ended it.
func (r *Run) Code() int { return r.code }

// Events are what it has told so far.
func (r *Run) Events() []event.Event {
	events, _ := r.look()
	return events
}

func (r *Run) look() ([]event.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.Event(nil), r.events...), r.changed
}

// Await waits for an event.
func (r *Run) Await(ctx context.Context, what string, is func(event.Event) bool) error {
	for {
		events, changed := r.look()
		for _, e := range events {
			if is(e) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-r.Ended:
			return fmt.Errorf("the deployer ended with code %d before %s", r.code, what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// Outcome is how the host ended for this deployer, nil where it did not say.
func (r *Run) Outcome() *event.Outcome {
	for _, e := range r.Events() {
		if e.Outcome != nil {
			return e.Outcome
		}
	}
	return nil
}

// Signal sends the run a signal, if it has not ended.
func (r *Run) Signal(signal syscall.Signal) error {
	select {
	case <-r.Ended:
		return nil
	default:
	}
	return r.process.Signal(signal)
}

// Kill ends the run, if it has not ended, as a crash would.
func (r *Run) Kill() error {
	select {
	case <-r.Ended:
		return nil
	default:
	}
	if err := r.process.Kill(); err != nil {
		return fmt.Errorf("kill the deployer: %v", err)
	}
	<-r.Ended
	return nil
}

// Wait waits for the end of the run. One that does not end is killed.
func (r *Run) Wait(ctx context.Context) error {
	select {
	case <-r.Ended:
		return nil
	case <-ctx.Done():
		_ = r.process.Kill()
		<-r.Ended
		return fmt.Errorf("wait for the end of the deployer: %w", context.Cause(ctx))
	}
}

// Story is the whole run, for the log of what went wrong.
func (r *Run) Story() string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	for _, e := range r.Events() {
		if e.Type != "progress" {
			line, _ := json.Marshal(e)
			fmt.Fprintf(&b, "%s\n", line)
		}
	}
	select {
	case <-r.Ended:
		fmt.Fprintf(&b, "exit code %d; stderr:\n%s", r.code, r.stderr.String())
	default:
		b.WriteString("it has not ended\n")
	}
	return b.String()
}
