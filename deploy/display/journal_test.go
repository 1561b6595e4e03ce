package display

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// A failure report shows why the units failed, without what could act on a
// terminal.
func TestAnswerShowsTheJournalOfFailedUnits(t *testing.T) {
	a := newAnswer([]string{"web1"})
	a.add(event.Event{Host: "web1", Outcome: &event.Outcome{
		Outcome: "rolled-back", Code: 7, Failure: &event.Failure{Step: "trial", Cause: "units failed", Next: "look"},
		Journal: []event.UnitLog{{Unit: "nginx.service", Lines: []string{"nginx[812]: bind() failed\x1b]0;x\x07", "Failed with result 'exit-code'."}}},
	}})
	got := a.text(80, style{})
	for _, want := range []string{"  journal:      nginx.service, its last lines\n", "    | nginx[812]: bind() failed", "    | Failed with result 'exit-code'.\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.ContainsAny(got, "\x1b\x07") {
		t.Errorf("a unit acts on the terminal: %q", got)
	}
}
