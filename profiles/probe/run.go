package probe

import (
	"context"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Host is where probes of the host's vantage run.
type Host struct {
	// Systemd holds the programs to ask with.
	Systemd systemd.Manager
	// Baseline is what was before the trial; nil if there is none, so that
	// nothing is excused.
	Baseline *Baseline
	// NewSystem is the toplevel that should run.
	NewSystem string

	// groups is where the unified hierarchy of control groups is mounted, groupRoot
	// if empty.
	groups string
}

// attempt is what a probe is given for one try.
type attempt struct {
	Spec
	// host is nil on the deployer.
	host *Host
	// settled is the instant of CLOCK_MONOTONIC, in µs, up to which things may
	// still be moving.
	settled int64
	// elsewhere are the units that another probe of this run judges by their cause.
	elsewhere []string
}

// Run runs all probes at once and returns their results in the order of the
// specs. on, if not nil, gets each result as it comes, never two at a time. It
// returns after [LongestDeadline] at the latest, and soon after ctx is done;
// probes that had no verdict then are unknown. A nil host is the deployer's
// vantage. Specs of the other vantage are the caller's to leave out; here they
// are unknown, like those that [Spec.Validate] refuses.
func Run(ctx context.Context, specs []Spec, host *Host, on func(Result)) []Result {
	results := make([]Result, len(specs))
	var telling sync.Mutex
	var probes sync.WaitGroup
	for i, s := range specs {
		probes.Go(func() {
			began := time.Now()
			r := judge(ctx, s, host, Judged(specs)).result(s)
			r.Seconds = time.Since(began).Seconds()
			results[i] = r
			if on != nil {
				telling.Lock()
				defer telling.Unlock()
				on(r)
			}
		})
	}
	probes.Wait()
	return results
}

// judge tries until the streak held, or the time is over.
func judge(ctx context.Context, s Spec, host *Host, elsewhere []string) finding {
	if err := s.Validate(); err != nil {
		return unknown("invalid", "a valid probe", err.Error())
	}
	if vantage := vantageOf(host); s.From != vantage {
		return unknown("vantage", "to be asked from the "+s.From, "asked from the "+vantage)
	}
	w := newWindow(s, time.Now())
	a := attempt{Spec: s, host: host, settled: monotonic() + s.Settle.Microseconds(), elsewhere: elsewhere}
	if !sleep(ctx, s.Settle) {
		return interrupted(finding{})
	}
	for {
		limit := w.limit(time.Now())
		trying, done := context.WithTimeout(ctx, limit)
		f := a.ask(trying)
		cutShort := trying.Err() != nil && limit < s.limit()
		done()
		if ctx.Err() != nil {
			return interrupted(w.last)
		}
		pause, over := w.note(f, cutShort, time.Now())
		if over {
			return w.last
		}
		if !sleep(ctx, pause) {
			return interrupted(w.last)
		}
	}
}

// tryGrace is for a try to notice that its time is over: programs that it started must
// end, too.
const tryGrace = 2 * time.Second

// ask tries once. A try that does not heed the end of its time, as one on a file system
// whose server is away cannot, is left behind: only the end of the program ends it.
func (a attempt) ask(ctx context.Context) finding {
	answer := make(chan finding, 1)
	go func() { answer <- a.Ask.try(ctx, a) }()
	select {
	case f := <-answer:
		return f
	case <-ctx.Done():
	}
	timer := time.NewTimer(tryGrace)
	defer timer.Stop()
	select {
	case f := <-answer:
		return f
	case <-timer.C:
		return unknown("timeout", "an answer in time", "the probe did not end when its time was over")
	}
}

func interrupted(last finding) finding {
	f := unknown("interrupted", last.expected, "the probe was interrupted")
	if last.verdict != "" && last.verdict != Pass {
		f.evidence = last.seen
	}
	return f
}

// window keeps the time of one probe: when a streak must have been reached,
// and how long it has held.
type window struct {
	spec    Spec
	readyBy time.Time
	streak  int
	// heldUntil is when the streak has lasted long enough; zero while it has
	// not been reached.
	heldUntil time.Time
	// retried says that what could not be told got its second deadline.
	retried bool
	last    finding
}

func newWindow(s Spec, began time.Time) *window {
	return &window{spec: s, readyBy: began.Add(s.Settle + s.Deadline)}
}

// limit bounds the try that begins now.
func (w *window) limit(now time.Time) time.Duration {
	if !w.heldUntil.IsZero() {
		return w.spec.limit()
	}
	return min(w.spec.limit(), max(w.readyBy.Sub(now), 0))
}

// note takes what a try found. It returns how long to wait until the next one,
// or that it was the last. A try that the deadline cut short says less than the
// one before it, and does not replace it.
func (w *window) note(f finding, cutShort bool, now time.Time) (time.Duration, bool) {
	if f.verdict == Pass {
		w.last = f
		return w.passed(now)
	}
	if pause, more := w.secondOpinion(f, now); more {
		w.last = f
		return pause, false
	}
	w.streak, w.heldUntil = 0, time.Time{}
	sure := f.certain && w.last.certain // twice, since a file may be caught half written
	if !cutShort || w.last.verdict == "" || w.last.verdict == Pass {
		w.last = f
	}
	if f.class == ClassFailedBefore {
		return 0, true // it alerts, whatever follows: not worth a deadline's wait
	}
	if sure {
		return 0, true
	}
	return w.again(now)
}

// secondOpinion asks on where a streak holds and a try could not tell: a systemd under
// load that gives no answer once has not broken anything. What is still not told when the
// longest soak would be over stays unknown.
func (w *window) secondOpinion(f finding, now time.Time) (time.Duration, bool) {
	left := w.readyBy.Add(w.spec.Soak).Sub(now)
	if f.verdict != Unknown || f.class == ClassFailedBefore || w.heldUntil.IsZero() || left <= 0 {
		return 0, false
	}
	return min(w.spec.Interval, left), true
}

// again says when the next try begins, or that it would begin too late. What could
// not be told may be asked for one deadline more.
func (w *window) again(now time.Time) (time.Duration, bool) {
	next := now.Add(w.spec.Interval)
	if !next.Before(w.readyBy) && w.last.verdict == Unknown && w.spec.OnUnknown == Retry && !w.retried {
		w.retried = true
		w.readyBy = now.Add(w.spec.Deadline)
	}
	return w.spec.Interval, !next.Before(w.readyBy)
}

func (w *window) passed(now time.Time) (time.Duration, bool) {
	w.streak++
	if w.streak < w.spec.Passes {
		pause, over := w.again(now)
		if over {
			w.last = fail("unsteady", w.last.expected, "passed, but not often enough in a row within the deadline")
		}
		return pause, over
	}
	if w.heldUntil.IsZero() {
		w.heldUntil = now.Add(w.spec.Soak)
	}
	left := w.heldUntil.Sub(now)
	return min(w.spec.Interval, left), left <= 0
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
