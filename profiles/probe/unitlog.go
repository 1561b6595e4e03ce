package probe

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Caps of what is kept of one unit's journal.
const (
	unitLines = 15
	unitLine  = 300
)

// about adds the units that a finding is about.
func (f finding) about(units []systemd.Unit) finding {
	for _, u := range units {
		f.units = append(f.units, u.ID)
	}
	return f
}

// UnitLines returns the last lines of this boot that a unit, or PID 1 about it,
// wrote to the journal, oldest first, each short and safe to be shown. It
// returns nothing where the journal cannot be read: what it is asked for is in
// trouble already.
func UnitLines(ctx context.Context, m systemd.Manager, unit string) []string {
	// What a process printed just before it died may not have been stored yet.
	syncing, done := context.WithTimeout(ctx, time.Second)
	_, _ = m.Output(syncing, "journalctl", "--sync")
	done()
	out, err := m.Output(ctx, "journalctl", "--quiet", "--no-pager", "--boot", "--output=short", "--no-hostname",
		"--lines="+strconv.Itoa(unitLines), "--unit="+unit)
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = clean(redact(line))
		if runes := []rune(line); len(runes) > unitLine {
			line = string(runes[:unitLine]) + "…"
		}
		lines = append(lines, line)
	}
	return lines[max(0, len(lines)-unitLines):]
}
