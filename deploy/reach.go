package deploy

import (
	"context"
	"errors"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

// reach is connect for a host that nothing was changed on yet: one that boots, or whose
// sshd starts, is tried again within its time to connect.
func (h *hostRun) reach(ctx context.Context, first agent.First) (conn *remote.Conn, a *agent.Agent, err error) {
	h.patiently(ctx, func() error {
		conn, a, err = h.connect(ctx, first)
		return err
	})
	return conn, a, err
}

// patiently repeats what failed in a way that the passing of time may mend. A host that
// answers and refuses is not asked twice: sshd punishes addresses that knock too often.
func (h *hostRun) patiently(ctx context.Context, try func() error) {
	end := time.Now().Add(h.Timeouts.Connect)
	for pause := redialFirst; ; pause = min(pause*3/2, redialLast) {
		err := try()
		var fault *remote.Error
		if !errors.As(err, &fault) || !fault.Transient || time.Now().Add(pause).After(end) {
			return
		}
		h.note("info", "%s; trying again in %s", withoutHost(err), pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}
