package deploy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

const daemonSocket = "/nix/var/nix/daemon-socket/socket"

// dialDaemon connects to the host's Nix daemon as root: by its socket where the
// login is root's, otherwise, and where forwarding is off, by a program. The daemon
// trusts only root, and whom it was told to, to import what nobody signed. Where the
// agent at its fixed path is all that may run as root, the login user imports.
func (h *hostRun) dialDaemon(ctx context.Context) (net.Conn, error) {
	if h.conn.IsRoot() || h.Agent != "" {
		c, err := h.conn.DialUnix(ctx, daemonSocket)
		if !errors.Is(err, remote.ErrForwardingOff) {
			return c, err
		}
	}
	return h.startDaemon(ctx)
}

// startDaemon runs a Nix daemon for one connection. What a shell's startup files
// print before it is no part of the daemon's words.
func (h *hostRun) startDaemon(ctx context.Context) (net.Conn, error) {
	mark := "hdeploy-" + rand.Text()
	program := filepath.Join(h.programs(), "sw/bin/nix-daemon")
	command := remote.Command{Argv: []string{"/bin/sh", "-c", "echo " + mark + `; exec "$0" --stdio`, program}}
	process, err := h.startImporter(ctx, command)
	if err != nil {
		return nil, err
	}
	return &behindNoise{Process: process, mark: []byte(mark + "\n")}, nil
}

func (h *hostRun) startImporter(ctx context.Context, command remote.Command) (*remote.Process, error) {
	if h.Agent != "" {
		return h.conn.Start(ctx, command.Argv, &h.daemonSaid)
	}
	return h.conn.StartElevated(ctx, command, &h.daemonSaid)
}

// noiseLimit is how much a login shell may print before the mark.
const noiseLimit = 64 << 10

// behindNoise is the output of a process after a line that marks its beginning. It
// is read by one goroutine.
type behindNoise struct {
	*remote.Process
	mark  []byte // nil once it was read
	fault error
}

func (b *behindNoise) Read(buffer []byte) (int, error) {
	if b.mark != nil && b.fault == nil {
		b.fault = skipTo(b.Process, b.mark)
		b.mark = nil
	}
	if b.fault != nil {
		return 0, b.fault
	}
	return b.Process.Read(buffer)
}

// skipTo reads byte by byte, so that nothing behind the mark is consumed.
func skipTo(r io.Reader, mark []byte) error {
	var seen []byte
	one := make([]byte, 1)
	for len(seen) < noiseLimit {
		if _, err := io.ReadFull(r, one); err != nil {
			return err
		}
		if seen = append(seen, one[0]); bytes.HasSuffix(seen, mark) {
			return nil
		}
	}
	return fmt.Errorf("the login shell prints more than %d bytes before it runs a command", noiseLimit)
}
