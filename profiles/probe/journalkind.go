package probe

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// What part of the journal a probe reads.
const (
	// OfTrial is what was written since the trial began.
	OfTrial = "trial"
	// OfInvocation is what the unit wrote since it was last started.
	OfInvocation = "invocation"
)

// JournalSpec asks what a unit, or whoever uses an identifier, wrote to the
// journal. What PID 1 wrote about a unit is the unit's, too.
type JournalSpec struct {
	Unit string `json:"unit,omitempty"`
	// Identifier is the SYSLOG_IDENTIFIER, of any unit.
	Identifier string `json:"identifier,omitempty"`
	// Of is [OfTrial] or [OfInvocation]. Where there was no trial, the unit's
	// current invocation is read for both, and of an identifier this boot.
	Of      string    `json:"of"`
	Must    []Pattern `json:"must,omitempty"`
	MustNot []Pattern `json:"must_not,omitempty"`
}

// Pattern is a regular expression (RE2) that is looked for in each entry.
type Pattern struct {
	Pattern string `json:"pattern"`
	// Count is how many entries must match at least, one if it is zero; or how
	// many may match at most.
	Count int `json:"count,omitempty"`
}

const (
	mostPatterns = 64
	mostMatches  = journalLines
)

// identifierName is what stands before the colon in a line of the journal.
var identifierName = regexp.MustCompile(`^[^\s=:][^\x00-\x1f:]{0,127}$`)

func journalKind() kind {
	pattern := Param{Name: "pattern", Type: Text, Required: true, Text: "a regular expression (RE2) that is looked for in each entry's message"}
	return kind{
		About: About{
			Kind: KindJournal, Vantages: []string{FromHost}, Text: "the journal of a unit, or of an identifier, has what it must have and nothing that it must not",
			Params: []Param{
				{Name: "unit", Type: Text, Text: "the unit's name with its suffix; what PID 1 wrote about it counts, too"},
				{Name: "identifier", Type: Text, Text: "the SYSLOG_IDENTIFIER, in place of a unit"},
				{Name: "of", Type: Text, Default: `"trial"`, Words: []string{OfTrial, OfInvocation}, Text: "what was written since the trial began, or since the unit was last started"},
				{Name: "must", Type: Tables, Text: "what must be there", Of: []Param{
					pattern, {Name: "count", Type: Number, Default: "1", Text: "how many entries must match at least"},
				}},
				{Name: "must_not", Type: Tables, Text: "what must not be there", Of: []Param{
					pattern, {Name: "count", Type: Number, Default: "0", Text: "how many entries may match at most"},
				}},
			},
		},
		question: func() Question { return &JournalSpec{Of: OfTrial} },
		// What must not be written is seen only by looking on.
		defaults: func(s *Spec) { s.Soak = 5 * time.Second },
	}
}

func (j *JournalSpec) validate() error {
	var errs []error
	switch {
	case (j.Unit == "") == (j.Identifier == ""):
		errs = append(errs, errors.New("either unit or identifier must be given"))
	case j.Unit != "":
		errs = append(errs, ValidUnit(j.Unit))
	case !identifierName.MatchString(j.Identifier):
		errs = append(errs, fmt.Errorf("%q is not an identifier of the journal", clean(j.Identifier)))
	}
	if j.Of != OfTrial && j.Of != OfInvocation {
		errs = append(errs, fmt.Errorf("of must be %s or %s, not %q", OfTrial, OfInvocation, clean(j.Of)))
	}
	if j.Of == OfInvocation && j.Unit == "" {
		errs = append(errs, errors.New("only a unit has an invocation"))
	}
	if n := len(j.Must) + len(j.MustNot); n == 0 || n > mostPatterns {
		errs = append(errs, fmt.Errorf("must and must_not must hold 1 to %d patterns", mostPatterns))
	}
	for _, p := range j.Must {
		errs = append(errs, p.validate("must"))
	}
	for _, p := range j.MustNot {
		errs = append(errs, p.validate("must_not"))
	}
	return errors.Join(errs...)
}

func (p Pattern) validate(key string) error {
	if p.Pattern == "" {
		return fmt.Errorf("a pattern of %s is missing", key)
	}
	if p.Count < 0 || p.Count > mostMatches {
		return fmt.Errorf("count must be from 0 to %d, not %d", mostMatches, p.Count)
	}
	return validPattern("a pattern of "+key, p.Pattern)
}

func (j *JournalSpec) units() []string {
	if j.Unit == "" {
		return nil
	}
	return []string{j.Unit}
}

func (j *JournalSpec) try(ctx context.Context, a attempt) finding {
	read, expected := newReading(j), j.expected()
	selected, f := j.selection(ctx, a)
	if f.verdict != "" {
		f.expected = expected
		return f
	}
	log := journal{a.host.Systemd}
	// What was printed a moment ago may not have been stored yet.
	syncing, done := context.WithTimeout(ctx, time.Second)
	_, _ = log.Output(syncing, "journalctl", "--sync")
	done()
	whole, err := log.readTo(ctx, func(e entry) bool {
		if e.monotonic >= selected.since {
			read.take(e.message)
		}
		return true
	}, selected.args...)
	if err != nil {
		return unknown("journal", expected, "the journal could not be read").because(err.Error())
	}
	f = read.judge(expected, whole)
	if f.verdict != Pass {
		f.hint = j.hint(a.host.Baseline)
	}
	return f
}

