package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/closure"
	"github.com/hbohlen/hdeploy/profiles/program"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// hostName is what may be part of a root's name.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,252}$`)

// built keeps what was built here, and then looks whether it is whole: a path that is
// valid under a root stays valid.
func (a agent) built(ctx context.Context, p protocol.BuiltRequest) (any, error) {
	switch {
	case !profiles.ValidStorePath(p.Path):
		return nil, refuse("not a store path: %q", p.Path)
	case !hostName.MatchString(p.For):
		return nil, refuse("not the name of a host: %q", p.For)
	}
	m, err := runningPrograms()
	if err != nil {
		return nil, err
	}
	if err := keepLast(ctx, m, "built-"+p.For, p.Path); err != nil {
		return nil, refuse("%v", err)
	}
	if _, err := m.Output(ctx, "nix-store", "--check-validity", p.Path); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeMissing, Message: fmt.Sprintf("%s is not valid on the host", p.Path)}
	}
	return describe(p), nil
}

func describe(p protocol.BuiltRequest) protocol.Toplevel {
	if !p.Unwrap {
		return closure.Read(p.Path)
	}
	kind, behind, err := program.Behind(p.Path)
	if err != nil {
		return protocol.Toplevel{BehindError: err.Error()}
	}
	t := closure.Read(behind)
	t.Kind, t.Behind = kind, behind
	return t
}

// nixSettings reads lines of a name, " = " and a value.
func (a agent) nixSettings(ctx context.Context) (any, error) {
	m, err := runningPrograms()
	if err != nil {
		return nil, err
	}
	// The old name of the command, which all versions know.
	output, err := m.Output(ctx, "nix", "--extra-experimental-features", "nix-command", "show-config")
	if err != nil {
		return nil, refuse("%v", err)
	}
	return readSettings(output), nil
}

func readSettings(output []byte) protocol.NixSettings {
	read := protocol.NixSettings{Settings: map[string]string{}}
	for line := range strings.Lines(string(output)) {
		name, value, found := strings.Cut(strings.TrimRight(line, "\n"), " =")
		if found && protocol.IsNixSetting(name) {
			read.Settings[name] = strings.TrimSpace(withoutControls(value))
		}
	}
	return read
}
