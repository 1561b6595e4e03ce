package deploy

import (
	"context"
	"errors"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// patient is for a redial that no refused login ends: the previous system may let
// this deployer in again.
const patient = 0

// redial replaces the connection by a new one, beginning after pause, again and
// again until ctx ends, the agent has an answer other than a result, or the host
// has refused the login so many times, if that is not [patient].
func (h *hostRun) redial(ctx context.Context, pause time.Duration, refusals int, places []remote.Target, first func() agent.First) error {
	var last error
	refused := 0
	for ; ; pause = min(max(redialFirst, pause*3/2), redialLast) {
		select {
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			return last
		case <-time.After(pause):
		}
		conn, a, err := h.connectAt(ctx, places, first())
		if err == nil {
			h.use(conn, a)
			return nil
		}
		var said *protocol.Error
		if errors.As(err, &said) {
			return err
		}
		if last == nil {
			h.note("info", "not reached over a new connection yet: %s", withoutHost(err))
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if h.final(err) {
			refused++
		}
		if refusals != patient && refused >= refusals {
			return last
		}
	}
}

// withoutHost is a connection's error without the host's name, which stands
// beside it already.
func withoutHost(err error) string {
	var r *remote.Error
	if errors.As(err, &r) {
		return r.Cause.Error()
	}
	return err.Error()
}

// refusalsToGoBack is how often in a row a host may refuse the login before that
// is its verdict.
const refusalsToGoBack = 3

// final says whether a dial failed in a way that the passing of time alone does
// not mend: the new system answers, and lets this deployer in no more.
func (h *hostRun) final(err error) bool {
	var r *remote.Error
	if !errors.As(err, &r) {
		return false
	}
	return r.Kind == remote.LoginRefused || r.Kind == remote.HostKeyChanged || r.Kind == remote.HostKeyUnknown ||
		r.Kind == remote.NoElevation
}
