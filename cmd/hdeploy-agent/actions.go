package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// longestPreview bounds what a deployer may ask for.
const longestPreview = 24 * time.Hour

// dryActivate tells what an activation would do. The closure's root is the only
// thing that it makes, and it is gone afterwards.
func (a agent) dryActivate(ctx context.Context, p protocol.DryActivateRequest) (any, error) {
	if p.Limit <= 0 || p.Limit > longestPreview {
		return nil, refuse("not a limit: %v", p.Limit)
	}
	if err := a.keepCopied(ctx, p.ID, p.New); err != nil {
		return nil, err
	}
	defer func() { _ = profiles.RemoveRoot(p.ID + "-new") }()
	ctx, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	output, exit, err := nixos.DryActivate(ctx, p.New)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, refuse("switch-to-configuration dry-activate did not end within %v", p.Limit)
	}
	if err != nil {
		return nil, refuse("%v", err)
	}
	result := protocol.DryActivateResult{ExitCode: exit}
	for line := range strings.Lines(string(output)) {
		if line = withoutControls(line); strings.TrimSpace(line) != "" {
			result.Lines = append(result.Lines, line)
		}
	}
	return result, nil
}

// push keeps a copied closure, and the one pushed before it.
func (a agent) push(ctx context.Context, p protocol.PushRequest) (any, error) {
	if err := a.keepCopied(ctx, p.ID, p.New); err != nil {
		return nil, err
	}
	defer func() { _ = profiles.RemoveRoot(p.ID + "-new") }()
	if err := profiles.KeepTwo("pushed", p.New); err != nil {
		return nil, refuse("%v", err)
	}
	return protocol.PushResult{}, nil
}

// keepCopied makes the root of a closure that was copied outside a transaction.
func (a agent) keepCopied(ctx context.Context, id, closure string) error {
	switch {
	case !transaction.ValidID(id):
		return refuse("not an id: %q", id)
	case !profiles.ValidStorePath(closure):
		return refuse("not a store path: %q", closure)
	}
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return err
	}
	err = keep(ctx, running, id, closure)
	if err != nil {
		_ = profiles.RemoveRoot(id + "-new")
	}
	return err
}
