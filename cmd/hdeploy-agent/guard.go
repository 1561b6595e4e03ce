package main

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// object says what keeps the host from beginning a transaction, while nothing was
// changed. Where one is under way, its own switch is what would be found, and who
// holds the host is the better answer.
func (a agent) object(ctx context.Context, running string, p protocol.StartRequest) error {
	last, err := a.engine.Store.Load()
	if err == nil && last != nil && (!last.State.Final() || last.ID == p.ID) {
		return nil
	}
	o := nixos.Object(ctx, running, p.New, p.Action)
	if o == nil {
		return nil
	}
	code := protocol.CodeRefused
	if o.Boot {
		code = protocol.CodeNotSwitchable
	}
	return &protocol.Error{Code: code, Message: o.Why}
}
