package deploy

import (
	"context"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// unitsTold caps the units whose journal is told, linesTold the lines of each,
	// textTold a text of a host's in bytes.
	unitsTold = 3
	linesTold = 20
	textTold  = 4096
	// journalLimit bounds the question: it only explains what is known.
	journalLimit = 20 * time.Second
)

// askJournal learns what the units behind failed probes said.
func (h *hostRun) askJournal(ctx context.Context) {
	var units []string
	for _, p := range h.results {
		for _, unit := range p.Units {
			if p.Verdict != probe.Pass && !slices.Contains(units, unit) {
				units = append(units, unit)
			}
		}
	}
	if len(units) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, journalLimit)
	defer cancel()
	h.said, _ = h.agent.Journal(ctx, units)
}

// unitLogs is what failed units said: as the host kept it before it went back, or
// as it was asked.
func (h *hostRun) unitLogs() []event.UnitLog {
	said := h.said
	if said == nil && h.status != nil {
		said = h.status.Journal
	}
	return toldJournal(said)
}

func toldJournal(said []transaction.UnitLog) []event.UnitLog {
	var told []event.UnitLog
	for _, u := range said[:min(len(said), unitsTold)] {
		lines := u.Lines[max(0, len(u.Lines)-linesTold):]
		one := event.UnitLog{Unit: capped(u.Unit)}
		for _, line := range lines {
			one.Lines = append(one.Lines, capped(line))
		}
		told = append(told, one)
	}
	return told
}

// capped cuts what a host says to a length that a report can hold. Displays make
// it fit to be shown.
func capped(text string) string { return text[:min(len(text), textTold)] }
