package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// The commands that only ask whether hosts are well.
const (
	commandProbe = "probe"
	commandCheck = "check"
)

// asks begins a run that changes nothing and takes no lock.
func (r Request) asks(command string) (*run, []*hostRun) {
	run := &run{Request: r, only: command, started: time.Now()}
	all := make([]*hostRun, len(r.Hosts))
	for i, h := range r.Hosts {
		all[i] = newHostRun(run, h)
	}
	return run, all
}

// besides runs two things at the same time that do not need each other.
func besides(one, other func()) {
	var both sync.WaitGroup
	both.Go(one)
	both.Go(other)
	both.Wait()
}

// everyHost works on the hosts, on so many of them at the same time.
func everyHost(all []*hostRun, atOnce int, work func(*hostRun)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, h := range all {
		group.Go(func() error { work(h); return nil })
	}
	_ = group.Wait() // the hosts keep their own failures
}

// visit connects and looks, and settles nothing.
func (h *hostRun) visit(ctx context.Context) (seen protocol.LookResult, err error) {
	done := h.phase(event.Preflight)
	defer func() { done(describe(h.facts), err) }()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, a, err := h.connect(ctx, agent.Ask(protocol.MethodLook, protocol.FactsRequest{Profile: profiles.System, LookOnly: true}, &seen, nil))
	if err != nil {
		return seen, h.connectionFailure("connect", err)
	}
	h.use(conn, a)
	h.facts = seen.Facts
	return seen, nil
}

// evaluateAll evaluates what can be evaluated, and says for every other host why it
// cannot. Where declared is set, it asks for what a check looks at, too.
func (r *run) evaluateAll(ctx context.Context, declared bool) (map[string]nix.Evaluated, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, flakeLimit)
	defer cancel()
	done := r.phase("", event.Evaluate)
	attributes := make([]nix.Attribute, len(r.Hosts))
	for i, h := range r.Hosts {
		attributes[i] = systemOf(h)
		if declared {
			attributes[i].Login = h.User
		}
	}
	all, failures := evaluateEach(ctx, r.nix, r.Flake, attributes, r.progress("", event.Evaluate))
	var err error
	if len(failures) > 0 {
		err = fmt.Errorf("%d of %s cannot be evaluated", len(failures), plural(len(r.Hosts), "host"))
	}
	done(plural(len(r.Hosts), "host"), err)
	return all, failures
}

// usableNix finds the Nix of this machine. A question changes nothing here either.
func (r *run) usableNix(ctx context.Context) error {
	program, err := nix.Find(ctx)
	if err != nil {
		return err
	}
	program.Extra = slices.Concat([]string{"--no-write-lock-file"}, r.Nix)
	r.nix = program
	return r.checkNix(ctx)
}

// interruptedFailure is a question that the user stopped.
func (h *hostRun) interruptedFailure() *Failure {
	return &Failure{Host: h.Name, Step: h.run.only, Cause: errors.New("stopped; nothing was changed"), Word: Interrupted, Code: CodeInterrupted}
}
