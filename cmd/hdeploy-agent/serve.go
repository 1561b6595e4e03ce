package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// settleLimit bounds what an agent does about the past before it answers.
// The deployer waits for its first answer a little longer; what the units of the
// host have not settled by then goes on, and the answer says that it does.
const settleLimit = 45 * time.Second

func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	a := agent{engine: hostEngine(), ahead: &ahead{}}
	// Whoever started this program has just logged in.
	seeing, cancel := context.WithTimeout(ctx, settleLimit)
	_ = a.engine.See(seeing)
	cancel()
	return protocol.Serve(ctx, in, out, protocol.Own(), a.handle)
}

// agent answers the methods of the protocol.
type agent struct {
	engine transaction.Engine
	ahead  *ahead
}

func (a agent) handle(ctx context.Context, method string, params json.RawMessage, emit func(any) error) (any, error) {
	switch method {
	case protocol.MethodFacts:
		return decoded(params, func(p protocol.FactsRequest) (any, error) { return a.facts(ctx, p) })
	case protocol.MethodMissing:
		return decoded(params, func(p protocol.MissingRequest) (any, error) {
			a.ahead.begin(ctx)
			return missing(p), nil
		})
	case protocol.MethodLog:
		return decoded(params, func(p protocol.LogRequest) (any, error) { return a.log(p) })
	case protocol.MethodStart:
		return decoded(params, func(p protocol.StartRequest) (any, error) { return a.start(ctx, p) })
	case protocol.MethodWatch:
		return decoded(params, func(p protocol.WatchRequest) (any, error) { return a.watch(ctx, p, emit) })
	case protocol.MethodConfirm:
		return decoded(params, func(p protocol.DecideRequest) (any, error) { return a.confirm(ctx, p, emit) })
	case protocol.MethodAbort:
		return decoded(params, func(p protocol.DecideRequest) (any, error) { return a.abort(ctx, p) })
	case protocol.MethodReboot:
		return decoded(params, func(p protocol.RebootRequest) (any, error) { return a.reboot(ctx, p) })
	case protocol.MethodDryActivate:
		return decoded(params, func(p protocol.DryActivateRequest) (any, error) { return a.dryActivate(ctx, p) })
	case protocol.MethodPush:
		return decoded(params, func(p protocol.PushRequest) (any, error) { return a.push(ctx, p) })
	case protocol.MethodBuilt:
		return decoded(params, func(p protocol.BuiltRequest) (any, error) { return a.built(ctx, p) })
	case protocol.MethodNixSettings:
		return a.nixSettings(ctx)
	case protocol.MethodRollbackPlan:
		return decoded(params, func(p protocol.RollbackRequest) (any, error) { return a.rollbackPlan(ctx, p) })
	case protocol.MethodRecall:
		return decoded(params, func(p protocol.RecallRequest) (any, error) { return a.recallOne(p) })
	case protocol.MethodWitness:
		return decoded(params, func(p protocol.WitnessRequest) (any, error) { return a.witness(ctx, p) })
	case protocol.MethodProfile:
		return decoded(params, func(p protocol.ProfileRequest) (any, error) { return a.forProfile(ctx, p, emit) })
	case protocol.MethodProbe:
		return decoded(params, func(p protocol.ProbeRequest) (any, error) { return a.probe(ctx, p, emit) })
	}
	return a.read(ctx, method, params, emit)
}

func decoded[P any](params json.RawMessage, handle func(P) (any, error)) (any, error) {
	var p P
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeRefused, Message: fmt.Sprintf("read request: %v", err)}
	}
	return handle(p)
}

func refuse(format string, args ...any) error {
	return &protocol.Error{Code: protocol.CodeRefused, Message: fmt.Sprintf(format, args...)}
}

// missing looks for the paths themselves: the database can only say more than
// that for a path that a crash left half-written, which the root's check finds.
func missing(p protocol.MissingRequest) protocol.MissingResult {
	var result protocol.MissingResult
	for _, path := range p.Paths {
		if !profiles.ValidStorePath(path) {
			continue
		}
		if _, err := os.Lstat(path); err != nil {
			result.Paths = append(result.Paths, path)
		}
	}
	return result
}

// start begins a transaction. One that was refused needs no root.
func (a agent) start(ctx context.Context, p protocol.StartRequest) (any, error) {
	if err := validStart(p); err != nil {
		return nil, err
	}
	if err := a.wayBack(p); err != nil {
		return nil, err
	}
	s, err := a.begin(ctx, p)
	if err != nil {
		if last, loadErr := a.engine.Store.Load(); loadErr != nil || last == nil || last.ID != p.ID {
			_ = profiles.RemoveRoot(p.ID + "-new")
		}
		return nil, err
	}
	return s, nil
}