// selection is which entries count: journalctl's matches, and an instant in µs.
type selection struct {
	args  []string
	since int64
}

// selection has a finding where there is nothing to read.
func (j *JournalSpec) selection(ctx context.Context, a attempt) (selection, finding) {
	begin, cursor, trial := a.host.Baseline.journalBegin()
	if j.Unit == "" {
		return selection{since: begin, args: append(cursor, "--boot", "SYSLOG_IDENTIFIER="+j.Identifier)}, finding{}
	}
	if trial && j.Of == OfTrial {
		return selection{since: begin, args: append(cursor, "--boot", "_SYSTEMD_UNIT="+j.Unit, "+", "_PID=1", "UNIT="+j.Unit)}, finding{}
	}
	units, err := a.host.Systemd.Show(ctx, j.Unit)
	if err != nil {
		return selection{}, silent("", err)
	}
	u, ok := named(units, j.Unit)
	switch {
	case !ok || u.Load != "loaded":
		return selection{}, fail("not-loaded", "", describe(systemd.Unit{ID: j.Unit, Load: loadOf(u)})).try("systemctl cat " + j.Unit)
	case u.Invocation == "":
		return selection{}, fail("not-started", "", j.Unit+" was not started since the host booted").try("systemctl status " + j.Unit)
	}
	return selection{args: ofInvocation(u.Invocation)}, finding{}
}

// journalBegin is the first instant of this boot that belongs to the trial, and
// where reading may begin: as in [journal.restarts] the clock decides, and the
// cursor only saves reading. A trial that a reboot is part of has all of the
// new boot.
func (b *Baseline) journalBegin() (begin int64, cursor []string, trial bool) {
	if b == nil {
		return 0, nil, false
	}
	if boot, err := bootID(); err == nil && boot != b.BootID {
		return 0, nil, true
	}
	if b.JournalCursor != "" {
		cursor = []string{"--cursor=" + b.JournalCursor}
	}
	return b.Monotonic, cursor, true
}

func (j *JournalSpec) hint(b *Baseline) string {
	if j.Unit == "" {
		return "journalctl -b -e -t '" + j.Identifier + "'"
	}
	if j.Of == OfInvocation || b == nil {
		return "journalctl -e _SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value " + j.Unit + ")"
	}
	return "journalctl -b -e -u " + j.Unit
}

func (j *JournalSpec) expected() string {
	who := j.Unit
	if who == "" {
		who = j.Identifier
	}
	var parts []string
	for _, p := range j.Must {
		parts = append(parts, fmt.Sprintf("what matches %s%s", p.Pattern, times(max(p.Count, 1), 1, "at least")))
	}
	for _, p := range j.MustNot {
		if p.Count == 0 {
			parts = append(parts, "nothing that matches "+p.Pattern)
		} else {
			parts = append(parts, fmt.Sprintf("what matches %s%s", p.Pattern, times(p.Count, 0, "at most")))
		}
	}
	return who + " wrote " + strings.Join(parts, ", and ")
}

func times(n, plain int, bound string) string {
	if n == plain {
		return ""
	}
	return fmt.Sprintf(" %s %d times", bound, n)
}

// reading counts what matches.
type reading struct {
	must, mustNot []counter
	entries       int
	last          string
}

type counter struct {
	Pattern
	expression *regexp.Regexp
	matches    int
	// last is the last entry that matched.
	last string
}

// newReading takes patterns that are valid.
func newReading(j *JournalSpec) *reading {
	return &reading{must: counters(j.Must), mustNot: counters(j.MustNot)}
}

func counters(patterns []Pattern) []counter {
	var all []counter
	for _, p := range patterns {
		all = append(all, counter{Pattern: p, expression: regexp.MustCompile(p.Pattern)})
	}
	return all
}

func (r *reading) take(message string) {
	if message == "" {
		return
	}
	r.entries++
	r.last = message
	for _, all := range [][]counter{r.must, r.mustNot} {
		for i := range all {
			if all[i].expression.MatchString(message) {
				all[i].matches++
				all[i].last = message
			}
		}
	}
}

// judge calls what was seen a failure even where not everything was read; what
// was not seen only where it was.
func (r *reading) judge(expected string, whole bool) finding {
	for _, c := range r.mustNot {
		if c.matches > c.Count {
			return fail("forbidden", expected, fmt.Sprintf("%d of %d entries matched %s", c.matches, r.entries, c.Pattern.Pattern)).because(redact(c.last))
		}
	}
	missing, found := counter{}, true
	for _, c := range r.must {
		if c.matches < max(c.Count, 1) {
			missing, found = c, false
			break
		}
	}
	switch {
	case found && (whole || len(r.mustNot) == 0):
		return pass(expected, fmt.Sprintf("so it is, in %d entries", r.entries))
	case !whole:
		return unknown("too-much", expected, fmt.Sprintf("it wrote more than is read, which is %d entries, %d MiB, or %d KiB in one", journalLines, journalBytes>>20, journalLine>>10))
	case r.entries == 0:
		return fail("missing", expected, "it wrote nothing")
	}
	f := fail("missing", expected, fmt.Sprintf("%d of %d entries matched %s", missing.matches, r.entries, missing.Pattern.Pattern))
	return f.because(redact(r.last))
}
