package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is a command probe whose n-th try ends with the n-th code; the last
// one is repeated.
func script(t *testing.T, codes ...int) Spec {
	t.Helper()
	dir := t.TempDir()
	var list strings.Builder
	for i, code := range codes {
		fmt.Fprintf(&list, "%d) exit %d ;;\n", i+1, code)
	}
	text := fmt.Sprintf("#!/bin/sh\nread n < %[1]s/n\nn=$((n+1))\necho $n > %[1]s/n\ncase $n in\n%[2]s*) exit %[3]d ;;\nesac\n", dir, list.String(), codes[len(codes)-1])
	path := filepath.Join(dir, "try")
	writeProgram(t, path, text)
	if err := os.WriteFile(filepath.Join(dir, "n"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Defaults(KindCommand)
	s.Name, s.From = "try", FromDeployer
	ask[CommandSpec](s).Argv = []string{path}
	s.Deadline, s.Interval = 1500*time.Millisecond, 50*time.Millisecond
	return s
}

func tries(t *testing.T, s Spec) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(filepath.Dir(ask[CommandSpec](s).Argv[0]), "n"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(content), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRunnerOwnsTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		codes   []int
		change  func(*Spec)
		verdict string
		class   string
		tries   int
	}{
		{"passes at once", []int{0}, nil, Pass, "", 1},
		{"passes at the third try", []int{1, 1, 0}, nil, Pass, "", 3},
		{"needs a streak", []int{0, 1, 0, 0, 0}, func(s *Spec) { s.Passes = 3 }, Pass, "", 5},
		{"never passes", []int{3}, func(s *Spec) { s.Deadline = 300 * time.Millisecond }, Fail, "exit-code", 0},
		{"a soak that holds", []int{0}, func(s *Spec) { s.Soak = 300 * time.Millisecond }, Pass, "", 0},
		{"a soak that breaks after the deadline", []int{0, 0, 1, 0}, func(s *Spec) {
			s.Deadline, s.Interval, s.Soak = 150*time.Millisecond, 100*time.Millisecond, 5*time.Second
		}, Fail, "exit-code", 3},
		{"a soak that breaks before the deadline begins again", []int{0, 1, 0}, func(s *Spec) { s.Soak = 200 * time.Millisecond }, Pass, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, c.codes...)
			if c.change != nil {
				c.change(&s)
			}
			r := runOne(t, s, nil)
			r.want(t, c.verdict, c.class, "")
			if c.tries != 0 && tries(t, s) != c.tries {
				t.Errorf("%d tries, want %d", tries(t, s), c.tries)
			}
			if most := LongestDeadline([]Spec{s}) + time.Second; r.Seconds > most.Seconds() {
				t.Errorf("took %.1f s, more than %s", r.Seconds, most)
			}
			if s.Soak > 0 && r.Verdict == Pass && r.Seconds < s.Soak.Seconds() {
				t.Errorf("took %.3f s, less than the soak", r.Seconds)
			}
		})
	}
}

func TestSettleComesFirst(t *testing.T) {
	s := script(t, 0)
	s.Settle = 300 * time.Millisecond
	if r := runOne(t, s, nil); r.Verdict != Pass || r.Seconds < 0.3 {
		t.Errorf("got %+v", r)
	}
}

// A try that the deadline cuts short must not hide what the one before saw.
func TestCutShortTryDoesNotReplaceEvidence(t *testing.T) {
	s := Defaults(KindCommand)
	s.From, s.Deadline, s.Interval, s.Timeout = FromDeployer, 400*time.Millisecond, 100*time.Millisecond, 350*time.Millisecond
	mark := filepath.Join(t.TempDir(), "mark")
	ask[CommandSpec](s).Argv = []string{"/bin/sh", "-c", "[ -e " + mark + " ] && exec " + onThisMachine(t, "/bin/sleep") + " 60; : > " + mark + "; exit 7"}
	runOne(t, s, nil).want(t, Fail, "exit-code", "ended with 7")
}

