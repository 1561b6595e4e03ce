package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/deploy/relay"
)

const (
	// copyAttempts is how often a closure is copied that is collected again
	// before its root holds it.
	copyAttempts = 3
	// nameLimit is how much of the hosts' names goes into a directory's name.
	nameLimit = 120
)

// copy brings the closure to the host. The channel to the host's daemon and what
// the host lacks are asked for while Nix starts.
func (h *hostRun) copy(ctx context.Context) (err error) {
	done := h.phase(event.Copy)
	var sent int64
	defer func() { done(humanize.IBytes(uint64(sent)), err) }()
	first := ahead(func() (net.Conn, error) { return h.dialDaemon(ctx) })
	defer func() { closeUnused(first.take()) }()
	r, err := relay.StartIn(ctx, h.run.TempDir, func(ctx context.Context) (net.Conn, error) {
		if conn, err, ok := first.take(); ok {
			return conn, err
		}
		return h.dialDaemon(ctx)
	})
	if err != nil {
		return asFailure(h.Name, "copy", err)
	}
	defer r.Close()
	var asking sync.WaitGroup
	if h.lacks.Load() == 0 {
		asking.Go(func() { _, _ = h.askMissing(ctx) })
	}
	copying, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer watchStall(copying, cancel, r)()
	err = h.transfer(copying, r.StoreURI())
	sent = r.Sent()
	asking.Wait()
	if err != nil {
		return h.copyFailure(err, cmp.Or(r.Err(), h.placeLink()))
	}
	return nil
}

// stallLimit is how long a copy may go without a byte in either direction: the
// host's store may be locked by a garbage collection for a while.
const stallLimit = 5 * time.Minute

// watchStall cancels a copy that does not move. The returned function ends it.
func watchStall(ctx context.Context, cancel context.CancelCauseFunc, r *relay.Relay) func() {
	done := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(done)
		moved, at := int64(-1), time.Now()
		for ctx.Err() == nil {
			if now := r.Sent() + r.Received(); now != moved {
				moved, at = now, time.Now()
			}
			if time.Since(at) > stallLimit {
				cancel(fmt.Errorf("not a byte in %v", stallLimit))
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	return func() { stop(); <-done }
}

// copying completes what Nix says of a copy by how many bytes there are.
func (h *hostRun) copying() func(nix.Progress) {
	tell := h.run.progress(h.Name, event.Copy)
	return func(n nix.Progress) {
		if n.Count != nil && n.Count.Total == 0 {
			n.Count.Total = max(h.lacks.Load(), n.Count.Done)
		}
		tell(n)
	}
}

func (h *hostRun) copyFailure(err, link error) error {
	f := &Failure{Host: h.Name, Step: "copy", Cause: err, Word: Failed, Code: CodeCopy, Next: h.again()}
	var failed *nix.Error
	diskFull := errors.As(err, &failed) && failed.Kind == nix.DiskFull
	switch said := h.daemonSaid.LastLine(); {
	case failed != nil && failed.Kind == nix.Untrusted:
		quoteNix(f)
		h.distrusted(f, failed)
	case h.Agent != "" && (said != "" || link == nil && h.conn.Err() == nil && failed != nil && failed.Kind == nix.Disconnected):
		quoteNix(f)
		h.notAdmitted(f, said)
	case said != "":
		f.Cause = fmt.Errorf("the Nix daemon could not be started on the host: %s", said)
		f.Next = h.ssh("ls -l " + filepath.Join(h.programs(), "sw/bin/nix-daemon"))
	case h.conn.Err() != nil || link != nil && !diskFull:
		if link == nil {
			link = h.conn.Err()
		}
		f.Cause = fmt.Errorf("the connection was lost: %v; paths that arrived whole are kept and not sent again", link)
	default:
		quoteNix(f)
		if diskFull {
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
	name = strings.TrimSuffix(name, "+")
	if len(name) > nameLimit {
		sum := sha256.Sum256([]byte(name))
		name = name[:nameLimit] + "-" + hex.EncodeToString(sum[:8])
	}
	dir := filepath.Join(r.StateDir, "roots", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep the result: %v", err)
	}
	return dir, nil
}
