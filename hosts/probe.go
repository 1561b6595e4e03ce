package hosts

import "time"

// Probe is a check that judges a host after its activation. Fields that its kind
// does not use are zero.
type Probe struct {
	// Name is what deploy.toml calls it, Kind one of the Kind constants.
	Name, Kind string
	// From is where it runs: FromHost or FromDeployer.
	From string
	// OnFail is what its failure leads to: OnFailRollback or OnFailAlert.
	OnFail string
	Timing

	// URL, Status and Body belong to http: the answer must have this status
	// and, where Body is not empty, contain it.
	URL    string
	Status int
	Body   string
	// Address belongs to tcp: host:port.
	Address string
	// Units belongs to unit and to the presets. A unit probe needs all of
	// them; a preset takes the first that is loaded.
	Units []string
	// Argv belongs to command.
	Argv []string
	// Secrets belongs to onepassword-secrets: files expected beyond those that
	// the system's own configuration declares.
	Secrets []Secret
	// Strict belongs to hercules-ci-agent: its windows outlast every restart that
	// systemd may still have in store.
	Strict bool
}

// Timing is when a probe tries and for how long. What is nil was not written down
// and is left to the probe's kind.
type Timing struct {
	// Deadline is how long it may take to pass. Interval is the pause between
	// two tries, Settle the time it leaves the host alone before the first,
	// Soak the time for which it must go on passing.
	Deadline, Interval, Settle, Soak *time.Duration
	// Passes is how many tries in a row must pass.
	Passes *int
	// Quiet belongs to hercules-ci-agent: how long it must be online without an
	// error of its connection.
	Quiet *time.Duration
}

// Secret is a file that must exist with exactly these properties.
type Secret struct {
	Path         string
	Owner, Group string
	// Mode is octal, for instance "0600".
	Mode string
}

// The kinds of probes.
const (
	KindHTTP             = "http"
	KindTCP              = "tcp"
	KindUnit             = "unit"
	KindCommand          = "command"
	KindOnePassword      = "onepassword-secrets"
	KindHerculesCI       = "hercules-ci-agent"
	KindNoNewFailedUnits = "no-new-failed-units"
	FromHost             = "host"
	FromDeployer         = "deployer"
	OnFailRollback       = "rollback"
	OnFailAlert          = "alert"
)

func probeKinds() []string {
	return append([]string{KindHTTP, KindTCP, KindUnit, KindCommand}, builtInProbes()...)
}

// builtInProbes are the kinds that need no settings: a host may name them
// without a table.
func builtInProbes() []string {
	return []string{KindOnePassword, KindHerculesCI, KindNoNewFailedUnits}
}

// newProbe returns the defaults of a kind.
func newProbe(name, kind string) Probe {
	probe := Probe{Name: name, Kind: kind, From: FromHost, OnFail: OnFailRollback}
	switch kind {
	case KindHTTP:
		probe.Status = 200
	case KindOnePassword:
		// The unit is called opnix-secrets; people write the name of the option.
		probe.Units = []string{"opnix-secrets.service", "onepassword-secrets.service"}
	case KindHerculesCI:
		probe.Units = []string{"hercules-ci-agent.service"}
	}
	return probe
}

// probeFrom reads [probes.name].
func (d *decoder) probe(name string, table *node) Probe {
	s := d.section("probe "+name, table)
	kind, ok := s.probeKind(name)
	if !ok {
		return Probe{Name: name}
	}
	probe := newProbe(name, kind)
	s.oneOf("on_fail", &probe.OnFail, OnFailRollback, OnFailAlert)
	probe.Timing = s.timing()
	s.probeParameters(&probe)
	s.probeVantage(&probe)
	s.refuseUnknownKeys()
	return probe
}

