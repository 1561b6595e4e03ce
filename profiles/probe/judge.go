package probe

// Phase is when probes were asked, and so what their verdicts can lead to.
type Phase string

// The phases.
const (
	// InTrial is while the new system runs and the previous one still boots.
	InTrial Phase = "trial"
	// KeptTrial is the same where a person wants to look at a system that fails.
	KeptTrial Phase = "trial, with --no-rollback"
	// AtRest is where nothing was changed, or nothing can be taken back.
	AtRest Phase = "at rest"
	// AfterRollback is where the previous system was made to run again.
	AfterRollback Phase = "after a rollback"
)

// Outcome is what becomes of a host because of its probes, in the words of the
// run's outcomes.
type Outcome string

// The outcomes.
const (
	Committed      Outcome = "committed"
	Degraded       Outcome = "degraded"
	RolledBack     Outcome = "rolled-back"
	Kept           Outcome = "kept"
	Unchanged      Outcome = "unchanged"
	RollbackFailed Outcome = "rollback-failed"
)

// Judge says what becomes of a host because of these results alone: the worst of
// what each of them leads to, by the table of docs/probes.md. A host of which
// nothing is asked is well; that no result is missing is the caller's to check.
//
// Results also come from hosts. A verdict that is none of the three counts as
// unknown; a policy that is none of those of the phase counts as the strict one.
func Judge(phase Phase, results []Result) Outcome {
	ill, decides := false, false
	for _, r := range results {
		if r.Verdict == Pass {
			continue
		}
		ill = true
		if phase == AfterRollback {
			decides = decides || r.Policy != Advisory && r.Policy != Alert
		} else {
			decides = decides || r.Policy != Alert
		}
	}
	switch {
	case phase == AtRest && ill:
		return Degraded
	case phase == AtRest:
		return Unchanged
	case phase == AfterRollback && decides:
		return RollbackFailed
	case phase == AfterRollback:
		return RolledBack
	case phase == KeptTrial && decides:
		return Kept
	case decides:
		return RolledBack
	case ill:
		return Degraded
	}
	return Committed
}

// MustRollBack says whether the results of a trial forbid to keep what was tried.
func MustRollBack(results []Result) bool { return Judge(InTrial, results) == RolledBack }