func (a agent) begin(ctx context.Context, p protocol.StartRequest) (*protocol.Status, error) {
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return nil, err
	}
	if err := a.engine.Store.Open(); err != nil {
		return nil, refuse("%v", err)
	}
	var baseline probe.Baseline
	var baselineErr, missing, objection error
	var looks sync.WaitGroup
	looks.Go(func() { baseline, baselineErr = a.ahead.baseline(ctx, running) })
	looks.Go(func() {
		if missing = keep(ctx, running, p); missing == nil {
			objection = a.object(ctx, running, p) // it runs the new system's own program
		}
	})
	looks.Wait()
	// What is not whole cannot be judged.
	if err := cmp.Or(missing, objection); err != nil {
		return nil, err
	}
	if baselineErr == nil {
		baselineErr = baseline.Add(ctx, systemd.Of(running), p.Probes)
	}
	if baselineErr != nil {
		return nil, refuse("the state of the host before the trial could not be read: %v", baselineErr)
	}
	r, err := a.engine.Prepare(ctx, transaction.Plan{
		ID: p.ID, Deployer: p.Deployer, Revision: p.Revision, Agent: protocol.Release, Profile: p.Profile, New: p.New,
		Running: p.Running, Limits: p.Limits, Probes: p.Probes, Baseline: baseline,
		Action: p.Action, Keep: p.Keep, Dirty: p.Dirty, Tree: p.Tree, Rejects: p.Rejects, Automatic: p.Automatic, Force: p.Force,
		LastResort: p.LastResort, Alone: p.Alone,
	})
	return a.prepared(p, r, err)
}

// prepared answers how the beginning of a transaction went.
func (a agent) prepared(p protocol.StartRequest, r *transaction.Record, err error) (*protocol.Status, error) {
	var locked *transaction.LockedError
	if errors.As(err, &locked) && locked.Holder.ID == p.ID {
		// The answer to the first request was lost. A transaction that has ended
		// since has removed its root, and this request has made it again.
		if locked.Holder.State.Final() {
			_ = profiles.RemoveRoot(p.ID + "-new")
		}
		return a.status(locked.Holder), nil
	}
	if errors.As(err, &locked) {
		return nil, &protocol.Error{Code: protocol.CodeLocked, Message: err.Error(), Status: a.status(locked.Holder)}
	}
	var frozen *transaction.FrozenError
	var rejected *transaction.RejectedError
	switch {
	case errors.As(err, &frozen):
		return nil, &protocol.Error{Code: protocol.CodeFrozen, Message: err.Error()}
	case errors.As(err, &rejected):
		return nil, &protocol.Error{Code: protocol.CodeRejected, Message: err.Error()}
	case err != nil:
		return nil, refuse("%v", err)
	}
	return a.status(*r), nil
}

// keep adds the closure's root first and looks then whether it is whole: a path
// that is valid under a root stays valid.
func keep(ctx context.Context, running string, p protocol.StartRequest) error {
	closure := p.New
	if err := profiles.AddRoot(p.ID+"-new", closure); err != nil {
		return err
	}
	if p.Action == transaction.Rollback {
		if err := sound(ctx, running, closure); err != nil {
			return refuse("%s cannot be gone back to: %v", closure, err)
		}
		return nil
	}
	if _, err := systemd.Of(running).Output(ctx, "nix-store", "--check-validity", closure); err != nil {
		return &protocol.Error{Code: protocol.CodeMissing, Message: fmt.Sprintf("%s is not valid on the host", closure)}
	}
	if _, err := os.Stat(filepath.Join(closure, "bin/switch-to-configuration")); err != nil {
		return refuse("%s is not a NixOS system: %v", closure, err)
	}
	return nil
}

func validStart(p protocol.StartRequest) error {
	if err := validRequest(p); err != nil {
		return err
	}
	if p.Profile != profiles.System {
		return refuse("not the system profile: %q", p.Profile)
	}
	return nil
}

// validRequest checks what every profile's transaction has.
func validRequest(p protocol.StartRequest) error {
	if !transaction.ValidID(p.ID) {
		return refuse("not a transaction id: %q", p.ID)
	}
	if !profiles.ValidStorePath(p.New) {
		return refuse("not a store path: %q", p.New)
	}
	if p.Rejects != "" && !profiles.ValidStorePath(p.Rejects) {
		return refuse("not a store path: %q", p.Rejects)
	}
	if !p.Action.Valid() {
		return refuse("not an action that this agent knows: %q", p.Action)
	}
	if p.Action == transaction.Reboot && p.Keep {
		return refuse("a system that is booted once cannot be left running where it fails")
	}
	if !p.LastResort.Valid() {
		return refuse("not a last resort that this agent knows: %q", p.LastResort)
	}
	if err := p.Limits.Validate(); err != nil {
		return refuse("%v", err)
	}
	if p.Alone != nil {
		if err := p.Alone.Validate(); err != nil {
			return refuse("to decide alone: %v", err)
		}
	}
	for _, s := range p.Probes {
		if err := s.Validate(); err != nil {
			return refuse("probe %s: %v", s.Name, err)
		}
	}
	return nil
}

