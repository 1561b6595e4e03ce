package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// side makes one run of one side of a comparison, whose pairs count from 0, and returns
// its time.
type side func(ctx context.Context, number int) (time.Duration, error)

// measure takes the reading of a figure.
func (b *bench) measure(ctx context.Context, f figure) (reading, error) {
	say("%s", f.name)
	if f.kind == memory {
		return b.measureMemory(ctx, f)
	}
	if f.kind == goingBack {
		return b.measureRollback(ctx, f)
	}
	if f.kind == probing {
		return b.measureProbes(ctx, f)
	}
	l, err := b.connect(ctx, f.rtt)
	if err != nil {
		return reading{}, err
	}
	var ours, byHand side
	switch f.kind {
	case changed:
		ours, byHand, err = b.changedSides(ctx, f, l)
	case copying:
		ours, byHand, err = b.copySides(ctx, l)
	default:
		ours, byHand, err = b.unchangedSides(ctx, l)
	}
	if err != nil {
		return reading{}, err
	}
	r := reading{figure: f}
	if r.hdeploy, r.byHand, err = b.compare(ctx, ours, byHand); err != nil {
		return r, err
	}
	b.tellPhases()
	return r, nil
}

// compare runs both sides in turn, changing which goes first, after one pair that does
// not count: it uploads the agent and fills the caches.
func (b *bench) compare(ctx context.Context, ours, byHand side) (our, hand []time.Duration, err error) {
	for number := range b.runs + 1 {
		var ourTime, handTime time.Duration
		takeOurs := func() (err error) { ourTime, err = ours(ctx, number); return err }
		takeHand := func() (err error) { handTime, err = byHand(ctx, number); return err }
		turns := []func() error{takeOurs, takeHand}
		if number%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			if err := turn(); err != nil {
				return nil, nil, err
			}
		}
		if number == 0 {
			clear(b.spent)
			continue
		}
		say("  %d: hdeploy %s, by hand %s", number, seconds(ourTime), seconds(handTime))
		our, hand = append(our, ourTime), append(hand, handTime)
	}
	return our, hand, nil
}

// unchangedSides deploy a system that the host has.
func (b *bench) unchangedSides(ctx context.Context, l line) (ours, byHand side, err error) {
	const revision = "unchanged"
	same := system(revision)
	if err := b.build(ctx, map[string]settings{revision: same}); err != nil {
		return nil, nil, err
	}
	// The first run is not measured; it makes the host have the system.
	if err := b.edit(ctx, same); err != nil {
		return nil, nil, err
	}
	if _, err := b.byHand(ctx, l); err != nil {
		return nil, nil, err
	}
	ours = func(ctx context.Context, _ int) (time.Duration, error) {
		if err := b.edit(ctx, same); err != nil {
			return 0, err
		}
		return b.ourRun(ctx, l, "unchanged", revision)
	}
	byHand = func(ctx context.Context, _ int) (time.Duration, error) {
		if err := b.edit(ctx, same); err != nil {
			return 0, err
		}
		return b.handRun(ctx, l, revision)
	}
	return ours, byHand, nil
}

// changedSides deploy another system in every run.
func (b *bench) changedSides(ctx context.Context, f figure, l line) (ours, byHand side, err error) {
	revision := func(side string, number int) string {
		return fmt.Sprintf("%s-%s-%d", strings.ReplaceAll(f.name, "@", "-"), side, number)
	}
	systems := map[string]settings{}
	for number := range b.runs + 1 {
		for _, side := range []string{"hdeploy", "by-hand"} {
			name := revision(side, number)
			systems[name] = system(name)
		}
	}
	if err := b.build(ctx, systems); err != nil {
		return nil, nil, err
	}
	ours = func(ctx context.Context, number int) (time.Duration, error) {
		name := revision("hdeploy", number)
		if err := b.edit(ctx, systems[name]); err != nil {
			return 0, err
		}
		return b.ourRun(ctx, l, "committed", name)
	}
	byHand = func(ctx context.Context, number int) (time.Duration, error) {
		name := revision("by-hand", number)
		if err := b.edit(ctx, systems[name]); err != nil {
			return 0, err
		}
		return b.handRun(ctx, l, name)
	}
	return ours, byHand, nil
}

