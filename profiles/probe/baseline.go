package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Baseline is what a host was like before a trial.
type Baseline struct {
	BootID string `json:"boot_id"`
	// Units holds every unit that systemd had loaded, by its id.
	Units map[string]systemd.Unit `json:"units"`
	// Texts holds a digest of the unit file of each of them that has one to read.
	Texts map[string]string `json:"texts,omitempty"`
	// Failed names the units that were failing, ActiveTargets the active
	// targets, Jobs the ids of the queued jobs; all sorted.
	Failed        []string `json:"failed"`
	ActiveTargets []string `json:"active_targets"`
	Jobs          []int    `json:"jobs"`
	// Listeners are the sockets that listened, if ListenersRead; otherwise they could
	// not be read, or were too many.
	Listeners     []Listener `json:"listeners,omitempty"`
	ListenersRead bool       `json:"listeners_read,omitempty"`
	// Files are the states of the files that probes ask about; see [Baseline.Add].
	Files map[string]FileState `json:"files,omitempty"`
	// JournalCursor is the journal's last entry; empty if there was none, or no
	// journal to read.
	JournalCursor string `json:"journal_cursor"`
	// Monotonic is the instant of CLOCK_MONOTONIC, in µs.
	Monotonic int64 `json:"monotonic"`
}

// Take reads the baseline: units, jobs, sockets and the journal's end, side by
// side. A journal that cannot be read is no error, since probes can go by the
// clock instead; nor are sockets, without which nothing is excused.
func Take(ctx context.Context, m systemd.Manager) (Baseline, error) {
	boot, err := bootID()
	if err != nil {
		return Baseline{}, err
	}
	b := Baseline{BootID: boot, Monotonic: monotonic()}
	var jobs []systemd.Job
	var unitsErr, jobsErr error
	var looks sync.WaitGroup
	looks.Go(func() { b.JournalCursor = journal{m}.cursor(ctx) })
	looks.Go(func() {
		var err error
		b.Listeners, err = listeners(ctx, procRoot)
		b.ListenersRead = err == nil
	})
	looks.Go(func() { jobs, jobsErr = m.Jobs(ctx) })
	looks.Go(func() { b.Units, unitsErr = m.All(ctx) })
	looks.Wait()
	if err := errors.Join(unitsErr, jobsErr); err != nil {
		return Baseline{}, fmt.Errorf("take the baseline: %w", err)
	}
	for _, j := range jobs {
		b.Jobs = append(b.Jobs, j.ID)
	}
	if len(b.Units) == 0 {
		return Baseline{}, fmt.Errorf("take the baseline: systemd shows no unit")
	}
	b.Texts = unitTexts(b.Units)
	b.summarize()
	return b, nil
}

func (b *Baseline) summarize() {
	for _, name := range slices.Sorted(maps.Keys(b.Units)) {
		u := b.Units[name]
		if u.Failing() {
			b.Failed = append(b.Failed, name)
		}
		if u.Active == "active" && strings.HasSuffix(name, ".target") {
			b.ActiveTargets = append(b.ActiveTargets, name)
		}
	}
	slices.Sort(b.Jobs)
}

// NewlyFailing returns the units that fail now and did not before, by name;
// hdeploy's own services and timers are left out.
func NewlyFailing(b Baseline, now map[string]systemd.Unit) []systemd.Unit {
	return changed(b, now, func(before, u systemd.Unit) bool { return u.Failing() })
}

// crashLoop is from how many automatic restarts since the baseline on a unit
// is called looping. A service may need one or two, until the network is up.
const crashLoop = 3

// crashLooping returns the units that are not failing at this instant but
// were restarted again and again.
func crashLooping(b Baseline, now map[string]systemd.Unit) []systemd.Unit {
	return changed(b, now, func(_, u systemd.Unit) bool { return b.restartsOf(u) >= crashLoop && !u.Failing() })
}

// restartsOf is how often systemd restarted the unit by itself since the baseline,
// or since it was last started by hand. A restart by hand sets the counter to
// zero, so that one below the old one began anew.
func (b *Baseline) restartsOf(u systemd.Unit) int {
	if b == nil {
		return u.Restarts
	}
	if grown := u.Restarts - b.Units[u.ID].Restarts; grown >= 0 {
		return grown
	}
	return u.Restarts
}

func changed(b Baseline, now map[string]systemd.Unit, bad func(before, u systemd.Unit) bool) []systemd.Unit {
	var found []systemd.Unit
	for _, name := range slices.Sorted(maps.Keys(now)) {
		before, u := b.Units[name], now[name]
		if bad(before, u) && !before.Failing() && !isOwn(name) {
			found = append(found, u)
		}
	}
	return found
}

func isOwn(name string) bool {
	return strings.HasPrefix(name, "hdeploy-") && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".timer"))
}

// failedBefore says whether u failed before the trial already and has not been
// started by it: either nothing ran since, or systemd's own restarts went on. A
// nil baseline blames nobody else.
func (b *Baseline) failedBefore(u systemd.Unit) bool {
	if b == nil {
		return false
	}
	before, known := b.Units[u.ID]
	if !known || !before.Failing() || !u.Failing() || u.Job != 0 {
		return false
	}
	return b.untouched(u) || u.Restarts > before.Restarts
}

// failedToo says whether u failed before the trial, and fails again or was not
// started any more since: an activation starts what failed once more, and forgets
// the failure of what it does not start.
func (b *Baseline) failedToo(u systemd.Unit) bool {
	return b != nil && b.Units[u.ID].Failing() && u.Job == 0 && (u.Failing() || u.Active == "inactive")
}

// untouched says whether the unit runs, or ended, in the invocation of the baseline.
func (b *Baseline) untouched(u systemd.Unit) bool {
	if b == nil || u.Invocation == "" {
		return false
	}
	before, known := b.Units[u.ID]
	return known && before.Invocation == u.Invocation
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %v", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// monotonic is CLOCK_MONOTONIC in µs, the clock of systemd's and the
// journal's monotonic timestamps.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // cannot happen: every Linux has this clock
	}
	return t.Nano() / 1000
}
