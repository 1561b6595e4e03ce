package display

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// What probes found after a rollback, and their notes, are in the answer and in the
// story.
func TestProbesAfterARollbackAreTold(t *testing.T) {
	p := event.Probe{Name: "db", From: "host", Verdict: "fail", Class: "closed", Policy: "required", Expected: "it answers", Seen: "it does not",
		Notes: []string{"a \x1b[2Jnote"}, AfterRollback: true}
	o := rolledBack()
	o.Outcome, o.Code, o.Running, o.Previous = "rollback-failed", 8, "/old", "/old"
	o.AfterRollback = []event.Probe{p}
	text := strings.Join(strings.Fields(answered(t, Plain, 100, o)), " ")
	contains(t, text, []string{
		"the host is back on what it ran before, but a probe that is required then did not pass",
		"db: failed after the rollback (closed), asked from host; it is required after a rollback", "note: a", "note",
	})
	if strings.Contains(text, "\x1b") {
		t.Errorf("a control character is shown: %q", text)
	}
	if got, want := probeText(p), "after the rollback: db from host: fail (it is required after a rollback); expected it answers; seen it does not; note: a"; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var c chapter
	before := p
	before.AfterRollback, before.Verdict = false, "pass"
	c.judge(before)
	c.judge(p)
	if len(c.probes) != 2 {
		t.Errorf("the verdict about the previous system replaces the other: %+v", c.probes)
	}
	p.Policy = "advisory"
	o.Outcome, o.Code, o.AfterRollback = "rolled-back", 7, []event.Probe{p}
	contains(t, strings.Join(strings.Fields(answered(t, Plain, 100, o)), " "), []string{"after a rollback it only advises"})
}