// ourRun is one hdeploy that must end with outcome and leave revision.
func (b *bench) ourRun(ctx context.Context, l line, outcome, revision string) (time.Duration, error) {
	d, err := b.hdeploy(ctx, l)
	if err != nil {
		return 0, err
	}
	if d.outcome != outcome {
		return 0, fmt.Errorf("hdeploy's outcome is %s, not %s", d.outcome, outcome)
	}
	b.notePhases(d)
	return d.took, b.check(ctx, revision)
}

func (b *bench) handRun(ctx context.Context, l line, revision string) (time.Duration, error) {
	took, err := b.byHand(ctx, l)
	if err != nil {
		return 0, err
	}
	return took, b.check(ctx, revision)
}

// forget makes the host run a small system again and collects everything else, so that
// the next copy has everything to do.
const forget = `
nix-env -p /nix/var/nix/profiles/system --set "$1"
"$1/bin/switch-to-configuration" switch
rm -f /nix/var/nix/gcroots/hdeploy/*
nix-collect-garbage -d
test ! -e "$2"
sync`

// copySides copy 800 MiB. Of hdeploy only the copy's phase counts, though it does all of a
// deployment.
func (b *bench) copySides(ctx context.Context, l line) (ours, byHand side, err error) {
	const small, large = "small", "payload"
	say("  building the payload")
	if err := b.build(ctx, map[string]settings{small: system(small), large: payload()}); err != nil {
		return nil, nil, err
	}
	if _, err := b.onWorkstation(ctx, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@"+l.address, b.closures[small]); err != nil {
		return nil, nil, err
	}
	prepare := func(ctx context.Context) error {
		if err := b.edit(ctx, payload()); err != nil {
			return err
		}
		_, err := b.onHost(ctx, forget, b.closures[small], b.closures[large])
		return err
	}
	ours = func(ctx context.Context, _ int) (time.Duration, error) {
		if err := prepare(ctx); err != nil {
			return 0, err
		}
		d, err := b.hdeploy(ctx, l)
		if err != nil {
			return 0, err
		}
		b.notePhases(d)
		return d.phases[event.Copy], b.check(ctx, large)
	}
	byHand = func(ctx context.Context, _ int) (time.Duration, error) {
		if err := prepare(ctx); err != nil {
			return 0, err
		}
		took, err := b.copyByHand(ctx, l, b.closures[large])
		if err != nil {
			return 0, err
		}
		_, err = b.onHost(ctx, `nix-store --check-validity "$1"`, b.closures[large])
		return took, err
	}
	return ours, byHand, nil
}

// measureMemory takes the peak of all runs so far. The largest copy must be among them.
func (b *bench) measureMemory(ctx context.Context, f figure) (reading, error) {
	if b.closures["payload"] == "" {
		l, err := b.connect(ctx, 0)
		if err != nil {
			return reading{}, err
		}
		ours, _, err := b.copySides(ctx, l)
		if err != nil {
			return reading{}, err
		}
		if _, err := ours(ctx, 0); err != nil {
			return reading{}, err
		}
	}
	return reading{figure: f, mebibytes: float64(b.peak) / 1024}, nil
}

func (b *bench) notePhases(d deployment) {
	for p, took := range d.phases {
		b.spent[string(p)] = append(b.spent[string(p)], took)
	}
	b.spent["all"] = append(b.spent["all"], d.took)
}

// tellPhases prints the medians of the phases of the figure's runs. Evaluation and
// preflight run side by side, so that their sum may be more than all.
func (b *bench) tellPhases() {
	if b.phases {
		var parts []string
		for _, p := range event.Phases {
			if times := b.spent[string(p)]; len(times) > 0 {
				parts = append(parts, fmt.Sprintf("%s %s", p, seconds(median(times))))
			}
		}
		say("  %s; all %s", strings.Join(parts, ", "), seconds(median(b.spent["all"])))
	}
	clear(b.spent)
}
