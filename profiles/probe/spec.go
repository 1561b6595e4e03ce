// Package probe asks whether a host does what it should, and judges the answers.
//
// A probe tries once and knows nothing of time: [Run] owns settling, deadline,
// interval, streak and soak. Every probe ends in pass, fail or unknown, and
// what it could not find out is never called a failure of the host. What was
// broken before a trial, as its [Baseline] tells, is not blamed on it. A
// [Result] is short, free of control characters, and holds no byte of a secret:
// files with secrets are read on the host for their shape alone.
package probe

import (
	"time"
)

// Where a probe runs.
const (
	FromHost     = "host"
	FromDeployer = "deployer"
)

// What a verdict other than pass leads to.
const (
	Rollback = "rollback"
	Alert    = "alert"
	// Retry is for unknown alone: what is unknown at the deadline is asked for one
	// deadline more, and what is unknown even then counts as a failure.
	Retry = "retry"
)

// What a failure after a rollback means.
const (
	// Advisory is told and changes nothing.
	Advisory = "advisory"
	// Required makes the rollback a failed one, unless it failed before the
	// trial, too.
	Required = "required"
)

// Spec is one probe: what to look at, how long, and what follows. Durations
// are nanoseconds in JSON.
type Spec struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// From is [FromHost] or [FromDeployer]; only http, tcp, dns and command can
	// be asked from the deployer.
	From string `json:"from"`
	// OnFail is [Rollback] or [Alert]; OnUnknown may be [Retry], too.
	OnFail    string `json:"on_fail"`
	OnUnknown string `json:"on_unknown"`

	// Settle passes before the first try. Within Deadline from then Passes tries
	// in a row must have passed, Interval apart; they must go on passing for
	// Soak. A streak that breaks before the deadline may begin again.
	Settle   time.Duration `json:"settle"`
	Deadline time.Duration `json:"deadline"`
	Interval time.Duration `json:"interval"`
	Soak     time.Duration `json:"soak"`
	Passes   int           `json:"passes"`
	// Timeout bounds one try, so that one that hangs leaves time for another;
	// zero bounds it by Deadline alone.
	Timeout time.Duration `json:"timeout,omitempty"`

	// AfterRollback is [Advisory] or [Required]: what a failure means that is
	// seen on the previous system after a rollback.
	AfterRollback string `json:"after_rollback"`

	// Ask is what to look at, of the type that belongs to Kind.
	Ask Question `json:"ask"`
}

// Strict widens the windows of a hercules-ci-agent probe until they prove that
// the agent stays: quiet outlasts the socket's handshake of 30 s and its pause
// of 10 s, settle the restart that the agent's path unit may cause, and soak the
// unit's RestartSec=120. Other kinds are left as they are.
func (s *Spec) Strict() {
	h, ok := s.Ask.(*HerculesSpec)
	if !ok {
		return
	}
	h.Strict = true
	h.Quiet = max(h.Quiet, 45*time.Second)
	s.Settle = max(s.Settle, 45*time.Second)
	s.Deadline = max(s.Deadline, 200*time.Second)
	s.Soak = max(s.Soak, 130*time.Second)
}

// AtRest is the spec for a host that nothing was changed on: without settle
// and soak.
func (s Spec) AtRest() Spec {
	s.Settle, s.Soak = 0, 0
	return s
}

// limit bounds one try.
func (s Spec) limit() time.Duration {
	if s.Timeout <= 0 || s.Timeout > s.Deadline {
		return s.Deadline
	}
	return s.Timeout
}

// LongestDeadline is how long [Run] takes at most for these specs: settle,
// deadline and soak of the slowest, one deadline more where what is unknown is
// asked again, and one try more where there is a soak, since the try that ends it
// begins at its end.
func LongestDeadline(specs []Spec) time.Duration {
	var longest time.Duration
	for _, s := range specs {
		d := s.Settle + s.Deadline
		if s.OnUnknown == Retry {
			d += s.Deadline
		}
		if s.Soak > 0 {
			d += s.Soak + s.limit()
		}
		longest = max(longest, d)
	}
	return longest
}
