package display

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// A unit that repeats itself must not push the cause off the screen.
func TestJournalOfAUnitIsShort(t *testing.T) {
	o := rolledBack()
	o.Journal = []event.UnitLog{{Unit: "a.service"}}
	for i := range 20 {
		o.Journal[0].Lines = append(o.Journal[0].Lines, fmt.Sprintf("line %d.", i))
	}
	text := answered(t, Plain, 80, o)
	contains(t, text, []string{"... (12 lines before)", "line 12.", "line 19."})
	if strings.Contains(text, "line 11.") {
		t.Errorf("too many lines:\n%s", text)
	}
}
