package transaction

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// UnitLog is the end of the journal of a unit that failed.
type UnitLog struct {
	Unit  string   `json:"unit"`
	Lines []string `json:"lines,omitempty"`
}

const (
	// JournalUnits is of how many failed units the journal is kept.
	JournalUnits = 3
	// journalLimit bounds the reading: it must not delay the way back for long.
	journalLimit = 5 * time.Second
)

// journalOf reads what units said, before the rollback stops them and their
// lines are no longer the last ones.
func (e Engine) journalOf(ctx context.Context, units []string) []UnitLog {
	if e.Journal == nil || len(units) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, journalLimit)
	defer cancel()
	return e.Journal(ctx, units[:min(len(units), JournalUnits)])
}

// unitsBehind names the units that results blame.
func unitsBehind(results []probe.Result) []string {
	var units []string
	for _, p := range results {
		for _, unit := range p.Units {
			if p.Verdict != probe.Pass && !slices.Contains(units, unit) {
				units = append(units, unit)
			}
		}
	}
	return units
}

// bareNames are unit names as [Host.NewlyFailing] tells them, without the result
// in brackets.
func bareNames(described []string) []string {
	var units []string
	for _, unit := range described {
		units = append(units, bareName(unit))
	}
	return units
}

func bareName(described string) string {
	name, _, _ := strings.Cut(described, " ")
	return name
}

// keepJournal keeps what failed units said after a rollback that did not work,
// where the trial has not said it already.
func (e Engine) keepJournal(ctx context.Context, r Record) {
	if e.Journal == nil || len(r.Journal) > 0 {
		return
	}
	asking, cancel := context.WithTimeout(ctx, journalLimit)
	units, err := e.Host.NewlyFailing(asking, r)
	cancel()
	if err != nil {
		return
	}
	if said := e.journalOf(ctx, bareNames(units)); len(said) > 0 {
		_, _ = e.update(ctx, r.ID, func(r *Record) error { r.Journal = said; return nil }) // it only explains
	}
}
