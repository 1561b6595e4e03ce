package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

const (
	// witnessCall bounds the question to a witness, with a login and an upload of the
	// agent in it, dismissLimit the word that it is over.
	witnessCall  = 2 * time.Minute
	dismissLimit = 5 * time.Second
)

// witness is a host that dials in from outside while another one decides by itself.
type witness struct {
	host *hostRun
	// id is under which it was asked.
	id   string
	said protocol.WitnessResult
	// brief says that it may end before the host has decided.
	brief bool
}

// asked completes what the host is to prove by what is known of the witness. That one is
// not seen which may have ended says nothing.
func (w *witness) asked(q reach.Question) reach.Question {
	q.Witness, q.WitnessAddresses, q.WitnessReached = w.host.Name, w.said.Addresses, w.said.Reached && !w.brief
	return q
}

// callWitness asks the host's witness, if it has one, to dial in until the host has
// decided. One that cannot reach the host even now would only seem to prove something:
// that is refused, and nothing was changed. Where the new system is to answer elsewhere,
// nobody can reach it there yet.
func (h *hostRun) callWitness(ctx context.Context, specs []probe.Spec) error {
	if !h.decidesAlone() || h.Witness == "" || h.alone.witness != nil {
		return nil
	}
	w, err := h.witnessHost()
	if err != nil {
		return err
	}
	limits := h.limits(specs)
	most := limits.Activation + limits.Confirm
	w.brief = most > protocol.WitnessLongest
	request := protocol.WitnessRequest{ID: h.id, For: min(most, protocol.WitnessLongest)}
	if err := h.witnessPlace(&request); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, witnessCall)
	defer cancel()
	conn, a, err := w.host.connect(limited, agent.Ask(protocol.MethodWitness, request, &w.said, nil))
	if err != nil {
		return h.witnessFailure(w, err)
	}
	w.host.use(conn, a)
	h.alone.witness = w
	h.run.onClose(h.dismissWitness)
	switch {
	case w.said.Reached:
		h.note("info", "witness %s reaches the host, and goes on with that until the host has decided", w.host.Name)
	case h.Confirm == nil:
		return h.noWitness(w, w.host.ssh(fmt.Sprintf("ssh-keyscan -p %d %s", request.Port, request.Address)), "witness %s cannot reach the host even now: %s", w.host.Name, capped(w.said.Why))
	}
	return nil
}

// witnessHost finds the witness among the hosts of deploy.toml.
func (h *hostRun) witnessHost() (*witness, error) {
	at := slices.IndexFunc(h.run.Builders, func(b hosts.Host) bool { return b.Name == h.Witness })
	if at < 0 {
		return nil, refused(h.Name, "witness", "hdeploy hosts", "deploy.toml has no host %q", h.Witness)
	}
	w := &witness{id: h.id, host: newHostRun(h.run, h.run.Builders[at])}
	if w.host.Local && h.itself {
		return nil, h.noWitness(w, "hdeploy hosts", "witness %s is this very machine, and sees nothing from outside", h.Witness)
	}
	return w, nil
}

// witnessPlace is where the new system is to be reached from outside, and who it is.
func (h *hostRun) witnessPlace(r *protocol.WitnessRequest) error {
	place := h.targetOf(h.Host)
	if h.Confirm != nil && !h.run.undoes() {
		place = h.moved()
		place.Local = h.Local && h.Confirm.Address == ""
	}
	if place.Local {
		return refused(h.Name, "witness", "set address to that of "+h.Name+", as others reach it, or witness = \"none\", in deploy.toml",
			"with address = \"local\" it is not known where witness %s could reach the host", h.Witness)
	}
	r.Address, r.Port, r.User, r.HostKeys = place.Address, uint16(place.Port), place.User, place.HostKeys
	if len(r.HostKeys) == 0 {
		if key, _ := h.conn.HostKey(); key != "" {
			r.HostKeys = []string{key}
		}
	}
	return nil
}

// witnessFailure names what kept this side from asking the witness.
func (h *hostRun) witnessFailure(w *witness, err error) error {
	var said *protocol.Error
	if errors.As(err, &said) {
		return h.noWitness(w, "hdeploy status "+w.host.Name, "witness %s refuses: %s", w.host.Name, said.Message)
	}
	f := w.host.connectionFailure("connect", err)
	return h.noWitness(w, f.Next, "witness %s was not reached: %v", w.host.Name, f.Cause)
}

func (h *hostRun) noWitness(w *witness, next, format string, args ...any) error {
	return refused(h.Name, "witness", next+"\nset another witness for "+h.Name+", or \"none\", in deploy.toml", format, args...)
}

// dismissWitness tells it that it is over. One that is not reached ends by itself, and
// who was told to leave has no time for it.
func (h *hostRun) dismissWitness() {
	w := h.alone.witness
	if w == nil || h.alone.left {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dismissLimit)
	defer cancel()
	err := w.host.agent.Call(ctx, agent.Ask(protocol.MethodWitness, protocol.WitnessRequest{ID: w.id}, &protocol.WitnessResult{}, nil))
	if err != nil {
		h.run.Log.Info().Str("host", h.Name).Str("witness", w.host.Name).Err(err).Msg("the witness was not told that it is over")
	}
}
