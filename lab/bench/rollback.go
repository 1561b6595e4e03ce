package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// measureRollback takes the time from the start of `hdeploy rollback --yes` to the old
// system active on the host, without switch-to-configuration's own. Before each run
// another system is deployed, to go back from.
func (b *bench) measureRollback(ctx context.Context, f figure) (reading, error) {
	r := reading{figure: f}
	l, err := b.connect(ctx, f.rtt)
	if err != nil {
		return r, err
	}
	const base = "rollback-base"
	systems := map[string]settings{base: system(base)}
	name := func(number int) string { return fmt.Sprintf("rollback-%d", number) }
	for number := range b.runs + 1 {
		systems[name(number)] = system(name(number))
	}
	if err := b.build(ctx, systems); err != nil {
		return r, err
	}
	if err := b.deployed(ctx, l, base, systems[base]); err != nil {
		return r, err
	}
	for number := range b.runs + 1 {
		if err := b.deployed(ctx, l, name(number), systems[name(number)]); err != nil {
			return r, err
		}
		took, err := b.rollback(ctx, l, base)
		if err != nil {
			return r, err
		}
		if number == 0 {
			continue // it fills the caches
		}
		say("  %d: %s", number, seconds(took))
		r.hdeploy = append(r.hdeploy, took)
	}
	return r, nil
}

func (b *bench) deployed(ctx context.Context, l line, revision string, s settings) error {
	if err := b.edit(ctx, s); err != nil {
		return err
	}
	_, err := b.ourRun(ctx, l, "committed", revision)
	clear(b.spent)
	return err
}

// rollback is one run that must leave revision.
func (b *bench) rollback(ctx context.Context, l line, revision string) (time.Duration, error) {
	began := time.Now()
	if _, _, err := b.timed(ctx, b.watchMemory, "/hdeploy/hdeploy", "rollback", hostName, "--yes", "--config", l.config, "--output", "quiet"); err != nil {
		return 0, err
	}
	journal, err := b.onHost(ctx, `journalctl -t nixos -o short-unix --no-pager --since "@$1"`, strconv.FormatInt(began.Unix(), 10))
	if err != nil {
		return 0, fmt.Errorf("read the host's journal: %w", err)
	}
	switched, active, err := switchTimes(journal, b.closures[revision], began)
	if err != nil {
		return 0, err
	}
	return active.Sub(began) - active.Sub(switched), b.check(ctx, revision)
}

// switchTimes reads when switch-to-configuration began to change the host to a system
// since began, and when it was done. The host shares the clock of this machine.
func switchTimes(journal, system string, began time.Time) (switched, active time.Time, err error) {
	for text := range strings.Lines(journal) {
		stamp, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		at, parseErr := strconv.ParseFloat(stamp, 64)
		when := time.UnixMicro(int64(at * 1e6))
		if parseErr != nil || when.Before(began) {
			continue
		}
		switch {
		case switched.IsZero() && strings.HasSuffix(rest, ": switching to system configuration "+system):
			switched = when
		case !switched.IsZero() && strings.HasSuffix(rest, ": finished switching to system configuration "+system):
			return switched, when, nil
		}
	}
	return switched, active, fmt.Errorf("the host's journal does not tell of a switch to %s:\n%s", system, journal)
}
