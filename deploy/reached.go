package deploy

import (
	"cmp"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// looksTold caps what a host tells of its proof.
const looksTold = 32

// tellProof completes an outcome by how the host is known to be reachable.
func (h *hostRun) tellProof(o *event.Outcome) {
	s := h.status
	if s == nil {
		return
	}
	if s.Alone && s.Proof != nil {
		o.Reach = reached(*s.Proof)
	}
	switch {
	case s.State != transaction.Committed:
	case s.Alone && o.Reach != nil:
		o.Proof = cmp.Or(o.Reach.Inbound, bySelf)
	case s.Alone:
		o.Proof = bySelf
	default:
		o.Proof = h.proof
	}
}

// reached turns a host's proof into what is told of it.
func reached(p reach.Proof) *event.Reach {
	told := &event.Reach{Inbound: capped(string(p.Inbound)), Summary: "inbound " + inbound(p)}
	for _, f := range p.Findings[:min(len(p.Findings), looksTold)] {
		told.Looks = append(told.Looks, event.Look{Name: capped(f.Name), State: capped(string(f.State)), Detail: capped(f.Detail)})
	}
	return told
}

// inbound says in words whether traffic from outside was proven to come in, as far as
// possible in those of the host.
func inbound(p reach.Proof) string {
	detail := ""
	for _, f := range p.Findings {
		if f.Name == reach.FromAway {
			detail = capped(f.Detail)
		}
	}
	switch p.Inbound {
	case reach.NotProven:
		return "not proven: " + cmp.Or(detail, "nothing from outside was seen to come in")
	case reach.ByWitness:
		return "proven by a witness: " + cmp.Or(detail, "it has logged in")
	case reach.ByConnection:
		return "proven by a connection from outside: " + cmp.Or(detail, "somebody has logged in")
	}
	return "proven: " + detail
}
