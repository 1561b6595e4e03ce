package main

import (
	"context"
	"errors"
	"os"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// rollbackPlan looks at the profile and chooses where a rollback of it goes.
func (a profileAgent) rollbackPlan(ctx context.Context, p protocol.RollbackRequest) (any, error) {
	facts, err := a.facts(ctx, protocol.FactsRequest{})
	if err != nil {
		return nil, err
	}
	plan := protocol.RollbackPlan{Facts: facts}
	if facts.Running == "" || facts.Transaction != nil && !facts.Transaction.State.Final() {
		return plan, nil
	}
	generations, err := profiles.All(a.host.Link)
	if err != nil {
		return nil, err
	}
	standing := transaction.Standing{
		Running: facts.Running, At: facts.Profile, Generations: generations, History: a.engine.Store.History(),
		Sound: func(closure string) error { return a.sound(ctx, closure) },
	}
	target, err := standing.Back()
	if p.To != "" {
		target, err = standing.Named(p.To)
	}
	plan.Skipped = target.Skipped
	if err != nil {
		plan.Why = err.Error()
		return plan, nil
	}
	plan.Target, plan.Generation, plan.Verdict = target.System, target.Generation, target.Verdict
	if target.Proof != nil {
		plan.Confirmed, plan.By = target.Proof.Ended, target.Proof.Deployer
	}
	plan.Rejects = facts.Running
	if plan.Rejects == target.System {
		plan.Rejects = ""
	}
	return plan, nil
}

// sound is [sound] for a profile's closure.
func (a profileAgent) sound(ctx context.Context, closure string) error {
	if _, err := os.Stat(closure); err != nil {
		return errors.New("it is not on the host any more")
	}
	if err := a.host.Suits(closure); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, validityLimit)
	defer cancel()
	_, err := a.host.Manager().Output(ctx, "nix-store", "--check-validity", closure)
	if err != nil && saysInvalid(err.Error()) {
		return errors.New("it is not valid in the host's store: parts of it may have been collected")
	}
	return nil
}