func (s *section) timing() Timing {
	t := Timing{
		Deadline: s.optionalDuration("deadline", time.Second, time.Hour),
		Interval: s.optionalDuration("interval", 100*time.Millisecond, 10*time.Minute),
		Settle:   s.optionalDuration("settle", 0, 30*time.Minute),
		Soak:     s.optionalDuration("soak", 0, time.Hour),
	}
	if s.table.field("passes") != nil {
		t.Passes = new(int)
		s.integer("passes", t.Passes, 1, 100)
	}
	if t.Passes == nil || t.Interval == nil || t.Deadline == nil {
		return t
	}
	if wait := time.Duration(*t.Passes-1) * *t.Interval; wait > *t.Deadline {
		at := s.at("passes", "interval", "deadline")
		s.d.fail(at, `a longer deadline, or fewer passes`, "%d passes every %s take at least %s, the deadline of %s is %s", *t.Passes, *t.Interval, wait, s.where, *t.Deadline)
	}
	return t
}

// optionalDuration reads a duration; nil means that the file has none.
func (s *section) optionalDuration(key string, least, most time.Duration) *time.Duration {
	if s.table.field(key) == nil {
		return nil
	}
	d := least
	s.duration(key, &d, least, most)
	return &d
}

// probeKind finds the kind of a probe; without one nothing else in its table
// can be judged.
func (s *section) probeKind(name string) (string, bool) {
	kind := ""
	if isOneOf(name, builtInProbes()) {
		kind = name
	}
	preset := kind
	entry := s.table.field("kind")
	if entry == nil && kind == "" {
		s.d.fail(s.table.at, `kind = "http" (or `+quotedList(probeKinds()[1:])+`)`, "%s has no kind", s.where)
		return "", false
	}
	if !s.oneOf("kind", &kind, probeKinds()...) {
		return "", false
	}
	if preset != "" && kind != preset {
		s.d.fail(entry.value.at, "another name for this probe", "%q is a preset and cannot have the kind %q", name, kind)
		return "", false
	}
	return kind, true
}

func (s *section) probeParameters(probe *Probe) {
	switch probe.Kind {
	case KindHTTP:
		s.required("url", &probe.URL, checkURL, `url = "https://example.org/health"`)
		s.integer("status", &probe.Status, 100, 599)
		s.text("body", &probe.Body, checkBody)
	case KindTCP:
		s.required("address", &probe.Address, checkHostPort, `address = "127.0.0.1:443"`)
	case KindUnit:
		s.units(&probe.Units)
		s.need("unit", probe.Units, `unit = "nginx.service"`)
	case KindCommand:
		s.strings("argv", &probe.Argv, checkArgument)
		s.need("argv", probe.Argv, `argv = ["systemctl", "is-active", "nginx"]`)
	case KindOnePassword:
		s.units(&probe.Units)
		s.secrets(&probe.Secrets)
	case KindHerculesCI:
		s.units(&probe.Units)
		s.boolean("strict", &probe.Strict)
		probe.Quiet = s.optionalDuration("quiet", 0, time.Hour)
	}
}

// probeVantage reads from. What asks systemd or reads files can only run on
// the host.
func (s *section) probeVantage(probe *Probe) {
	if !s.oneOf("from", &probe.From, FromHost, FromDeployer) || probe.From == FromHost {
		return
	}
	switch probe.Kind {
	case KindHTTP, KindTCP, KindCommand:
	default:
		s.d.fail(s.at("from"), `from = "host"`, "a probe of kind %q only works on the host", probe.Kind)
	}
}

func (s *section) secrets(into *[]Secret) {
	list := s.lookup("secrets", kindArray)
	if list == nil {
		return
	}
	*into = nil
	for _, item := range list.items {
		if item.kind != kindTable {
			s.wrongType(item, "each of secrets", kindTable, `{ path = "/run/secrets/token", owner = "root", group = "root", mode = "0600" }`)
			continue
		}
		secret := Secret{Owner: "root", Group: "root", Mode: "0600"}
		t := s.d.section("a secret of "+s.where, item)
		t.required("path", &secret.Path, checkAbsolutePath, `path = "/var/lib/opnix/secrets/token"`)
		t.text("owner", &secret.Owner, checkAccount)
		t.text("group", &secret.Group, checkAccount)
		t.text("mode", &secret.Mode, checkMode)
		t.refuseUnknownKeys()
		*into = append(*into, secret)
	}
}
