package lab

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed image/newnix.sh
var newNixScript string

// NewNixBin is where AddNewNix puts its programs.
const NewNixBin = "/opt/nix/bin"

// newNixLayer is a Nix newer than the image's, with all that it needs. It is some 40 MB to
// fetch, and made only for who asks for it.
func newNixLayer(ctx context.Context) (string, error) {
	dir, err := layer(ctx, "newnix-"+digest([]byte(newNixScript)), func(dir string) error {
		tree := filepath.Join(dir, "nix")
		if err := os.Mkdir(tree, 0o755); err != nil {
			return err
		}
		out, err := runGroup(exec.CommandContext(ctx, "bash", "-c", newNixScript, "newnix.sh", tree))
		if err != nil {
			return fmt.Errorf("%v: %s", err, lastLines(out, 20))
		}
		return nil
	})
	return filepath.Join(dir, "nix"), err
}

// AddNewNix gives a running host a newer Nix beside the one of the image, which goes on
// being the host's.
func (h *Host) AddNewNix(ctx context.Context) error {
	tree, err := newNixLayer(ctx)
	if err != nil {
		return err
	}
	leader, ok := h.leader()
	if !ok {
		return fmt.Errorf("add a newer nix: host %s does not run", h.Name)
	}
	// As a whole or not at all: tests that want it run side by side.
	unlock, err := lockFile(ctx, filepath.Join(h.dir(), "newnix.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	opt := fmt.Sprintf("/proc/%d/root/opt", leader.PID)
	if _, err := os.Stat(opt + "/nix"); err == nil {
		return nil
	}
	if err := run(ctx, "cp", "-a", tree, opt+"/nix.unfinished"); err != nil {
		return err
	}
	return os.Rename(opt+"/nix.unfinished", opt+"/nix")
}

// UseNewNix makes a newer Nix the one of a running host, its daemon's too.
func (h *Host) UseNewNix(ctx context.Context) error {
	if err := h.AddNewNix(ctx); err != nil {
		return err
	}
	script := `set -eu
for program in "$1"/*; do ln -sf "$program" /usr/bin/; done
systemctl stop nix-daemon.service`
	result, err := h.Exec(ctx, "/bin/sh", "-c", script, "use", NewNixBin)
	if err == nil && result.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	if err != nil {
		return fmt.Errorf("use a newer nix on %s: %v", h.Name, err)
	}
	return nil
}
