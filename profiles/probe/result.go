package probe

import (
	"strings"
	"unicode"
)

// The verdicts of a probe.
const (
	Pass = "pass"
	Fail = "fail"
	// Unknown is could-not-tell: what went wrong is not the host's doing, or the
	// question could not be asked.
	Unknown = "unknown"
)

// ClassFailedBefore marks what was broken before the trial and was not touched
// by it. It never rolls back.
const ClassFailedBefore = "failed-before"

// Result is the answer of one probe. Texts are at most 512 runes each, without
// control characters.
type Result struct {
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	From    string `json:"from"`
	Verdict string `json:"verdict"`
	// Policy is what this verdict leads to: the spec's OnUnknown if it is
	// unknown, its OnFail otherwise.
	Policy string `json:"policy"`
	// Class names the fault for machines, for instance "no-token"; empty on a pass.
	Class    string `json:"class,omitempty"`
	Expected string `json:"expected,omitempty"`
	Seen     string `json:"seen,omitempty"`
	// Evidence is the line, file or unit that shows it.
	Evidence string `json:"evidence,omitempty"`
	// Hint is the next command, or what to change.
	Hint string `json:"hint,omitempty"`
	// Notes are what was seen beside the verdict and does not change it; at most
	// eight.
	Notes []string `json:"notes,omitempty"`
	// Units names the units whose journal tells more; empty on a pass.
	Units []string `json:"units,omitempty"`
	// Seconds is the time from the start, settling included, to the verdict.
	Seconds float64 `json:"seconds"`
}

// MustRollBack says whether the results forbid to keep what was tried.
//
// A result forbids it unless it passed or its policy is to alert:
//
//	verdict   policy rollback   policy alert
//	pass      keep              keep
//	fail      roll back         keep, degraded
//	unknown   roll back         keep, degraded
//
// Results also come from hosts: a verdict that is none of the three counts as
// unknown, a policy that is neither as rollback. No results forbid nothing;
// that none is missing is the caller's to check.
func MustRollBack(results []Result) bool {
	for _, r := range results {
		if r.Verdict != Pass && r.Policy != Alert {
			return true
		}
	}
	return false
}

// Degraded says whether what was tried may be kept but not everything is
// well: see the table of [MustRollBack].
func Degraded(results []Result) bool {
	if MustRollBack(results) {
		return false
	}
	for _, r := range results {
		if r.Verdict != Pass {
			return true
		}
	}
	return false
}

// finding is what one try saw.
type finding struct {
	verdict                               string
	class, expected, seen, evidence, hint string
	// units are those that it is about, where the spec does not name them.
	units []string
}

func pass(expected, seen string) finding {
	return finding{verdict: Pass, expected: expected, seen: seen}
}

func fail(class, expected, seen string) finding {
	return finding{verdict: Fail, class: class, expected: expected, seen: seen}
}

func unknown(class, expected, seen string) finding {
	return finding{verdict: Unknown, class: class, expected: expected, seen: seen}
}

func (f finding) because(evidence string) finding {
	f.evidence = evidence
	return f
}

func (f finding) try(hint string) finding {
	f.hint = hint
	return f
}

// longestText is the cap of a text of a result, in runes.
const longestText = 512

// result is the finding as the world sees it.
func (f finding) result(s Spec) Result {
	r := Result{
		Name: clean(s.Name), Kind: s.Kind, From: s.From, Verdict: f.verdict, Policy: s.OnFail, Class: f.class,
		Expected: clean(f.expected), Seen: clean(f.seen), Evidence: clean(f.evidence), Hint: clean(f.hint),
	}
	if f.verdict == Unknown {
		r.Policy = s.OnUnknown
	}
	if f.class == ClassFailedBefore {
		r.Policy = Alert
	}
	if f.verdict != Pass {
		r.Units = f.units
		if s.Ask != nil {
			r.Units = append(r.Units, s.Ask.units()...)
		}
	}
	return r
}

// clean makes foreign text fit to be shown: one line, nothing that steers a
// terminal or reorders what is read, and short.
func clean(text string) string {
	// No rune is longer than four bytes; a few more leave room for blanks.
	if most := 8 * longestText; len(text) > most {
		text = text[:most]
	}
	var out strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(text) {
		switch {
		case r == unicode.ReplacementChar:
			r = '?'
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r):
			continue
		}
		if n == longestText-1 {
			out.WriteRune('…')
			break
		}
		out.WriteRune(r)
		n++
	}
	return out.String()
}
