package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/program"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// ofProfile is a unit of the transaction id of a profile.
func ofProfile(ctx context.Context, role, id, name string) error {
	host, err := program.Recall(ownStore(), name)
	if err != nil {
		return err
	}
	switch role {
	case "supervise":
		return host.Engine(toJournal).Supervise(ctx, id)
	case "deadman":
		return host.Engine(toJournal).TakeOver(ctx, id, "the dead-man's switch acted: the supervisor was gone or the last deadline had passed")
	}
	return fmt.Errorf("no role of a unit: %q", role)
}

// ownStore is the machine's, or the one of the user that this program runs as.
func ownStore() transaction.Store {
	if os.Getuid() == 0 {
		return transaction.HostStore()
	}
	// The user's manager need not have the environment of a login: only HOME is sure.
	return transaction.Store{Dir: filepath.Join(os.Getenv("HOME"), ".local/state/hdeploy"), Run: filepath.Join(systemd.RuntimeDir(), "hdeploy")}
}

// resumeProfiles settles at boot what the boot before left of profiles.
func resumeProfiles(ctx context.Context) error {
	store := ownStore()
	var failures []error
	for _, name := range store.Profiles() {
		host, err := program.Recall(store, name)
		if err == nil {
			e := host.Engine(toJournal)
			if err = e.Store.Open(); err == nil {
				_, _, err = e.Resume(ctx)
			}
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("settle what the boot before left of profile %s: %w", name, err))
		}
	}
	return errors.Join(failures...)
}

// forProfile answers a method about one profile.
func (a agent) forProfile(ctx context.Context, p protocol.ProfileRequest, emit func(any) error) (any, error) {
	host, err := program.Open(ownStore(), p.Program, p.Link)
	if err != nil {
		return nil, refuse("%v", err)
	}
	// What was begun goes on as it was begun: only a build tells what is behind a
	// wrapper, and a rollback has none.
	if p.Method != protocol.MethodFacts && p.Method != protocol.MethodStart {
		if begun, err := program.Recall(ownStore(), p.Program.Profile); err == nil && begun.Program.User == host.Program.User {
			host = begun
		}
	}
	of := profileAgent{agent: agent{engine: host.Engine(toJournal), ahead: a.ahead}, host: host}
	switch p.Method {
	case protocol.MethodFacts:
		return decoded(p.Params, func(r protocol.FactsRequest) (any, error) { return of.facts(ctx, r) })
	case protocol.MethodStart:
		return decoded(p.Params, func(r protocol.StartRequest) (any, error) { return of.start(ctx, r) })
	case protocol.MethodRollbackPlan:
		return decoded(p.Params, func(r protocol.RollbackRequest) (any, error) { return of.rollbackPlan(ctx, r) })
	case protocol.MethodBuilt:
		return a.handle(ctx, p.Method, p.Params, emit)
	case protocol.MethodMissing, protocol.MethodLog, protocol.MethodWatch, protocol.MethodConfirm, protocol.MethodAbort,
		protocol.MethodRecall, protocol.MethodHistory, protocol.MethodActivationLog:
		return of.handle(ctx, p.Method, p.Params, emit)
	}
	return nil, refuse("this agent does not know %q of a profile", p.Method)
}

// profileAgent answers what is another thing for a profile than for the system.
type profileAgent struct {
	agent
	host program.Host
}

func (a profileAgent) facts(ctx context.Context, p protocol.FactsRequest) (protocol.Facts, error) {
	facts := nixos.Look("")
	if err := a.engine.Store.Open(); err != nil {
		facts.StateError = err.Error()
		return facts, nil
	}
	var last *transaction.Record
	var err error
	if p.LookOnly {
		last, err = a.engine.Store.Load()
	} else {
		// A peer that hangs up must not stop the host from finding its way back.
		settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
		defer cancel()
		last, err = a.engine.Settle(settling)
	}
	if err != nil {
		facts.StateError = err.Error()
	}
	if last != nil {
		facts.Transaction = a.status(*last)
	}
	// What is told of the system says nothing about the profile.
	facts.Boots, facts.BootsError, facts.Kernel, facts.NextKernel, facts.Inhibitors = bootloader.Default{}, "", nil, nil, nil
	facts.OfProfile = &protocol.ProfileFacts{Kind: a.host.Program.Kind, Link: a.host.Link, Lingers: a.host.Lingers()}
	if facts.Running, facts.Profile, err = a.host.Look(""); err != nil {
		facts.StateError = err.Error()
	}
	facts.Boots.System = facts.Profile.Path
	facts.Rejected = transaction.RejectedIn(a.engine.Store.History())
	if facts.Freeze, err = ownStore().Frozen(); err != nil {
		facts.StateError = err.Error()
	}
	facts.Volatile = nixos.Volatile(a.engine.Store)
	return facts, nil
}

// start begins a transaction of the profile. One that was refused needs no root.
func (a profileAgent) start(ctx context.Context, p protocol.StartRequest) (any, error) {
	if err := validRequest(p); err != nil {
		return nil, err
	}
	if p.Action != "" && p.Action != transaction.Switch && p.Action != transaction.Rollback {
		return nil, refuse("a profile of kind %s can only be switched: what its activation changes lasts beyond a boot", a.host.Program.Kind)
	}
	if err := a.engine.Store.Open(); err != nil {
		return nil, refuse("%v", err)
	}
	freeze, err := ownStore().Frozen()
	switch {
	case err != nil:
		return nil, refuse("%v", err)
	case freeze.Stops(p.Action, p.Deployer) && !p.Force:
		return nil, &protocol.Error{Code: protocol.CodeFrozen, Message: (&transaction.FrozenError{Freeze: *freeze}).Error()}
	}
	s, err := a.begin(ctx, p)
	if err != nil {
		if last, loadErr := a.engine.Store.Load(); loadErr != nil || last == nil || last.ID != p.ID {
			_ = a.host.Forget(p.ID + "-new")
		}
		return nil, err
	}
	return s, nil
}

func (a profileAgent) begin(ctx context.Context, p protocol.StartRequest) (*protocol.Status, error) {
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return nil, err
	}
	if err := a.host.Keep(ctx, p.ID+"-new", p.New); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeMissing, Message: err.Error()}
	}
	if _, err := a.host.Manager().Output(ctx, "nix-store", "--check-validity", p.New); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeMissing, Message: fmt.Sprintf("%s is not valid on the host", p.New)}
	}
	if err := a.host.Suits(p.New); err != nil {
		return nil, refuse("%v", err)
	}
	baseline, err := probe.Take(ctx, systemd.Of(running))
	if err == nil {
		err = baseline.Add(ctx, systemd.Of(running), p.Probes)
	}
	if err != nil {
		return nil, refuse("the state of the host before the trial could not be read: %v", err)
	}
	r, err := a.engine.Prepare(ctx, transaction.Plan{
		ID: p.ID, Deployer: p.Deployer, Revision: p.Revision, Agent: protocol.Release, Profile: a.host.Link, New: p.New,
		Running: p.Running, Limits: p.Limits, Probes: p.Probes, Baseline: baseline, Program: &a.host.Program,
		Action: p.Action, Keep: p.Keep, Dirty: p.Dirty, Tree: p.Tree, Rejects: p.Rejects, Automatic: p.Automatic, Force: p.Force,
		Alone: p.Alone,
	})
	return a.prepared(p, r, err)
}
