package probe

import (
	"context"
	"slices"
	"time"
)

const (
	// longestGlance bounds a look before a trial, longestAdvice how long a probe may
	// take after a rollback that decides nothing.
	longestGlance = 10 * time.Second
	longestAdvice = 30 * time.Second
)

// NeedsGlance says whether a failure of one of these probes, as it is asked from
// the vantage, can make a rollback a failed one: then it must be known what did not
// pass before the trial.
func NeedsGlance(specs []Spec, vantage string) bool { return len(required(specs, vantage)) > 0 }

func required(specs []Spec, vantage string) []Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(s Spec) bool { return s.AfterRollback != Required || s.From != vantage })
}

// Glance names the required probes of the host's vantage, or, where host is nil,
// of the deployer's, that do not pass. Each is tried once: it is for the time just
// before a trial, which must not wait for what is broken.
func Glance(ctx context.Context, specs []Spec, host *Host) []string {
	var asked []Spec
	for _, s := range required(specs, vantageOf(host)) {
		asked = append(asked, s.once())
	}
	var failed []string
	for _, r := range Run(ctx, asked, host, nil) {
		if r.Verdict != Pass {
			failed = append(failed, r.Name)
		}
	}
	return failed
}

// once is the spec for a single try.
func (s Spec) once() Spec {
	s = s.AtRest()
	s.Passes, s.OnUnknown = 1, Alert
	s.Deadline = min(s.limit(), longestGlance)
	s.Interval = max(s.Deadline, shortestPause) // there is no time for a second one
	return s
}

// RunRestored asks the probes of one vantage again where the previous system was
// made to run again, without settle and soak. failedBefore are the names that
// [Glance] had before the trial. The policies of the results are [Required], for
// what makes the rollback a failed one unless it passes, and [Advisory].
//
// The specs are those of the system that was taken back: what they expect of its
// configuration need not hold on the previous one. That is why they are advisory
// unless a person says otherwise.
func RunRestored(ctx context.Context, specs []Spec, host *Host, failedBefore []string) []Result {
	vantage := vantageOf(host)
	var asked []Spec
	for _, s := range specs {
		if s.From == vantage {
			asked = append(asked, s.restored())
		}
	}
	results := Run(ctx, asked, host, nil)
	for i := range results {
		results[i] = afterRollback(asked[i], results[i], slices.Contains(failedBefore, results[i].Name))
	}
	return results
}

// restored is the spec for a system that was brought back. What decides nothing
// must not hold up the last word for long.
func (s Spec) restored() Spec {
	s = s.AtRest()
	if h, ok := s.Ask.(*HerculesSpec); ok {
		// The rollback has just started the agent: it cannot have been quiet for long.
		brief := *h
		brief.Quiet = min(h.Quiet, briefQuiet)
		s.Ask = &brief
	}
	if s.AfterRollback != Required {
		s.Passes, s.OnUnknown = 1, Alert
		s.Deadline = min(s.Deadline, longestAdvice)
	}
	return s
}

// briefQuiet is how long an agent must be online after a rollback.
const briefQuiet = 5 * time.Second

// afterRollback says what a result leads to that was had after a rollback.
func afterRollback(s Spec, r Result, failedBefore bool) Result {
	unknowable := r.Verdict == Unknown && s.OnUnknown == Alert
	r.Policy = Advisory
	switch {
	case s.AfterRollback != Required || unknowable || r.Class == ClassFailedBefore:
	case failedBefore && r.Verdict != Pass:
		r.Notes = append(slices.Clip(r.Notes[:min(len(r.Notes), mostNotes-1)]), "it did not pass before the trial either")
	default:
		r.Policy = Required
	}
	return r
}

func vantageOf(host *Host) string {
	if host == nil {
		return FromDeployer
	}
	return FromHost
}
