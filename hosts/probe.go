package hosts

import "time"

// Probe is a check that judges a host after its activation. What is empty or nil
// was not written down and is left to the probe's kind.
type Probe struct {
	// Name is what deploy.toml calls it, Kind one of those that [Load] was given.
	Name, Kind string
	// From is where it runs: FromHost or FromDeployer.
	From string
	// OnFail is "rollback" or "alert", OnUnknown one of these or "retry", and
	// AfterRollback "advisory" or "required".
	OnFail, OnUnknown, AfterRollback string
	Timing
	// Parameters are those of its kind that were given, by name; [Type] says as
	// what.
	Parameters map[string]any
}

// Timing is when a probe tries and for how long.
type Timing struct {
	// Deadline is how long it may take to pass. Interval is the pause between
	// two tries, Settle the time it leaves the host alone before the first,
	// Soak the time for which it must go on passing, Timeout how long one try may
	// take, zero for all of Deadline.
	Deadline, Interval, Settle, Soak, Timeout *time.Duration
	// Passes is how many tries in a row must pass.
	Passes *int
}

// Where a probe runs.
const (
	FromHost     = "host"
	FromDeployer = "deployer"
)

// newProbe is a probe of which nothing but its kind is written down.
func newProbe(name string, kind Kind) Probe {
	probe := Probe{Name: name, Kind: kind.Name, From: FromHost}
	if len(kind.Vantages) > 0 {
		probe.From = kind.Vantages[0]
	}
	return probe
}

// probe reads [probes.name].
func (d *decoder) probe(name string, table *node) Probe {
	s := d.section("probe "+name, table)
	kind, ok := s.probeKind(name)
	if !ok {
		return Probe{Name: name}
	}
	before := len(d.faults)
	probe := newProbe(name, kind)
	readKeys(s, probeKeys(), &probe)
	probe.Parameters = s.parameters(kind.Params)
	s.refuseVantage(probe, kind)
	s.refuseUnknownKeys()
	if d.kinds.Check != nil {
		s.judge(probe, d.kinds.Check(probe), len(d.faults) > before)
	}
	return probe
}

// probeKeys are those that probes of all kinds have beside kind.
func probeKeys() []key[Probe] {
	return []key[Probe]{
		{"from", "Where it runs.", wordForm(func(p *Probe) *string { return &p.From }, FromHost, FromDeployer)},
		{"on_fail", "Whether a failure takes the new system back.", wordForm(func(p *Probe) *string { return &p.OnFail }, "rollback", "alert")},
		{"on_unknown", "What it leads to that the probe could not tell.", wordForm(func(p *Probe) *string { return &p.OnUnknown }, "rollback", "alert", "retry")},
		{"after_rollback", "What a failure means that is seen after a rollback.", wordForm(func(p *Probe) *string { return &p.AfterRollback }, "advisory", "required")},
		{"settle", "How long the host is left alone before the first try.", optionalDuration(0, 30*time.Minute, func(p *Probe) **time.Duration { return &p.Settle })},
		{"deadline", "How long it may take to pass, from then on.", optionalDuration(time.Second, time.Hour, func(p *Probe) **time.Duration { return &p.Deadline })},
		{"interval", "The pause between two tries.", optionalDuration(100*time.Millisecond, 10*time.Minute, func(p *Probe) **time.Duration { return &p.Interval })},
		{"soak", "How long it must go on passing.", optionalDuration(0, time.Hour, func(p *Probe) **time.Duration { return &p.Soak })},
		{"timeout", "How long one try may take; 0 for all that is left of the deadline.", optionalDuration(0, time.Hour, func(p *Probe) **time.Duration { return &p.Timeout })},
		{"passes", "How many tries in a row must pass.", form[Probe]{
			read: func(s *section, name string, into *Probe) {
				into.Passes = new(int)
				s.integer(name, into.Passes, 1, 100)
			},
			schema: func(Kinds) schema { return schema{"type": "integer", "minimum": 1, "maximum": 100} },
		}},
	}
}

// optionalDuration is left to the probe's kind where it is not written.
func optionalDuration(least, most time.Duration, of func(*Probe) **time.Duration) form[Probe] {
	return form[Probe]{
		read: func(s *section, name string, into *Probe) {
			d := least
			s.duration(name, &d, least, most)
			*of(into) = &d
		},
		schema: func(Kinds) schema { return durationSchema(least, most) },
	}
}

// probeKind finds the kind of a probe; without one nothing else in its table
// can be judged.
func (s *section) probeKind(name string) (Kind, bool) {
	known := s.d.kinds.names()
	kind := ""
	if isOneOf(name, s.d.kinds.presets()) {
		kind = name
	}
	preset := kind
	entry := s.table.field("kind")
	if entry == nil && kind == "" {
		s.d.fail(s.table.at, "kind = one of "+quotedList(known), "%s has no kind", s.where)
		return Kind{}, false
	}
	if !s.oneOf("kind", &kind, known...) {
		return Kind{}, false
	}
	if preset != "" && kind != preset {
		s.d.fail(entry.value.at, "another name for this probe", "%q is a preset and cannot have the kind %q", name, kind)
		return Kind{}, false
	}
	return s.d.kinds.named(kind)
}

// refuseVantage reports a place where the kind does not work. What asks systemd or
// reads files can only run on the host.
func (s *section) refuseVantage(probe Probe, kind Kind) {
	if f := s.table.field("from"); f == nil || f.value.text != probe.From || len(kind.Vantages) == 0 || isOneOf(probe.From, kind.Vantages) {
		return
	}
	s.d.fail(s.at("from"), "from = "+quotedList(kind.Vantages), "a probe of kind %q only works on the %s", kind.Name, kind.Vantages[0])
}
