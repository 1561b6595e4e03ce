package display

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// asksHealth says whether the outcome is the answer of a command that only asks
// whether a host is well.
func asksHealth(o event.Outcome) bool { return o.Action == "probe" || o.Action == "check" }

// health is the answer about one host: a headline, a table, and below each row
// what a person needs to mend it.
func (p *page) health(host string, o event.Outcome, told map[string]string) {
	paint := p.st.bad
	if isGood(o) {
		paint = p.st.good
	}
	meaning := meaningOf(host, o)
	if o.Seconds > 0 {
		meaning += ", in " + Seconds(o.Seconds)
	}
	p.headline(paint, host, Clean(o.Outcome), meaning)
	if o.Failure != nil {
		p.cause(host, *o.Failure, told)
	}
	p.verdicts(o.Probes)
	p.findings(o.Findings)
	p.journal(o.Journal)
	if o.Failure != nil {
		p.log(o.Failure.Log)
		p.next(o.Failure.Next)
	}
}

// verdicts is the table of probes: name, from, verdict, class, seconds.
func (p *page) verdicts(all []event.Probe) {
	if len(all) == 0 {
		return
	}
	head := []string{"PROBE", "FROM", "VERDICT", "CLASS", "TOOK"}
	rows := make([][]string, len(all))
	for i, v := range all {
		class := Clean(v.Class)
		if class == "" {
			class = "-"
		}
		rows[i] = []string{Clean(v.Name), Clean(v.From), verdictWord(v), class, Seconds(v.Seconds)}
	}
	widths := p.widths(head, rows)
	p.row(widths, head, nil)
	for i, v := range all {
		p.row(widths, rows[i], map[int]func(string) string{2: p.verdictPaint(v)})
		p.details(v)
	}
}

func verdictWord(v event.Probe) string {
	if v.Verdict != "pass" && v.Policy == "alert" {
		return Clean(v.Verdict) + " (alert)"
	}
	return Clean(v.Verdict)
}

func (p *page) verdictPaint(v event.Probe) func(string) string {
	switch {
	case v.Verdict == "pass":
		return p.st.good
	case v.Policy == "alert":
		return p.st.warn
	}
	return p.st.bad
}

// details are what was expected, seen and may help, of a probe that did not pass,
// and what is worth knowing of any.
func (p *page) details(v event.Probe) {
	if v.Verdict != "pass" {
		p.labelled("expected:", v.Expected)
		p.labelled("seen:", v.Seen)
		p.labelled("evidence:", v.Evidence)
		p.labelled("hint:", v.Hint)
	}
	for _, note := range v.Notes {
		p.labelled("note:", note)
	}
}

// labelled writes foreign text under a row, continued under itself.
func (p *page) labelled(label, text string) {
	if text == "" {
		return
	}
	for _, line := range cleanLines(text, evidenceKeep) {
		p.line(4, pad(label, 10), line)
		label = ""
	}
}

// findings is the table of a check: severity and name, and below them cause and
// remedy.
func (p *page) findings(all []event.Finding) {
	for _, f := range all {
		paint := p.st.dim
		switch f.Severity {
		case event.Obstacle:
			paint = p.st.bad
		case event.Warning:
			paint = p.st.warn
		case event.Remark:
		}
		p.b.WriteString("  " + paint(pad(Clean(string(f.Severity)), 7)) + "  " + p.st.bold(Clean(f.Name)) + "\n")
		p.labelled("cause:", f.Cause)
		p.labelled("remedy:", f.Remedy)
	}
}

// widths are those of the widest cells; the first column gets what the others leave.
func (p *page) widths(head []string, rows [][]string) []int {
	widths := make([]int, len(head))
	for _, cells := range append([][]string{head}, rows...) {
		for i, cell := range cells {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	room := p.width - 2
	for _, w := range widths[1:] {
		room -= w + 2
	}
	widths[0] = max(min(widths[0], room), len(head[0]))
	return widths
}

// row writes aligned cells. A first cell that is too wide stands on a line of its own.
func (p *page) row(widths []int, cells []string, paint map[int]func(string) string) {
	var b strings.Builder
	b.WriteString("  ")
	for i, cell := range cells {
		shown := cell
		if f := paint[i]; f != nil {
			shown = f(cell)
		}
		switch missing := widths[i] - ansi.StringWidth(cell); {
		case i == len(cells)-1:
			b.WriteString(shown)
		case missing < 0:
			b.WriteString(shown + "\n" + strings.Repeat(" ", 2+widths[i]+2))
		default:
			b.WriteString(shown + strings.Repeat(" ", missing+2))
		}
	}
	p.b.WriteString(b.String() + "\n")
}

func healthMeaning(o event.Outcome) string {
	if o.Action == "check" {
		return "nothing was changed; " + findingsCount(o.Findings)
	}
	passed := 0
	for _, v := range o.Probes {
		if v.Verdict == "pass" {
			passed++
		}
	}
	return fmt.Sprintf("%d of %s passed; nothing was changed", passed, plural(len(o.Probes), "probe", "probes"))
}

func findingsCount(all []event.Finding) string {
	counts := map[event.Severity]int{}
	for _, f := range all {
		counts[f.Severity]++
	}
	return plural(counts[event.Obstacle], "failure", "failures") + ", " + plural(counts[event.Warning], "warning", "warnings") + ", " +
		plural(counts[event.Remark], "note", "notes")
}

func findingText(f event.Finding) string {
	return join("; remedy: ", Clean(f.Name)+": "+oneLine(f.Cause), oneLine(f.Remedy))
}

// watched is the table of verdicts as a live view shows it.
func (c *chapter) watched(sc screen) []string {
	p := page{width: max(sc.width-1, minWidth), st: sc.st}
	p.verdicts(c.probes)
	return strings.Split(strings.TrimSuffix(p.b.String(), "\n"), "\n")
}

// isProbed says whether the host is only asked its probes.
func (c *chapter) isProbed() bool {
	for _, ph := range c.phases {
		if ph.name == event.Probing {
			return true
		}
	}
	return false
}