func TestCancelEndsRunSoon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	waiting, hanging := script(t, 0), script(t, 0)
	waiting.Settle = time.Minute
	ask[CommandSpec](hanging).Argv = []string{onThisMachine(t, "/bin/sleep"), "60"}
	hanging.Deadline = time.Minute
	began := time.Now()
	for _, r := range Run(ctx, []Spec{waiting, hanging}, nil, nil) {
		r.want(t, Unknown, "interrupted", "")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestRunKeepsOrderAndTellsAsTheyCome(t *testing.T) {
	slow, fast := script(t, 0), script(t, 0)
	slow.Name, fast.Name = "slow", "fast"
	slow.Settle = 400 * time.Millisecond
	var told []string
	results := Run(t.Context(), []Spec{slow, fast}, nil, func(r Result) { told = append(told, r.Name) })
	if results[0].Name != "slow" || results[1].Name != "fast" {
		t.Errorf("out of order: %+v", results)
	}
	if !slices.Equal(told, []string{"fast", "slow"}) {
		t.Errorf("told %v", told)
	}
}

func TestWrongVantageAndInvalidAreUnknown(t *testing.T) {
	onHost := quick(KindNoNewFailedUnits)
	runOne(t, onHost, nil).want(t, Unknown, "vantage", "deployer")
	onDeployer := script(t, 0)
	runOne(t, onDeployer, newStandIn(t).host(nil)).want(t, Unknown, "vantage", "host")
	invalid := script(t, 0)
	invalid.Passes = 0
	runOne(t, invalid, nil).want(t, Unknown, "invalid", "passes")
}

// What is unknown gets one deadline more, and then counts as a failure.
func TestRetryAsksForOneDeadlineMore(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	s := Defaults(KindTCP)
	s.OnUnknown, s.Deadline, s.Interval = Retry, 10*time.Second, 4*time.Second
	w := newWindow(s, start)
	for _, try := range []struct {
		seconds float64
		f       finding
		over    bool
	}{
		{0, unknown("x", "", ""), false}, {4, unknown("x", "", ""), false}, {8, unknown("x", "", ""), false},
		{12, unknown("x", "", ""), false}, {16, unknown("y", "", ""), true},
	} {
		if _, over := w.note(try.f, false, at(try.seconds)); over != try.over {
			t.Errorf("after %.0f s it is over: %t", try.seconds, over)
		}
	}
	if r := w.last.result(s); r.Verdict != Unknown || r.Class != "y" || r.Policy != Rollback {
		t.Errorf("got %+v", r)
	}
	s.OnFail = Alert
	if r := w.last.result(s); r.Policy != Alert {
		t.Errorf("with on_fail = alert: %+v", r)
	}
	for name, f := range map[string]finding{"a failure": fail("x", "", ""), "another policy": unknown("x", "", "")} {
		s.OnUnknown = Retry
		if f.verdict == Unknown {
			s.OnUnknown = Alert
		}
		w := newWindow(s, start)
		if _, over := w.note(f, false, at(8)); !over {
			t.Errorf("%s is asked for a second deadline", name)
		}
	}
}

func TestRetryIsCountedAndKept(t *testing.T) {
	stand := newStandIn(t)
	stand.write("broken", "")
	s := quick(KindUnit)
	ask[UnitSpec](s).Unit, s.OnUnknown, s.Deadline, s.Interval = "a.service", Retry, 300*time.Millisecond, 100*time.Millisecond
	r := runOne(t, s, stand.host(nil))
	r.want(t, Unknown, "systemd", "")
	if r.Policy != Rollback || r.Seconds < 0.4 || r.Seconds > LongestDeadline([]Spec{s}).Seconds()+1 {
		t.Errorf("got %+v", r)
	}
	if got := LongestDeadline([]Spec{s}); got != 600*time.Millisecond {
		t.Errorf("it may take %s", got)
	}
}

func TestLongestDeadline(t *testing.T) {
	if got := LongestDeadline(nil); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	a, b := Defaults(KindHTTP), Defaults(KindHTTP)
	a.Settle, a.Deadline, a.Soak = time.Second, 20*time.Second, 0
	b.Settle, b.Deadline, b.Soak, b.Timeout = time.Second, 10*time.Second, 5*time.Second, 3*time.Second
	if got := LongestDeadline([]Spec{a, b}); got != 21*time.Second {
		t.Errorf("got %s", got)
	}
	if got := LongestDeadline([]Spec{b}); got != 19*time.Second {
		t.Errorf("with a soak: %s", got)
	}
}

// A systemd that gives no answer once, while the soak goes on, breaks no good system.
func TestSoakOutlivesWhatCouldNotBeTold(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type try struct {
		seconds int
		f       finding
		over    bool
	}
	lost, well := unknown("systemd", "", ""), pass("", "")
	for name, c := range map[string]struct {
		tries   []try
		verdict string
	}{
		"it answers again":                 {[]try{{1, well, false}, {16, lost, false}, {17, well, true}}, Pass},
		"it answers again within the soak": {[]try{{14, well, false}, {17, lost, false}, {18, well, false}, {22, well, true}}, Pass},
		"it answers no more":               {[]try{{1, well, false}, {5, lost, false}, {22, lost, false}, {23, lost, true}}, Unknown},
		"it fails afterwards":              {[]try{{1, well, false}, {16, lost, false}, {17, fail("failed", "", ""), true}}, Fail},
		"it never passed":                  {[]try{{1, lost, false}, {15, lost, true}}, Unknown},
	} {
		s := Defaults(KindNoNewFailedUnits) // a deadline of 15 s, a soak of 8 s
		w := newWindow(s, start)
		for _, try := range c.tries {
			pause, over := w.note(try.f, false, at(try.seconds))
			if over != try.over || !over && (pause <= 0 || pause > s.Interval) {
				t.Errorf("%s: after %d s it is over: %t, pause %s", name, try.seconds, over, pause)
			}
		}
		if w.last.verdict != c.verdict {
			t.Errorf("%s: got %+v", name, w.last)
		}
	}
}

// stuck is a question whose try heeds nothing.
type stuck struct {
	CurrentSystemSpec
	forever chan struct{}
}

func (s *stuck) try(context.Context, attempt) finding {
	<-s.forever
	return pass("", "")
}

func TestTryThatHeedsNoDeadlineIsLeftBehind(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	question := &stuck{forever: make(chan struct{})}
	defer close(question.forever)
	f := (attempt{Spec: Spec{Ask: question}}).ask(ctx)
	if f.verdict != Unknown || f.class != "timeout" {
		t.Errorf("got %+v", f)
	}
}
