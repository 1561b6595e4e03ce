package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// ProbeRequest asks whether hosts are well. Of the request Hosts, with the probes
// that are wanted of each, Flake, Events and Log are used.
type ProbeRequest struct {
	Request
	// Names are the probes that are wanted of what the host recorded; none for all.
	Names []string
	// Recorded asks what the host recorded with what it runs, and evaluates nothing.
	Recorded bool
	// Patient tries each probe until its deadline, as a deployment does. Otherwise
	// each is tried once: on a host at rest there is nothing to wait for.
	Patient bool
	// Every asks again and again, this long after the last answers, until the context
	// ends; zero asks once.
	Every time.Duration
}

const (
	// mostRecorded caps the probes that a host may say it recorded.
	mostRecorded = 500
	// answerSlack is what the answers may take beyond the probes themselves.
	answerSlack = time.Minute
)

// Probe runs the probes of hosts without deploying. Nothing is changed, no lock is
// taken, and nothing is evaluated on a host. Where nothing can be evaluated here, it
// says so and asks what the hosts recorded.
func Probe(ctx context.Context, r ProbeRequest) Report {
	run, all := r.asks(commandProbe)
	defer run.close()
	var evaluated map[string]nix.Evaluated
	var failures map[string]error
	besides(func() {
		if !r.Recorded {
			evaluated, failures = run.expected(ctx)
		}
	}, func() {
		everyHost(all, atOnce, func(h *hostRun) {
			seen, err := h.visit(ctx)
			if err == nil {
				err = h.notOurs(h.facts)
			}
			h.fail(err)
			if err == nil {
				h.tellUnderWay(seen)
			}
		})
	})
	atOnce := atOnce
	if r.Every > 0 {
		atOnce = len(all) // one that is watched has no end that another could wait for
	}
	everyHost(all, atOnce, func(h *hostRun) {
		h.system = evaluated[h.Name]
		h.fail(h.probeAtRest(ctx, r, failures[h.Name]))
	})
	if r.Every > 0 {
		ctx = context.WithoutCancel(ctx) // the end of a watch is no interruption
	}
	return run.report(ctx, all)
}

// expected evaluates. Without a usable Nix that fails for every host.
func (r *run) expected(ctx context.Context) (map[string]nix.Evaluated, map[string]error) {
	err := r.usableNix(ctx)
	if err == nil {
		return r.evaluateAll(ctx, false)
	}
	failures := map[string]error{}
	for _, h := range r.Hosts {
		failures[h.Name] = err
	}
	return nil, failures
}

// tellUnderWay says what else goes on: the verdicts are of what runs now.
func (h *hostRun) tellUnderWay(seen protocol.LookResult) {
	if t := h.open(); t != nil {
		h.note("info", "a deployment by %s is under way (%s): the verdicts are of what runs meanwhile", t.Deployer, t.State)
	}
	if seen.NeedsReboot {
		h.note("info", "the kernel that runs is not that of the running system: a reboot is needed")
	}
}

// probeAtRest asks the host's probes, once or again and again. The outcome follows
// from the last answers.
func (h *hostRun) probeAtRest(ctx context.Context, r ProbeRequest, evalErr error) error {
	if h.failure != nil {
		return nil
	}
	specs, err := h.specsAtRest(ctx, r, evalErr)
	if err != nil {
		return err
	}
	done := h.phase(event.Probing)
	for {
		before := err
		err = h.round(ctx, specs)
		if r.Every == 0 {
			break
		}
		h.tellLost(before, err)
		if !pause(ctx, r.Every) {
			break
		}
	}
	failed := len(h.failedProbes())
	switch {
	case err != nil:
		done("", err)
		return err
	case failed == 0:
		done(plural(len(h.results), "probe")+" passed", nil)
		h.done(Healthy, CodeOK)
		return nil
	}
	done("", fmt.Errorf("%d of %s did not pass", failed, plural(len(h.results), "probe")))
	h.askJournal(context.WithoutCancel(ctx))
	h.done(Unhealthy, CodeProbes)
	return nil
}

