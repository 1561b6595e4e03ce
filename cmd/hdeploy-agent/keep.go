package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// keepLast keeps what was built or pushed, and what was before that. Who is not root
// asks the daemon for a root, and has one for the newest alone.
func keepLast(ctx context.Context, m systemd.Manager, name, path string) error {
	if os.Getuid() == 0 {
		return profiles.KeepTwo(name, path)
	}
	dir := filepath.Join(ownStore().Dir, "roots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("add root: %v", err)
	}
	_, err := m.Output(ctx, "nix-store", "--add-root", filepath.Join(dir, name+"-1"), "--realise", path, "--option", "substitute", "false")
	return err
}

// push keeps what was copied for the profile: under a name of its own, so that several
// profiles of a host leave each other's alone.
func (a profileAgent) push(ctx context.Context, p protocol.PushRequest) (any, error) {
	switch {
	case !transaction.ValidID(p.ID):
		return nil, refuse("not an id: %q", p.ID)
	case !profiles.ValidStorePath(p.New):
		return nil, refuse("not a store path: %q", p.New)
	}
	defer func() { _ = a.host.Forget(p.ID + "-new") }()
	if err := a.host.Keep(ctx, p.ID+"-new", p.New); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeMissing, Message: err.Error()}
	}
	m := a.host.Manager()
	if _, err := m.Output(ctx, "nix-store", "--check-validity", p.New); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeMissing, Message: fmt.Sprintf("%s is not valid on the host", p.New)}
	}
	if err := a.host.Suits(p.New); err != nil {
		return nil, refuse("%v", err)
	}
	if err := keepLast(ctx, m, "pushed-"+a.host.Program.Profile, p.New); err != nil {
		return nil, refuse("%v", err)
	}
	return protocol.PushResult{}, nil
}
