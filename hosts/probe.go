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
	s.oneOf("on_fail", &probe.OnFail, "rollback", "alert")
	s.oneOf("on_unknown", &probe.OnUnknown, "rollback", "alert", "retry")
	s.oneOf("after_rollback", &probe.AfterRollback, "advisory", "required")
	probe.Timing = s.timing()
	probe.Parameters = s.parameters(kind.Params)
	s.vantage(&probe, kind)
	s.refuseUnknownKeys()
	if d.kinds.Check != nil {
		s.judge(probe, d.kinds.Check(probe), len(d.faults) > before)
	}
	return probe
}

func (s *section) timing() Timing {
	t := Timing{
		Deadline: s.optionalDuration("deadline", time.Second, time.Hour),
		Interval: s.optionalDuration("interval", 100*time.Millisecond, 10*time.Minute),
		Settle:   s.optionalDuration("settle", 0, 30*time.Minute),
		Soak:     s.optionalDuration("soak", 0, time.Hour),
		Timeout:  s.optionalDuration("timeout", 0, time.Hour),
	}
	if s.table.field("passes") != nil {
		t.Passes = new(int)
		s.integer("passes", t.Passes, 1, 100)
	}
	s.ignoreKeys("passes")
	return t
}

// optionalDuration reads a duration; nil means that the file has none.
func (s *section) optionalDuration(key string, least, most time.Duration) *time.Duration {
	s.ignoreKeys(key)
	if s.table.field(key) == nil {
		return nil
	}
	d := least
	s.duration(key, &d, least, most)
	return &d
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

// vantage reads from. What asks systemd or reads files can only run on the host.
func (s *section) vantage(probe *Probe, kind Kind) {
	if !s.oneOf("from", &probe.From, FromHost, FromDeployer) || len(kind.Vantages) == 0 || isOneOf(probe.From, kind.Vantages) {
		return
	}
	s.d.fail(s.at("from"), "from = "+quotedList(kind.Vantages), "a probe of kind %q only works on the %s", kind.Name, kind.Vantages[0])
}
