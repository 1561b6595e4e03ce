package deploy

import (
	"context"

	"github.com/hbohlen/hdeploy/deploy/nix"
)

// asking is a question to Nix about the flake's revision, and then its answer.
type asking struct {
	answered chan struct{}
	revision nix.Revision
}

// askRevision asks beside the build at which commit the flake is, for the record of
// the transactions.
func (r *run) askRevision(ctx context.Context) {
	if !r.changes() || r.revision != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	asked := &asking{answered: make(chan struct{})}
	go func() {
		defer close(asked.answered)
		var err error
		if asked.revision, err = r.nix.Revision(ctx, r.Flake); err != nil {
			r.Log.Info().Err(err).Msg("the flake's revision is not known")
		}
	}()
	r.revision = asked
	r.onClose(func() { cancel(); <-asked.answered })
}

// get waits for the answer. It is empty where nothing was asked, or nothing is
// known: to know it is no condition of a deployment.
func (a *asking) get(ctx context.Context) nix.Revision {
	if a == nil {
		return nix.Revision{}
	}
	select {
	case <-a.answered:
		return a.revision
	case <-ctx.Done():
		return nix.Revision{}
	}
}
