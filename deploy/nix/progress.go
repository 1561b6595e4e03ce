package nix

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// Limits for what a hostile or merely chatty log can make the tracker keep.
const (
	mostActivities = 1000
	mostEnded      = 64
	mostErrorBytes = 256 << 10
	mostLineBytes  = 4 << 10
	mostTailBytes  = 1 << 10
	logTail        = 25
	countInterval  = 100 * time.Millisecond
)

// view says which numbers of the log are the progress of a call.
type view int

const (
	quiet view = iota
	evaluating
	building
	copying
)

// activity is something that nix does and has not finished.
type activity struct {
	kind int64
	name string
	// done and total are the last progress report.
	done, total int64
	// tail holds the last lines of a builder.
	tail []string
}

// tracker turns the log of one nix process into Progress, and keeps what
// explains a failure. It is used by one goroutine at a time.
type tracker struct {
	view view
	on   func(Progress)
	now  func() time.Time
	// sizes are what is known of the sizes of the paths that are copied.
	sizes Sizes
	// current is the path that is being copied.
	current string

	activities map[int64]*activity
	// ended are the builders that ended last: Nix 2.34 says why one failed only
	// after its activity stopped, 2.26 before.
	ended     []*activity
	count     event.Progress
	counted   event.Progress
	countedAt time.Time

	// remark gets every remark first; it returns true for those meant for it.
	remark func(text string) bool

	failures  []failure
	failBytes int
	// errorLines are the lines of an error that came as plain text.
	errorLines []string
	// loose holds the last lines on stderr that are not part of the log.
	loose []string
	// failedLog is the tail of the builder that failed first.
	failedLog []string
}

// failure is one error message: all of it and, where Nix gave it, what it says
// without the places around it.
type failure struct{ text, raw string }

// cause is why, in one line.
func (f failure) cause() string {
	if f.raw != "" {
		return core(f.raw)
	}
	return core(innermost(f.text))
}

func newTracker(v view, on func(Progress)) *tracker {
	if on == nil {
		on = func(Progress) {}
	}
	return &tracker{view: v, on: on, now: time.Now, activities: map[int64]*activity{}}
}

// line takes one line of stderr.
func (t *tracker) line(line []byte) {
	if t.view == copying {
		t.copyLine(line)
		t.report(false)
		return
	}
	e, ok := parseEntry(line)
	if !ok {
		t.looseLine(string(line))
		return
	}
	switch e.Action {
	case "start":
		t.start(&e)
	case "stop":
		t.stop(e.ID)
	case "result":
		t.result(&e)
	case "msg":
		t.message(&e)
	}
	t.report(false)
}

func (t *tracker) start(e *entry) {
	if len(t.activities) >= mostActivities || t.activities[e.ID] != nil {
		return
	}
	a := &activity{kind: e.Type}
	switch e.Type {
	case activityCopyPath, activityBuild, activitySubstitute:
		a.name = storeName(e.text(0))
	case activityFetchTree:
		a.name = oneLine(e.Text, 200)
	case activityCopyPaths, activityBuilds:
	default:
		return
	}
	t.activities[e.ID] = a
	if a.name != "" && t.view == building {
		t.count.Activity = a.name
	} else if a.name != "" {
		t.on(Progress{Line: &event.Line{Source: "nix", Text: activityText(e.Type, a.name)}})
	}
}

// activityText says what an evaluation waits for.
func activityText(kind int64, name string) string {
	switch kind {
	case activityBuild:
		return "building " + name
	case activityCopyPath, activitySubstitute:
		return "copying " + name
	}
	return name
}

func (t *tracker) stop(id int64) {
	a := t.activities[id]
	if a == nil {
		return
	}
	delete(t.activities, id)
	if a.kind == activityBuild {
		t.ended = appendCapped(t.ended, a, mostEnded)
	}
	if a.name != "" && strings.HasPrefix(t.count.Activity, a.name) {
		t.count.Activity = t.newest()
	}
}

// newest names the running activity that began last: Nix's ids only grow.
func (t *tracker) newest() string {
	last, name := int64(math.MinInt64), ""
	for id, a := range t.activities {
		if a.name != "" && id >= last {
			last, name = id, a.name
		}
	}
	return name
}

func (t *tracker) result(e *entry) {
	a := t.activities[e.ID]
	if a == nil {
		return
	}
	switch e.Type {
	case resultProgress:
		t.progress(a, e.number(0), e.number(1))
	case resultLogLine, resultPostLogLine:
		text := strings.TrimRight(clean(e.text(0), mostLineBytes), " \n")
		a.tail = appendCapped(a.tail, clean(text, mostTailBytes), logTail)
		t.on(Progress{Line: &event.Line{Source: a.name, Text: text}})
	case resultPhase:
		if t.view == building && a.name != "" {
			t.count.Activity = a.name + " (" + oneLine(e.text(0), 40) + ")"
		}
	}
}

