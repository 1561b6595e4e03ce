package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// rollbackPlan looks at the host and chooses where a rollback goes.
func (a agent) rollbackPlan(ctx context.Context, p protocol.RollbackRequest) (any, error) {
	if p.Profile != profiles.System {
		return nil, refuse("not the system profile: %q", p.Profile)
	}
	facts, err := a.facts(ctx, protocol.FactsRequest{Profile: p.Profile})
	if err != nil {
		return nil, err
	}
	plan := protocol.RollbackPlan{Facts: facts}
	if facts.Running == "" || facts.Profile.Path == "" || facts.Transaction != nil && !facts.Transaction.State.Final() {
		return plan, nil
	}
	a.ahead.begin(ctx)
	return a.chosen(ctx, plan, p.To)
}

func (a agent) chosen(ctx context.Context, plan protocol.RollbackPlan, to string) (protocol.RollbackPlan, error) {
	facts := plan.Facts
	generations, err := profiles.All(profiles.System)
	if err != nil {
		return plan, err
	}
	standing := transaction.Standing{
		Running: parentOf(facts.Running, facts.Profile.Path), At: facts.Profile, Generations: generations,
		History: a.engine.Store.History(), Rooted: nixos.Rooted(),
		Sound: func(system string) error { return sound(ctx, facts.Running, system) },
	}
	var target transaction.Target
	if to == "" {
		target, err = standing.Back()
	} else {
		target, err = standing.Named(to)
	}
	plan.Skipped = target.Skipped
	if err != nil {
		plan.Why = err.Error()
		return plan, nil
	}
	plan.Target, plan.Generation, plan.Verdict = target.System, target.Generation, target.Verdict
	plan.Version, _ = nixos.Describe(target.System)
	plan.RebootNeeded = nixos.NeedsReboot(facts.Kernel, target.System)
	if target.Proof != nil {
		plan.Confirmed, plan.By = target.Proof.Ended, target.Proof.Deployer
	}
	plan.Rejects = standing.Running
	if plan.Rejects == target.System {
		plan.Rejects = facts.Profile.Path
	}
	return plan, nil
}

// parentOf is the system that a running specialisation of the profile's system
// belongs to, and otherwise the running system itself.
func parentOf(running, parent string) string {
	variants, _ := filepath.Glob(filepath.Join(parent, "specialisation", "*"))
	for _, variant := range variants {
		if system, err := filepath.EvalSymlinks(variant); err == nil && system == running {
			return parent
		}
	}
	return running
}

// validityLimit bounds the question whether a system is whole: the store's
// database may be busy.
const validityLimit = 15 * time.Second

// sound says why a host cannot switch to a system of its own store. It asks the
// store's database and needs no daemon for that; one that cannot be asked must
// not keep a person from going back, and then what the file system shows is what
// counts.
func sound(ctx context.Context, running, system string) error {
	if _, err := os.Stat(system); err != nil {
		return errors.New("it is not on the host any more")
	}
	if _, err := os.Stat(filepath.Join(system, "bin/switch-to-configuration")); err != nil {
		return errors.New("it is not a NixOS system: it has no bin/switch-to-configuration")
	}
	ctx, cancel := context.WithTimeout(ctx, validityLimit)
	defer cancel()
	_, err := systemd.Of(running).Output(ctx, "nix-store", "--check-validity", system)
	if err != nil && saysInvalid(err.Error()) {
		return errors.New("it is not valid in the host's store: parts of it may have been collected")
	}
	return nil
}

// saysInvalid tells what nix-store says of a path that is not valid from what it
// says where it cannot find out.
func saysInvalid(said string) bool { return strings.Contains(said, "is not valid") }

// recallOne finds a transaction of the history by how its id begins.
func (a agent) recallOne(p protocol.RecallRequest) (any, error) {
	if !transaction.ValidIDPrefix(p.ID) {
		return nil, refuse("not a transaction id: %q", p.ID)
	}
	var found *transaction.Record
	history := a.engine.Store.History()
	for i, r := range history {
		switch {
		case !strings.HasPrefix(r.ID, p.ID):
		case found != nil:
			return nil, refuse("%q is how more than one transaction begins: %s, %s", p.ID, found.ID, r.ID)
		default:
			found = &history[i]
		}
	}
	if found == nil {
		return nil, &protocol.Error{Code: protocol.CodeUnknown, Message: fmt.Sprintf("the host remembers no transaction %s", p.ID)}
	}
	return a.status(*found), nil
}
