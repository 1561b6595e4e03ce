package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
)

const serving = `Id=app.service
LoadState=loaded
ActiveState=active
SubState=running
InvocationID=a
`

// The stand-in's journalctl knows what an invocation wrote; which entries a real
// one selects is shown in the lab.
func TestJournalKind(t *testing.T) {
	one := func(pattern string, count int) []Pattern { return []Pattern{{pattern, count}} }
	for _, c := range []struct {
		name           string
		must, mustNot  []Pattern
		verdict, class string
		contains       string
	}{
		{"there", one("^ready", 0), nil, Pass, "", "in 4 entries"},
		{"twice", one("warning", 2), nil, Pass, "", ""},
		{"not three times", one("warning", 3), nil, Fail, "missing", "2 of 4 entries matched warning"},
		{"not there", one("listening", 0), nil, Fail, "missing", "last of all"},
		{"forbidden", nil, one("warning: b", 0), Fail, "forbidden", "warning: b at op://…"},
		{"forbidden and there", one("ready", 0), one("warning", 0), Fail, "forbidden", "2 of 4"},
		{"twice is allowed", nil, one("warning", 2), Pass, "", ""},
		{"once is allowed", nil, one("warning", 1), Fail, "forbidden", ""},
		{"all of several", []Pattern{{"ready", 1}, {"last", 1}}, one("error", 0), Pass, "", ""},
		{"one of several", []Pattern{{"ready", 1}, {"never", 1}}, nil, Fail, "missing", "matched never"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stand := newStandIn(t)
			stand.unit(serving)
			stand.lines("a", 0, "warning: a", "ready to serve", "warning: b at op://vault/item/field", "last of all")
			s := quick(KindJournal)
			s.Ask = &JournalSpec{Unit: "app.service", Of: OfInvocation, Must: c.must, MustNot: c.mustNot}
			r := runOne(t, s, stand.host(nil))
			r.want(t, c.verdict, c.class, c.contains)
			if strings.Contains(r.Evidence, "vault") || r.Verdict == Fail && (r.Hint == "" || len(r.Units) != 1) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestJournalKindWithoutAnAnswer(t *testing.T) {
	s := quick(KindJournal)
	s.Ask = &JournalSpec{Unit: "app.service", Of: OfInvocation, MustNot: []Pattern{{Pattern: "x"}}}
	s.Deadline, s.Interval, s.Timeout = time.Minute, time.Minute, time.Minute
	for _, c := range []struct {
		name           string
		prepare        func(*standIn)
		verdict, class string
	}{
		{"no such unit", func(*standIn) {}, Fail, "not-loaded"},
		{"never started", func(i *standIn) { i.unit(serving, "InvocationID=", "ActiveState=inactive") }, Fail, "not-started"},
		{"no systemd", func(i *standIn) { i.write("broken", "") }, Unknown, "systemd"},
		{"no journal", func(i *standIn) { i.unit(serving); i.write("broken-journal", "") }, Unknown, "journal"},
		{"no end", func(i *standIn) { i.unit(serving); i.write("hang-journal", "") }, Unknown, "journal"},
		{"too much in one", func(i *standIn) { i.unit(serving); i.lines("a", 0, "well", strings.Repeat("y", journalLine)) }, Unknown, "too-much"},
		{"coloured", func(i *standIn) { i.unit(serving); i.write("journal.a", coloured("x")) }, Fail, "forbidden"},
		{"too much", func(i *standIn) { i.unit(serving); i.lines("a", 0, make([]string, journalLines+1)...) }, Unknown, "too-much"},
	} {
		stand := newStandIn(t)
		c.prepare(stand)
		if s.Timeout = time.Minute; c.name == "no end" {
			s.Timeout = 500 * time.Millisecond
		}
		if r := runOne(t, s, stand.host(nil)); r.Verdict != c.verdict || r.Class != c.class {
			t.Errorf("%s: got %+v", c.name, r)
		}
	}
	s.Timeout = time.Minute
	// What was seen counts, even where not everything was read.
	stand := newStandIn(t)
	stand.unit(serving)
	stand.lines("a", 0, append([]string{"x"}, make([]string, journalLines)...)...)
	runOne(t, s, stand.host(nil)).want(t, Fail, "forbidden", "")
}

// The clock says what belongs to the trial; the cursor, never with
// --after-cursor, only saves reading.
func TestJournalSinceTrial(t *testing.T) {
	stand := newStandIn(t)
	stand.unit(serving)
	stand.lines("a", 10*time.Second, "ready")
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		spec     JournalSpec
		baseline *Baseline
		args     string
	}{
		{"of the trial", JournalSpec{Unit: "app.service", Of: OfTrial}, &Baseline{BootID: boot, JournalCursor: "s=1", Monotonic: 7},
			"--cursor=s=1 --boot _SYSTEMD_UNIT=app.service + _PID=1 UNIT=app.service"},
		{"of the boot after the trial", JournalSpec{Unit: "app.service", Of: OfTrial}, &Baseline{BootID: "x", JournalCursor: "s=1", Monotonic: 7},
			"--boot _SYSTEMD_UNIT=app.service + _PID=1 UNIT=app.service"},
		{"without a trial", JournalSpec{Unit: "app.service", Of: OfTrial}, nil, "_SYSTEMD_INVOCATION_ID=a + _PID=1 INVOCATION_ID=a"},
		{"of the invocation", JournalSpec{Unit: "app.service", Of: OfInvocation}, &Baseline{BootID: boot, JournalCursor: "s=1"},
			"_SYSTEMD_INVOCATION_ID=a + _PID=1 INVOCATION_ID=a"},
		{"of an identifier", JournalSpec{Identifier: "app", Of: OfTrial}, &Baseline{BootID: boot, JournalCursor: "s=1"}, "--cursor=s=1 --boot SYSLOG_IDENTIFIER=app"},
	} {
		stand.write("calls", "")
		s := quick(KindJournal)
		c.spec.MustNot = []Pattern{{Pattern: "ready"}}
		s.Ask = &c.spec
		runOne(t, s, stand.host(c.baseline))
		if !strings.Contains(stand.calls(), "journalctl --quiet --no-pager --all ") || !strings.Contains(stand.calls(), "INVOCATION_ID "+c.args+"\n") {
			t.Errorf("%s: calls:\n%s", c.name, stand.calls())
		}
	}
}

func FuzzReading(f *testing.F) {
	f.Add("ready|x+", "error", "it is ready\nerror: x", 1)
	f.Add("(?i)a*", "^$", "", 0)
	f.Fuzz(func(t *testing.T, must, mustNot, text string, n int) {
		j := &JournalSpec{Unit: "a.service", Of: OfTrial, Must: []Pattern{{must, n}}, MustNot: []Pattern{{mustNot, n}}}
		if j.validate() != nil {
			return
		}
		read := newReading(j)
		for line := range strings.Lines(text) {
			read.take(line)
		}
		for _, whole := range []bool{true, false} {
			r := read.judge(j.expected(), whole).result(Spec{Ask: j})
			if r.Verdict == Pass && !whole || strings.ContainsFunc(r.Evidence, unicode.IsControl) || strings.Contains(r.Evidence, "op://x") {
				t.Errorf("%+v", r)
			}
		}
	})
}

// coloured is the longest line that journald takes of a process, with an escape
// sequence before its end: then journalctl tells it as an array of bytes.
func coloured(end string) string {
	text := strings.Repeat("y", 48<<10-8) + "\x1b[31m" + end
	var numbers strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&numbers, ",%d", text[i])
	}
	return `{"MESSAGE":[` + numbers.String()[1:] + `],"_PID":"77","__CURSOR":"s=1","__MONOTONIC_TIMESTAMP":"1"}` + "\n"
}
