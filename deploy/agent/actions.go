package agent

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// DryActivate asks a copied system what its activation would do.
func (a *Agent) DryActivate(ctx context.Context, r protocol.DryActivateRequest) (protocol.DryActivateResult, error) {
	var result protocol.DryActivateResult
	err := a.client.Call(ctx, protocol.MethodDryActivate, r, &result, nil)
	return result, err
}

// Push keeps a copied closure from being collected.
func (a *Agent) Push(ctx context.Context, r protocol.PushRequest) error {
	return a.client.Call(ctx, protocol.MethodPush, r, &protocol.PushResult{}, nil)
}

// Built keeps what was built on the host, and describes it.
func (a *Agent) Built(ctx context.Context, r protocol.BuiltRequest) (protocol.Toplevel, error) {
	var result protocol.Toplevel
	err := a.client.Call(ctx, protocol.MethodBuilt, r, &result, nil)
	return result, err
}
