package deploy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/deploy/relay"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

const (
	daemonSocket = "/nix/var/nix/daemon-socket/socket"
	// copyAttempts is how often a closure is copied that is collected again
	// before its root holds it.
	copyAttempts = 3
)

// copy brings the closure to the host and roots it there. Only then it is looked
// whether all of it is there: what went before the root was made is copied again.
func (h *hostRun) copy(ctx context.Context) (err error) {
	done := h.phase(event.Copy)
	var sent int64
	defer func() { done(humanize.IBytes(uint64(sent)), err) }()
	r, err := relay.Start(ctx, h.dialDaemon)
	if err != nil {
		return asFailure(h.Name, "copy", err)
	}
	defer r.Close()
	missing := h.missing
	for range copyAttempts {
		if len(missing) > 0 {
			err := h.run.nix.Copy(ctx, r.StoreURI(), []string{h.system.OutPath}, h.sizes, h.run.progress(h.Name, event.Copy))
			sent = r.Sent()
			if err != nil {
				return h.copyFailure(err, r.Err())
			}
		}
		if missing, err = h.agent.Root(ctx, h.id, h.system.OutPath); err != nil {
			return h.copyFailure(err, nil)
		}
		if len(missing) == 0 {
			return nil
		}
	}
	return &Failure{Host: h.Name, Step: "copy", Word: Failed, Code: CodeCopy, Next: h.ssh("journalctl -u nix-gc -n 20"),
		Cause: fmt.Errorf("the closure was collected on the host %d times before it could be kept", copyAttempts)}
}

// dialDaemon connects to the host's Nix daemon as root: by socket forwarding
// where the login is root's, otherwise, and where forwarding is off, by a
// program. The daemon trusts only root to import what nobody signed.
func (h *hostRun) dialDaemon(ctx context.Context) (net.Conn, error) {
	if h.User == "root" {
		c, err := h.conn.DialUnix(ctx, daemonSocket)
		if !errors.Is(err, remote.ErrForwardingOff) {
			return c, err
		}
	}
	program := filepath.Join(h.facts.Running, "sw/bin/nix-daemon")
	return h.conn.Start(ctx, h.conn.Elevated([]string{program, "--stdio"}), nil)
}

func (h *hostRun) copyFailure(err, link error) error {
	f := &Failure{Host: h.Name, Step: "copy", Cause: err, Word: Failed, Code: CodeCopy, Next: "hdeploy switch " + h.Name}
	var said *nix.Error
	switch {
	case link != nil || h.conn.Err() != nil:
		if link == nil {
			link = h.conn.Err()
		}
		f.Cause = fmt.Errorf("the connection was lost: %v; paths that arrived whole are kept and not sent again", link)
	case errors.As(err, &said):
		f.Log = append(f.Log, lines(said.Output)...)
		if said.Kind == nix.DiskFull {
			f.Next = h.ssh("nix-collect-garbage --delete-older-than 30d")
		}
	}
	return f
}

// linkDir makes the directory of this deployer's own roots. It outlives the run,
// so that the closure of the last deployment is still here for the next.
func (r *run) linkDir() (string, error) {
	name := ""
	for _, h := range r.Hosts {
		name += h.Name + "+"
	}
	dir := filepath.Join(r.StateDir, "roots", name[:min(len(name)-1, 120)])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep the result: %v", err)
	}
	return dir, nil
}
