package display

import (
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

const (
	tailLines = 3  // lines of output shown under what runs
	notesKept = 20 // notes per host, the last ones
	rateSpan  = time.Second
)

// story is everything a terminal shows, as a pure function of the events so
// far: it reads no clock and writes nothing.
type story struct {
	run   *chapter // what concerns all hosts
	hosts []*chapter
}

// chapter is the story of one host.
type chapter struct {
	name     string
	phases   []*phase
	tail     []string // last lines of output of what runs
	notes    []event.Note
	probes   []event.Probe
	deadline time.Time // when the host goes back by itself; zero when it will not
	alone    bool      // by the deadline it has decided by itself
	outcome  *event.Outcome
}

// phase is one phase of one host.
type phase struct {
	name     event.Phase
	status   event.Status
	detail   string
	started  time.Time
	seconds  float64
	progress *event.Progress
	rate     float64 // bytes per second over the last rateSpan or more
	markTime time.Time
	markDone int64
}

func newStory(hosts []string) *story {
	s := &story{run: &chapter{}}
	for _, h := range hosts {
		s.chapter(h)
	}
	return s
}

func (s *story) chapter(host string) *chapter {
	if host == "" {
		return s.run
	}
	i := slices.IndexFunc(s.hosts, func(c *chapter) bool { return c.name == host })
	if i < 0 {
		s.hosts = append(s.hosts, &chapter{name: host})
		i = len(s.hosts) - 1
	}
	return s.hosts[i]
}

// apply tells the story one event further.
func (s *story) apply(e event.Event) {
	c := s.chapter(e.Host)
	switch {
	case e.Step != nil:
		c.step(e)
	case e.Progress != nil:
		c.phase(e.Phase, e.Time).advance(*e.Progress, e.Time)
	case e.Line != nil:
		c.tail = append(c.tail, join(": ", Clean(e.Line.Source), Clean(e.Line.Text)))
		c.tail = c.tail[max(0, len(c.tail)-tailLines):]
	case e.Note != nil:
		// Cleaned here and not in the view, which is drawn ten times a second.
		c.notes = append(c.notes, event.Note{Level: Clean(e.Note.Level), Text: oneLine(e.Note.Text)})
		c.notes = c.notes[max(0, len(c.notes)-notesKept):]
	case e.Plan != nil:
		for _, line := range PlanLines(*e.Plan) {
			c.notes = append(c.notes, event.Note{Level: "info", Text: line})
		}
	case e.Probe != nil:
		c.judge(*e.Probe)
	case e.Finding != nil: // the answer tells them
	case e.Deadline != nil:
		c.deadline, c.alone = e.Time.Add(span(e.Deadline.Confirm)), e.Deadline.Alone
		if c.alone {
			c.deadline = e.Time.Add(span(e.Deadline.DeadMan))
		}
	case e.Outcome != nil:
		c.outcome = e.Outcome
		c.deadline = time.Time{}
	}
}

func (c *chapter) step(e event.Event) {
	p := c.phase(e.Phase, e.Time)
	p.status, p.detail = e.Step.Status, oneLine(e.Step.Detail)
	if p.status == event.Started {
		p.started = e.Time
		c.tail = nil
		if e.Phase == event.Rollback {
			c.deadline = time.Time{}
		}
		return
	}
	p.seconds = e.Step.Seconds
	if p.status != event.Failed {
		c.tail = nil
	}
	if e.Phase == event.Commit && p.status == event.Done {
		c.deadline = time.Time{}
	}
}

// phase returns the phase, begun at the given time if nobody said so before.
func (c *chapter) phase(name event.Phase, at time.Time) *phase {
	for _, p := range c.phases {
		if p.name == name {
			return p
		}
	}
	p := &phase{name: name, status: event.Started, started: at}
	c.phases = append(c.phases, p)
	return p
}

func (p *phase) advance(progress event.Progress, at time.Time) {
	p.progress = &progress
	if progress.Unit != "bytes" {
		return
	}
	if p.markTime.IsZero() {
		p.markTime, p.markDone = at, progress.Done
		return
	}
	if span := at.Sub(p.markTime); span >= rateSpan {
		p.rate = float64(progress.Done-p.markDone) / span.Seconds()
		p.markTime, p.markDone = at, progress.Done
	}
}

// judge keeps the last verdict of every probe, in the order of their first.
func (c *chapter) judge(probe event.Probe) {
	same := func(p event.Probe) bool {
		return p.Name == probe.Name && p.From == probe.From && p.AfterRollback == probe.AfterRollback
	}
	if i := slices.IndexFunc(c.probes, same); i >= 0 {
		c.probes[i] = probe
		return
	}
	c.probes = append(c.probes, probe)
}

// current is the phase that runs, or the last one that did.
func (c *chapter) current() *phase {
	for _, p := range slices.Backward(c.phases) {
		if p.status == event.Started {
			return p
		}
	}
	if len(c.phases) == 0 {
		return nil
	}
	return c.phases[len(c.phases)-1]
}

// elapsed is how long a phase took, or has been running at the given time.
func (p *phase) elapsed(now time.Time) string {
	switch {
	case p.status != event.Started:
		return Seconds(p.seconds)
	case now.Before(p.started):
		return duration(0)
	default:
		return duration(now.Sub(p.started))
	}
}
