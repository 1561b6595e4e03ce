package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// resume settles at boot what the boot before left. The units that it starts do
// the work, so that the boot waits for nothing.
func resume(ctx context.Context) error {
	if os.Getuid() != 0 {
		return resumeProfiles(ctx)
	}
	e := hostEngine()
	if err := e.Store.Open(); err != nil {
		return err
	}
	r, launched, err := e.Resume(ctx)
	if err != nil {
		return fmt.Errorf("settle what the boot before left: %w", err)
	}
	if launched {
		fmt.Fprintf(os.Stderr, "transaction %s by %s was under way when the host went down; it goes on as %s\n", r.ID, r.Deployer, r.State)
	}
	return resumeProfiles(ctx)
}

// reboot restarts the host for a person. A transaction that is under way reboots
// by itself, if at all.
func (a agent) reboot(ctx context.Context, p protocol.RebootRequest) (any, error) {
	err := a.engine.RebootNow(ctx, p.Deployer, p.Force)
	var locked *transaction.LockedError
	var frozen *transaction.FrozenError
	switch {
	case errors.As(err, &locked):
		return nil, &protocol.Error{Code: protocol.CodeLocked, Message: err.Error(), Status: a.status(locked.Holder)}
	case errors.As(err, &frozen):
		return nil, &protocol.Error{Code: protocol.CodeFrozen, Message: err.Error()}
	case err != nil:
		return nil, refuse("%v", err)
	}
	return protocol.RebootResult{}, nil
}

// wayBack refuses to boot a system once from which the host would not come back by
// itself: silence must mean the old system.
func (a agent) wayBack(p protocol.StartRequest) error {
	if p.Action != transaction.Reboot {
		return nil
	}
	host := nixos.Host{Store: a.engine.Store, Clock: a.engine.Clock}
	if err := host.NoWayBack(p.New); err != nil {
		return refuse("it cannot be booted with a way back: %v", err)
	}
	return nil
}
