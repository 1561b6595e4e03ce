package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// Profile names a profile that is no NixOS system, for requests about it.
type Profile = protocol.ProfileRequest

// client calls an agent's methods, about a profile where one is named.
type client struct {
	*protocol.Client
	profile *Profile
}

// Call is [protocol.Client.Call].
func (c client) Call(ctx context.Context, method string, params, result any, on func(json.RawMessage)) error {
	method, params, err := about(c.profile, method, params)
	if err != nil {
		return err
	}
	return c.Client.Call(ctx, method, params, result, on)
}

// about makes a request one about a profile.
func about(profile *Profile, method string, params any) (string, any, error) {
	if profile == nil {
		return method, params, nil
	}
	text, err := json.Marshal(params)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %v", method, err)
	}
	request := *profile
	request.Method, request.Params = method, text
	return protocol.MethodProfile, request, nil
}

// About is the same running agent, asked about a profile; nil is the NixOS system.
func (a *Agent) About(profile *Profile) *Agent {
	return &Agent{client: client{Client: a.client.Client, profile: profile}, stderr: a.stderr}
}

// About makes a first call, and those that follow over the same agent, about a profile;
// nil is the NixOS system.
func (f First) About(profile *Profile) First {
	method, params, err := about(profile, f.method, f.params)
	if err == nil { // the messages of the protocol are always JSON
		f.method, f.params, f.profile = method, params, profile
	}
	return f
}

// Facts looks at the host, as [AskFacts] does.
func (a *Agent) Facts(ctx context.Context, r protocol.FactsRequest, facts *protocol.Facts) error {
	return a.client.Call(ctx, protocol.MethodFacts, r, facts, nil)
}

// Confirm is the deployer's last word over a connection that has proved itself; on is
// called with what follows. It ends with the transaction.
func (a *Agent) Confirm(ctx context.Context, r protocol.DecideRequest, on func(protocol.WatchEvent)) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodConfirm, r, events(on))
}
