package agent

import (
	"context"
	"maps"
	"strings"
	"unicode"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// settingLimit caps a setting of a host's Nix: it becomes an argument.
const settingLimit = 64 << 10

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

// Built keeps what was built on the host, and describes it. It is asked of the host,
// whatever profile the agent is asked about.
func (a *Agent) Built(ctx context.Context, r protocol.BuiltRequest) (protocol.Toplevel, error) {
	var result protocol.Toplevel
	err := a.client.Client.Call(ctx, protocol.MethodBuilt, r, &result, nil)
	return result, err
}

// NixSettings returns how the host's own Nix builds and fetches, as Built does. What else
// the host answers is dropped: Nix is given the settings here, too.
func (a *Agent) NixSettings(ctx context.Context) (map[string]string, error) {
	var result protocol.NixSettings
	err := a.client.Client.Call(ctx, protocol.MethodNixSettings, protocol.NixSettingsRequest{}, &result, nil)
	maps.DeleteFunc(result.Settings, func(name, value string) bool {
		return !protocol.IsNixSetting(name) || len(value) > settingLimit || strings.ContainsFunc(value, unicode.IsControl)
	})
	return result.Settings, err
}
