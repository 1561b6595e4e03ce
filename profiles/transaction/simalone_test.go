package transaction

import (
	"context"
	"errors"
	"io/fs"
	"regexp"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

// What a proof can say in the simulation.
const (
	saysProven  = "proven"
	saysFailed  = "failed"
	saysUnknown = "unknown"
)

// simAlone is a wish to decide alone, with a probe of the host and one of the unit that
// is restarted last.
func simAlone(a Alone) Plan {
	p := Plan{Alone: &a, Probes: []probe.Spec{probe.Defaults(probe.KindCurrentSystem)}}
	if len(a.RestartLast) > 0 {
		p.Probes = append(p.Probes, probe.Spec{Name: "agent", Kind: probe.KindUnit, From: probe.FromHost, Ask: &probe.UnitSpec{Unit: agentUnit}})
	}
	return p
}

// simProver finds out whatever the simulation says. The activation leaves the agent alone.
type simProver struct{ simHost }

var _ Prover = simProver{}

func (h simProver) Survey(context.Context, Record) error {
	h.look()
	return nil
}

func (h simProver) Prove(ctx context.Context, _ Record) reach.Proof {
	switch h.do(ctx, opProve, "", saysProven+" "+saysFailed+" "+saysUnknown) {
	case saysProven:
		return reach.Proof{Inbound: reach.ByWitness}
	case saysFailed:
		return reach.Proof{Findings: []reach.Finding{{Name: "handshake", State: reach.Failed}}}
	}
	return reach.Proof{Findings: []reach.Finding{{Name: "handshake", State: reach.Unknown}}}
}

func (h simProver) RestartLast(ctx context.Context, r Record) ([]string, error) {
	defer h.drives()()
	switch h.do(ctx, opRestartLast, r.ID, "") {
	case "restarted":
		return r.Alone.RestartLast, nil
	case "":
		return nil, nil
	}
	return nil, errors.New("it does not start")
}

// restarts is what a restart of the agent leads to.
func (m *model) restarts(w world, dead bool) []outcome {
	switch {
	case dead:
		return []outcome{{w, "ended"}}
	case w.agent == w.running:
		return []outcome{{w, ""}}
	}
	not := w
	w.agent = w.running
	return m.orFault(outcome{w, "restarted"}, outcome{not, "failed"})
}

// proofs are what a proof can say; whoever hears one that forbids the commit must not make it.
func (m *model) proofs(w world, words []string, dead bool) []outcome {
	if dead {
		return []outcome{{w, "ended"}}
	}
	var all []outcome
	for _, word := range words {
		next := w
		next.refuted = w.refuted || word == saysFailed || word == saysUnknown && m.plan.Alone.OnUnknown == reach.GoBack
		all = append(all, outcome{next, word})
	}
	return all
}

// byTheHost: the host confirms by itself only where it was asked to, and never what it has
// found to be bad.
func (m *model) byTheHost(w world) string {
	switch {
	case !w.byItself:
	case !m.alone:
		return "nobody confirmed, and it is committed"
	case w.refuted:
		return "it is committed, although a probe or the proof forbids it"
	}
	return ""
}

// agentFits: at the end the agent is that of the system that was decided for.
func (m *model) agentFits(w world, r *Record) string {
	if !m.alone || len(r.Alone.RestartLast) == 0 {
		return ""
	}
	switch {
	case r.State == RolledBack && w.agent != system(r.Previous.Running):
		return "rolled back, but the agent is the one of " + simSystems[w.agent]
	case r.State == Committed && w.agent != system(r.New):
		return "committed, but the agent is the one of " + simSystems[w.agent]
	}
	return ""
}

// deaf is a prover that hears nothing but good.
type deaf struct{ simProver }

func (h deaf) Prove(ctx context.Context, r Record) reach.Proof {
	h.simProver.Prove(ctx, r)
	return reach.Proof{Inbound: reach.ByConnection}
}

// onlyForward restarts nothing on the previous system.
type onlyForward struct{ simProver }

func (h onlyForward) RestartLast(ctx context.Context, r Record) ([]string, error) {
	if running, _, _, _ := h.look(); running == r.Previous.Running {
		return nil, nil
	}
	return h.simProver.RestartLast(ctx, r)
}

// unhurt is a host whose probes never fail.
type unhurt struct{ simHost }

func (h unhurt) Probe(ctx context.Context, r Record) []probe.Result {
	h.simHost.Probe(ctx, r)
	return nil
}

// afterwards is a file system that keeps what is to be restarted last only when that is
// written for the second time, after the restart.
type afterwards struct {
	simFS
	written *int
}

func (a afterwards) OpenFile(name string, flag int, mode fs.FileMode) (atomicfile.File, error) {
	file, err := a.simFS.OpenFile(name, flag, mode)
	if opened, ok := file.(*simFile); ok {
		return unremembered{opened, a.written}, err
	}
	return file, err
}

type unremembered struct {
	*simFile
	written *int
}

var restartedLast = regexp.MustCompile(`"restarted_last":\[[^]]*\],?`)

func (u unremembered) Write(data []byte) (int, error) {
	kept := data
	if restartedLast.Match(data) {
		if *u.written++; *u.written == 1 {
			kept = restartedLast.ReplaceAll(data, nil)
		}
	}
	_, err := u.simFile.Write(kept)
	return len(data), err
}