func (a agent) watch(ctx context.Context, p protocol.WatchRequest, emit func(any) error) (any, error) {
	if !transaction.ValidID(p.ID) {
		return nil, refuse("not a transaction id: %q", p.ID)
	}
	emit, stop := followLog(ctx, a.engine.Store.LogFile(p.ID), p.SkipLines, emit)
	defer stop()
	var last transaction.Record
	err := a.engine.Store.Watch(ctx, p.ID, func(r transaction.Record) bool {
		last = r
		if emit(protocol.WatchEvent{Status: a.status(r)}) != nil {
			return false
		}
		return !p.Judged || r.State != transaction.Waiting || !r.Judged
	})
	if errors.Is(err, transaction.ErrOther) {
		return nil, &protocol.Error{Code: protocol.CodeUnknown, Message: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return a.status(last), nil
}

func (a agent) confirm(ctx context.Context, p protocol.DecideRequest, emit func(any) error) (any, error) {
	r, err := a.engine.Confirm(ctx, p.ID, p.Results)
	if err != nil {
		return a.decided(r, err)
	}
	return a.watch(ctx, protocol.WatchRequest{ID: p.ID, SkipLines: p.SkipLines}, emit)
}

func (a agent) abort(ctx context.Context, p protocol.DecideRequest) (any, error) {
	if p.Cause != transaction.ProbeFailed && p.Cause != transaction.PersonAborted {
		p.Cause = transaction.Disturbed
	}
	r, err := a.engine.Abort(ctx, p.ID, p.Cause, p.Reason, p.Results)
	return a.decided(r, err)
}

func (a agent) decided(r *transaction.Record, err error) (any, error) {
	var refused *transaction.ConfirmError
	switch {
	case errors.As(err, &refused):
		return nil, &protocol.Error{Code: protocol.CodeRefused, Message: err.Error(), Status: a.status(*r)}
	case errors.Is(err, transaction.ErrOther):
		return nil, &protocol.Error{Code: protocol.CodeUnknown, Message: err.Error()}
	case err != nil:
		return nil, err
	}
	return a.status(*r), nil
}

// status tells a record with the time that is left now.
func (a agent) status(r transaction.Record) *protocol.Status {
	s := &protocol.Status{
		ID: r.ID, State: r.State, Deployer: r.Deployer, Revision: r.Revision, New: r.New,
		Previous: r.Previous.Running, Before: r.Previous, Restarted: r.Restarted, Started: r.Started, Judged: r.Judged, Results: r.Results,
		Ended: r.Ended, Number: r.Number, Action: r.Action, Dirty: r.Dirty, Tree: r.Tree, Rejects: r.Rejects, Steps: r.Steps,
		DeployerResults: r.DeployerResults, Cause: r.Cause, Journal: r.Journal, Reboots: len(r.Reboots),
		ExitCode: r.ExitCode, Reason: r.Reason, Notes: r.Notes, Generation: r.Generation.Number, Boots: r.Boots,
	}
	s.Running, s.Profile, _ = a.engine.Host.Look(r.Profile)
	s.AfterRollback = r.AfterRollback
	s.Alone, s.Proof = r.Alone != nil, r.Proof
	s.Untouched, s.HasRestarted = r.Untouched, r.HasRestarted
	if r.State.Final() || r.BootID != a.engine.Clock.BootID() {
		return s
	}
	now := a.engine.Clock.Now()
	s.ConfirmIn = max(0, now.Until(r.ConfirmBy))
	s.DeadManIn = max(0, now.Until(r.DeadMan))
	return s
}

func (a agent) facts(ctx context.Context, p protocol.FactsRequest) (protocol.Facts, error) {
	facts := nixos.Look(p.Profile)
	if !facts.NixOS || facts.UID != 0 {
		return facts, nil
	}
	if err := a.engine.Store.Open(); err != nil {
		facts.StateError = err.Error()
		return facts, nil
	}
	// A peer that hangs up must not stop the host from finding its way back.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	before, err := a.engine.Store.Load()
	if p.LookOnly {
		if err == nil && before != nil {
			facts.Transaction = a.status(*before)
		}
		a.recall(&facts)
		return facts, nil
	}
	last, err := a.engine.Settle(settling)
	if err != nil {
		facts.StateError = err.Error()
	}
	if before != nil && last != nil && before.State != last.State {
		facts = nixos.Look(p.Profile)
	}
	if last != nil {
		facts.Transaction = a.status(*last)
	}
	a.recall(&facts)
	return facts, nil
}

// recall adds what earlier transactions and people decided.
func (a agent) recall(facts *protocol.Facts) {
	freeze, err := a.engine.Store.Frozen()
	if err != nil {
		facts.StateError = err.Error()
	}
	facts.Freeze = freeze
	facts.Volatile = nixos.Volatile(a.engine.Store)
	if err := (nixos.Host{Store: a.engine.Store}).NoWayBack(""); err != nil {
		facts.NoWayBack = err.Error()
	}
	facts.Rejected = transaction.RejectedIn(a.engine.Store.History())
}
