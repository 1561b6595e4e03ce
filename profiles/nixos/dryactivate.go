package nixos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// previewLimit caps what is kept of a preview's output.
const previewLimit = 256 << 10

// DryActivate asks a system what activating it would stop, start, restart and
// reload, and returns what it printed with switch-to-configuration's exit code.
// Nothing is changed by it, so that it needs no unit of its own: it ends with ctx,
// and everything that it started ends with it.
func DryActivate(ctx context.Context, toplevel string) (output []byte, exit int, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(toplevel, "bin/switch-to-configuration"), "dry-activate")
	cmd.Dir, cmd.Env = "/", systemd.Of(toplevel).Env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said := beginning{most: previewLimit}
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	var exited *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return said.kept.Bytes(), -1, fmt.Errorf("run switch-to-configuration dry-activate: %w", ctx.Err())
	case errors.As(err, &exited) && exited.Exited():
		return said.kept.Bytes(), exited.ExitCode(), nil
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // what it left behind holds its output open
		return said.kept.Bytes(), -1, fmt.Errorf("run switch-to-configuration dry-activate: %v", err)
	}
	return said.kept.Bytes(), 0, nil
}

// beginning keeps the first bytes that are written and swallows the rest. The
// buffer is not embedded, since its ReadFrom would pass the cap by.
type beginning struct {
	kept bytes.Buffer
	most int
}

func (b *beginning) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), b.most-b.kept.Len())])
	return len(p), nil
}