// tellLost tells a watcher when the host is lost, and when it is back.
func (h *hostRun) tellLost(before, now error) {
	switch {
	case before == nil && now != nil:
		h.note("warning", "%s; trying again", rootCause(now))
	case before != nil && now == nil:
		h.note("info", "the host answers again")
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// specsAtRest are the probes as a host at rest is asked them.
func (h *hostRun) specsAtRest(ctx context.Context, r ProbeRequest, evalErr error) ([]probe.Spec, error) {
	specs, err := h.wantedSpecs(ctx, r, evalErr)
	if err != nil {
		return nil, err
	}
	for i := range specs {
		specs[i] = specs[i].AtRest()
		if !r.Patient {
			// A second try would begin when the deadline is over.
			specs[i].Passes, specs[i].Interval = 1, specs[i].Deadline
		}
	}
	return specs, nil
}

func (h *hostRun) wantedSpecs(ctx context.Context, r ProbeRequest, evalErr error) ([]probe.Spec, error) {
	if !r.Recorded && evalErr == nil {
		if h.system.OutPath != h.facts.Running {
			h.note("warning", "the host does not run what the configuration evaluates to, and the probes expect what that says (--recorded: what runs)")
			h.note("info", "it runs %s", h.facts.Running)
			h.note("info", "evaluated: %s", h.system.OutPath)
		}
		return h.specs()
	}
	if evalErr != nil {
		if ctx.Err() != nil {
			return nil, h.interruptedFailure()
		}
		h.note("warning", "nothing could be evaluated here, so that the host's own record says what to expect: %s", flakeCause(evalErr))
	}
	return h.recordedSpecs(ctx, r.Names)
}

// recordedSpecs are the probes that the host recorded with what it runs, and those
// from here, which expect nothing of the configuration.
func (h *hostRun) recordedSpecs(ctx context.Context, names []string) ([]probe.Spec, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	recorded, err := h.agent.Recorded(ctx)
	if err != nil {
		return nil, h.connectionFailure("recorded probes", err)
	}
	own, err := h.specs()
	if err != nil {
		return nil, err
	}
	if len(recorded.Probes) == 0 {
		h.note("warning", "the host has recorded no probe with what it runs: those of deploy.toml are asked, without what the configuration says of secrets and services")
		return own, nil
	}
	h.note("info", "asking what %s recorded at %s with what the host runs", capped(recorded.Deployer), recorded.Started.Local().Format("2006-01-02 15:04"))
	specs := make([]probe.Spec, 0, len(recorded.Probes))
	for _, s := range recorded.Probes[:min(len(recorded.Probes), mostRecorded)] {
		if s.From == probe.FromHost && s.Validate() == nil && named(s.Name, names) {
			specs = append(specs, s)
		}
	}
	return append(specs, from(own, probe.FromDeployer)...), nil
}

// named says whether a probe is among the wanted ones. That of a unit may have the
// unit's name behind its own.
func named(name string, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return name == w || strings.HasPrefix(name, w+" ") })
}

// round asks all probes, and tells what is new. Where the host was lost before, it
// connects again.
func (h *hostRun) round(ctx context.Context, specs []probe.Spec) error {
	limited, cancel := context.WithTimeout(ctx, probe.LongestDeadline(specs)+answerSlack)
	defer cancel()
	if h.agent == nil {
		if err := h.comeBack(limited); err != nil {
			return err
		}
	}
	told := telling{h: h, before: h.results, total: len(specs)}
	onHost, here := from(specs, probe.FromHost), from(specs, probe.FromDeployer)
	var hosts, ours []probe.Result
	var err error
	besides(func() {
		if len(onHost) > 0 {
			hosts, err = h.agent.Probe(limited, onHost, told.tell)
		}
	}, func() { ours = probe.Run(limited, here, nil, told.tell) })
	switch {
	case ctx.Err() != nil && h.results != nil:
		return nil // the last whole answer stands
	case ctx.Err() != nil:
		return h.interruptedFailure()
	case err != nil:
		h.results = ours
		return h.gone(err)
	case len(hosts) != len(onHost):
		return asFailure(h.Name, "probe", fmt.Errorf("the host answered %d of %d probes", len(hosts), len(onHost)))
	}
	h.results = append(hosts, ours...)
	return nil
}

// gone forgets a connection that broke.
func (h *hostRun) gone(err error) error {
	h.agent = nil
	var said *protocol.Error
	if errors.As(err, &said) {
		return h.toldNo(said)
	}
	return h.connectionFailure("probe", err)
}

func (h *hostRun) comeBack(ctx context.Context) error {
	conn, a, err := h.connect(ctx, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System, LookOnly: true}, &h.facts))
	if err != nil {
		return h.connectionFailure("connect", err)
	}
	h.use(conn, a)
	return nil
}

// telling tells the verdicts of one round that differ from those of the one before.
type telling struct {
	h      *hostRun
	before []probe.Result
	mu     sync.Mutex
	done   int
	total  int
}

func (t *telling) tell(r probe.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	if t.before == nil {
		t.h.run.emit(event.Event{Type: "progress", Host: t.h.Name, Phase: event.Probing,
			Progress: &event.Progress{Done: int64(t.done), Total: int64(t.total), Unit: "probes"}})
	}
	same := func(old probe.Result) bool {
		return old.Name == r.Name && old.From == r.From && old.Verdict == r.Verdict && old.Class == r.Class
	}
	if !slices.ContainsFunc(t.before, same) {
		t.h.run.emit(event.Event{Type: "probe", Host: t.h.Name, Phase: event.Probing, Probe: toEvent(r)})
	}
}