// progress takes a report of an activity. Nix reports every number anew each
// time, so only the difference counts.
func (t *tracker) progress(a *activity, done, total int64) {
	switch {
	case a.kind == activityBuilds && t.view == building:
		t.count.Done += done - a.done
		t.count.Total += total - a.total
	case a.kind == activityCopyPaths && t.view == building:
		t.count.Paths += done - a.done
		t.count.PathsTotal += total - a.total
	}
	a.done, a.total = done, total
}

func (t *tracker) message(e *entry) {
	text := strings.TrimSpace(clean(e.Message, mostErrorBytes))
	if text == "" || e.Level > levelNotice {
		return
	}
	raw := ""
	if e.Raw != nil {
		raw = *e.Raw
	}
	// A daemon passes on warnings and traces with the level of an error, so
	// that the first word says more than the level.
	switch {
	case e.Level == levelError && (raw != "" || strings.HasPrefix(text, "error:")):
		t.fail(failure{text: text, raw: clean(raw, mostLineBytes)})
	case e.Level == levelWarning || strings.HasPrefix(text, "warning:"):
		t.note("warning", strings.TrimSpace(strings.TrimPrefix(text, "warning:")))
	default:
		t.note("info", text)
	}
}

func (t *tracker) note(level, text string) {
	if t.remark != nil && t.remark(text) {
		return
	}
	t.on(Progress{Note: &event.Note{Level: level, Text: clean(text, mostLineBytes)}})
}

func (t *tracker) fail(f failure) {
	if t.failedLog == nil {
		t.failedLog = t.tailNamedIn(f.text)
	}
	if size := len(f.text) + len(f.raw); t.failBytes+size <= mostErrorBytes {
		t.failBytes += size
		t.failures = append(t.failures, f)
	}
}

// tailNamedIn returns the last lines of the builder that an error message names.
func (t *tracker) tailNamedIn(text string) []string {
	builders := slices.AppendSeq(slices.Clone(t.ended), maps.Values(t.activities))
	for _, a := range builders {
		if a.kind == activityBuild && len(a.tail) > 0 && strings.Contains(text, "-"+a.name+".drv") {
			return a.tail
		}
	}
	return nil
}

// looseLine keeps a line of a program that nix started, such as git or ssh.
func (t *tracker) looseLine(line string) {
	text := strings.TrimRight(clean(line, mostLineBytes), " \n")
	if text == "" {
		return
	}
	t.loose = appendCapped(t.loose, text, 2*logTail)
	t.on(Progress{Line: &event.Line{Source: "nix", Text: text}})
}

// finish tells that nix ended well: whatever ran is done.
func (t *tracker) finish() {
	t.endPath()
	t.count.Activity = ""
	switch t.view {
	case evaluating:
		t.count.Done = t.count.Total
	case building:
		// While a builder ends, Nix 2.34 counts it twice.
		t.count.Total = t.count.Done
	case quiet, copying:
	}
}

// report emits the count when it changed and the last one is old enough.
func (t *tracker) report(last bool) {
	if t.count == t.counted {
		return
	}
	if now := t.now(); last || now.Sub(t.countedAt) >= countInterval {
		t.counted, t.countedAt = t.count, now
		count := t.count
		t.on(Progress{Count: &count})
	}
}

// innermost returns what follows the last "error:" at the beginning of a line:
// Nix nests errors, the innermost last.
func innermost(text string) string {
	at := 0
	for i, line := 0, ""; i < len(text); i += len(line) + 1 {
		line, _, _ = strings.Cut(text[i:], "\n")
		if indent := len(line) - len(strings.TrimLeft(line, " ")); strings.HasPrefix(line[indent:], "error:") {
			at = i + indent + len("error:")
		}
	}
	return text[at:]
}

// core is an error message in one line, without the builder's log, the source
// code and the list of outputs that Nix appends to some.
func core(message string) string {
	var kept []string
	for line := range strings.SplitSeq(message, "\n") {
		line = strings.TrimSpace(line)
		lower := strings.ToLower(line)
		if strings.HasPrefix(line, ">") || strings.HasPrefix(line, "at /") || lower == "output paths:" ||
			strings.HasPrefix(lower, "last ") && strings.HasSuffix(lower, "log lines:") ||
			strings.HasPrefix(lower, "for full logs, run") {
			break
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	return clean(strings.TrimRight(strings.Join(kept, " "), ";. "), 1000)
}

// appendCapped appends to a list that keeps its last elements.
func appendCapped[T any](list []T, one T, most int) []T {
	if len(list) >= most {
		copy(list, list[1:])
		list[len(list)-1] = one
		return list
	}
	return append(list, one)
}
