package probe

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the kinds into the document")

const document = "../../docs/probes.md"

func readDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// combination is what a row of the table is about.
type combination struct {
	phase                            Phase
	verdict                          string
	onFail, onUnknown, afterRollback string
}

const failedBeforeRow = "failed before"

func combinations() []combination {
	var all []combination
	for _, phase := range []Phase{InTrial, KeptTrial, AtRest, AfterRollback} {
		for _, verdict := range []string{Pass, Fail, Unknown, failedBeforeRow} {
			for _, onFail := range []string{Rollback, Alert} {
				for _, onUnknown := range []string{Rollback, Alert, Retry} {
					for _, after := range []string{Advisory, Required} {
						all = append(all, combination{phase, verdict, onFail, onUnknown, after})
					}
				}
			}
		}
	}
	return all
}

// results are what a probe with these policies answers, in all ways that a row
// stands for.
func (c combination) results() []Result {
	s := Spec{Name: "a", OnFail: c.onFail, OnUnknown: c.onUnknown, AfterRollback: c.afterRollback}
	findings := map[string][]finding{
		Pass: {pass("", "").note("beside it")}, Fail: {fail("x", "", "")}, Unknown: {unknown("x", "", "")},
		failedBeforeRow: {unknown(ClassFailedBefore, "", "")},
	}[c.verdict]
	before := c.verdict == failedBeforeRow
	if c.phase == AfterRollback && before {
		findings = append(findings, fail("x", "", ""), unknown("x", "", ""))
	}
	var results []Result
	for _, f := range findings {
		r := f.result(s)
		if c.phase == AfterRollback {
			r = afterRollback(s, r, before)
		}
		results = append(results, r)
	}
	return results
}

// table reads the truth table: what it says of every combination, in exactly one
// row.
func table(t *testing.T) map[combination]Outcome {
	t.Helper()
	_, section, ok := strings.Cut(readDocument(t), "\n## What becomes of the host\n")
	if !ok {
		t.Fatal("the document has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	said := map[combination]Outcome{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 || cells[0] == "phase" || cells[0] == "---" {
			continue
		}
		used := false
		for _, c := range combinations() {
			for i, value := range []string{string(c.phase), c.verdict, c.onFail, c.onUnknown, c.afterRollback} {
				if cells[i] != value && (cells[i] != "any" || i < 2) {
					goto next
				}
			}
			if _, twice := said[c]; twice {
				t.Errorf("two rows say what becomes of %+v", c)
			}
			said[c], used = Outcome(cells[5]), true
		next:
		}
		if !used {
			t.Errorf("no combination fits the row %s", line)
		}
	}
	return said
}

func TestTheTruthTableIsWhatTheCodeDoes(t *testing.T) {
	said := table(t)
	for _, c := range combinations() {
		want, ok := said[c]
		if !ok {
			t.Errorf("no row says what becomes of %+v", c)
			continue
		}
		for _, r := range c.results() {
			if got := Judge(c.phase, []Result{r}); got != want {
				t.Errorf("%+v: %s, and the document says %s", c, got, want)
			}
		}
	}
}

// Of several probes the worst decides.
func TestTheWorstDecides(t *testing.T) {
	worst := []Outcome{RollbackFailed, Kept, RolledBack, Degraded, Unchanged, Committed}
	all := combinations()
	for _, a := range all {
		for _, b := range all {
			if a.phase != b.phase {
				continue
			}
			x, y := a.results()[:1], b.results()[:1]
			alone := []Outcome{Judge(a.phase, x), Judge(b.phase, y)}
			want := alone[0]
			if slices.Index(worst, alone[1]) < slices.Index(worst, want) {
				want = alone[1]
			}
			if got := Judge(a.phase, slices.Concat(x, y)); got != want {
				t.Errorf("%+v beside %+v: %s, want %s", a, b, got, want)
			}
		}
	}
	for phase, want := range map[Phase]Outcome{InTrial: Committed, KeptTrial: Committed, AtRest: Unchanged, AfterRollback: RolledBack} {
		if got := Judge(phase, nil); got != want {
			t.Errorf("%s, of nothing: %s", phase, got)
		}
	}
}

