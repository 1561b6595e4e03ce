package reach

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

const (
	// margin is what is left of the time for the decision.
	margin = 3 * time.Second
	// settleLimit is how long anybody who may dial in is waited for when nobody is
	// said to.
	settleLimit = 2 * time.Second
	// witnessLimit is how long a witness is waited for; one that was not given witnessLeast
	// may only have been late.
	witnessLimit = 45 * time.Second
	witnessLeast = 20 * time.Second
	// proofLimit ends a proof that has no other end.
	proofLimit = 60 * time.Second
)

// Prove looks at the host under the new system, which runs, and compares with before. It
// returns a little before ctx ends, with what it has.
func (h Host) Prove(ctx context.Context, q Question, before Survey) Proof {
	end := time.Now().Add(proofLimit)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	ctx, cancel := context.WithDeadline(ctx, end.Add(-margin))
	defer cancel()

	var proof Proof
	looked := make(chan []Finding, 1)
	var inbound Finding
	var watching sync.WaitGroup
	watching.Go(func() { proof.Inbound, inbound = h.awaitInbound(ctx, q, before, looked) })
	proof.Findings = h.look(ctx, q, before)
	looked <- proof.Findings
	watching.Wait()
	proof.Findings = append(proof.Findings, inbound)
	return proof
}

// look makes all looks but that for connections, at the same time.
func (h Host) look(ctx context.Context, q Question, before Survey) []Finding {
	p := prover{Host: h, q: q, before: before}
	type look struct {
		name string
		look func(context.Context) Finding
	}
	looks := []look{{Listening, p.listening}, {Handshake, p.handshake}, {Sshd, p.sshd}, {Keys, p.keys}, {Filter, p.filter}, {Network, p.network}}
	if len(q.Outward) > 0 {
		looks = append(looks, look{Outward, p.outward})
	}
	findings := make([]Finding, len(looks))
	var looking sync.WaitGroup
	for i, l := range looks {
		looking.Go(func() {
			if why, ok := before.Unread[l.name]; ok {
				findings[i] = finding(l.name, Unknown, "it could not be read before the trial: %s", why)
				return
			}
			findings[i] = settled(ctx, l.name, l.look)
		})
	}
	looking.Wait()
	return findings
}

// awaitInbound looks for a connection from outside, from when it is called until what is
// waited for came, or cannot change anything any more.
func (h Host) awaitInbound(ctx context.Context, q Question, before Survey, looked <-chan []Finding) (Inbound, Finding) {
	if len(before.Ports) == 0 {
		return NotProven, finding(FromAway, Unknown, "the ports of ssh are not known")
	}
	sockets, err := probe.TCPSockets(ctx)
	if err != nil {
		return NotProven, finding(FromAway, Unknown, "connections cannot be read: %v", err)
	}
	w := newWatch(q, before.Ports, sockets)
	began := time.Now()
	var over time.Time // when the other looks were over
	failed := false
	err = w.run(ctx, func() bool {
		select {
		case findings := <-looked:
			over = time.Now()
			failed = slices.ContainsFunc(findings, func(f Finding) bool { return f.State == Failed })
		default:
		}
		switch {
		case over.IsZero():
			return false
		case failed || w.witness.IsValid():
			return true
		case q.Witness != "":
			return time.Since(began) > witnessLimit
		}
		return w.other.IsValid() || time.Since(over) > settleLimit
	})
	if err != nil {
		return NotProven, finding(FromAway, Unknown, "connections cannot be read: %v", err)
	}
	return w.judge(q, failed || time.Since(began) < witnessLeast)
}

// judge says what the connections prove. cutShort is set where the witness was hardly
// waited for.
func (w *watch) judge(q Question, cutShort bool) (Inbound, Finding) {
	switch {
	case w.witness.IsValid():
		return ByWitness, finding(FromAway, Proven, "the witness %s has connected from %s", q.Witness, w.witness)
	case w.other.IsValid() && q.Witness != "" && q.WitnessReached && !cutShort && len(w.witnesses) > 0:
		return ByConnection, finding(FromAway, Changed, "%s has connected; the witness %s was not seen, though it got through before the trial", w.other, q.Witness)
	case w.other.IsValid():
		return ByConnection, finding(FromAway, Proven, "%s has connected", w.other)
	case q.Witness != "" && cutShort:
		return NotProven, finding(FromAway, Unknown, "the witness %s was not waited for long enough", q.Witness)
	case q.Witness != "" && q.WitnessReached:
		return NotProven, finding(FromAway, Failed, "the witness %s does not get through any more", q.Witness)
	case q.Witness != "":
		return NotProven, finding(FromAway, Unknown, "the witness %s was not seen; it did not get through before the trial either", q.Witness)
	}
	return NotProven, finding(FromAway, Unknown, "nobody has connected from outside; no witness is set")
}

// Unsurveyed is the proof of a host of which nobody knows how it was before.
func Unsurveyed(why error) Proof {
	var p Proof
	for _, name := range []string{Listening, Handshake, Sshd, Keys, Filter, Network, Outward, FromAway} {
		p.Findings = append(p.Findings, finding(name, Unknown, "%v", why))
	}
	return p
}