// What comes from a host may be anything: it is never taken for a pass.
func TestJudgeOfForeignResults(t *testing.T) {
	for _, c := range []struct {
		phase           Phase
		verdict, policy string
		want            Outcome
	}{
		{InTrial, "", Alert, Degraded},
		{InTrial, "passed", Rollback, RolledBack},
		{InTrial, Fail, "ignore", RolledBack},
		{InTrial, Unknown, Retry, RolledBack},
		{InTrial, Pass, "", Committed},
		{AtRest, "passed", Alert, Degraded},
		{AfterRollback, "passed", Advisory, RolledBack},
		{AfterRollback, "", "", RollbackFailed},
		{AfterRollback, Fail, Rollback, RollbackFailed},
	} {
		if got := Judge(c.phase, []Result{{Verdict: c.verdict, Policy: c.policy}}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

const kindsBegin, kindsEnd = "-->\n", "<!-- end of kinds -->"

// Every kind and parameter stands in the document as the catalogue has it.
func TestKindsInTheDocument(t *testing.T) {
	text := readDocument(t)
	head, rest, ok := strings.Cut(text, kindsBegin)
	body, tail, ok2 := strings.Cut(rest, kindsEnd)
	if !ok || !ok2 {
		t.Fatal("the document has no place for the kinds")
	}
	want := describeKinds()
	if *update {
		if err := os.WriteFile(document, []byte(head+kindsBegin+want+kindsEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if body != want {
		t.Errorf("%s is not what the catalogue says; write it with: go test ./profiles/probe -run TestKindsInTheDocument -update\nit should say:\n%s", document, want)
	}
}

func describeKinds() string {
	var b strings.Builder
	b.WriteString("\nThese are their defaults, where deploy.toml says nothing else:\n\n" +
		"| kind | passes where | from | `on_unknown` | `settle` | `deadline` | `interval` | `soak` | `timeout` |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, about := range Catalogue() {
		s := Defaults(about.Kind)
		name := "`" + about.Kind + "`"
		if about.Preset {
			name += ", a preset"
		}
		timeout := length(s.Timeout)
		if s.Timeout == 0 {
			timeout = "the deadline"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, cell(about.Text), strings.Join(about.Vantages, ", "), s.OnUnknown,
			length(s.Settle), length(s.Deadline), length(s.Interval), length(s.Soak), timeout)
	}
	b.WriteString("\nThe parameters of each:\n")
	for _, about := range Catalogue() {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n", about.Kind, strings.ToUpper(about.Text[:1])+about.Text[1:])
		if len(about.Params) == 0 {
			b.WriteString("\nIt has no parameters.\n")
			continue
		}
		b.WriteString("\n| parameter | type | default | meaning |\n| --- | --- | --- | --- |\n")
		for _, p := range about.Params {
			b.WriteString(p.row(""))
			for _, of := range p.Of {
				b.WriteString(of.row(p.Name + "."))
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

// row is a parameter in a table; of is what it is part of.
func (p Param) row(of string) string {
	value := "`" + p.Default + "`"
	switch {
	case p.Required:
		value = "required"
	case p.Default == "":
		value = "none"
	case strings.ContainsAny(p.Default, " '") && !strings.HasPrefix(p.Default, "["):
		value = p.Default
	}
	meaning := p.Text
	if len(p.Words) > 0 {
		meaning += ": `" + strings.Join(p.Words, "`, `") + "`"
	}
	return fmt.Sprintf("| `%s%s` | %s | %s | %s |\n", of, p.Name, p.Type, cell(value), cell(meaning))
}

// cell is a text that cannot end a table's cell.
func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

func length(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}
