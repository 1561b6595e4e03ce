package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// specs are the host's probes with what the evaluated configuration of the very
// system being deployed expects of them.
func (h *hostRun) specs() ([]probe.Spec, error) {
	if !h.run.activates() && !h.run.reboots() {
		return nil, nil // what runs stays, so that there is nothing new to judge
	}
	expected, err := expectations(h.system.Expectations)
	if err != nil {
		return nil, asFailure(h.Name, "evaluate", err)
	}
	specs := make([]probe.Spec, 0, len(h.Probes))
	for _, p := range h.Probes {
		for _, s := range spec(p) {
			if err := s.Expect(expected); err != nil {
				return nil, refused(h.Name, "evaluate", "correct the configuration of "+p.Name, "%v", err)
			}
			if err := s.Validate(); err != nil {
				return nil, refused(h.Name, "evaluate", "correct [probes."+p.Name+"] in deploy.toml", "probe %s: %v", p.Name, err)
			}
			specs = append(specs, s)
		}
	}
	if len(h.system.Expectations) == 0 {
		notEvaluated(specs)
	}
	return specs, nil
}

// expectations turns what the evaluation found into what the presets read.
func expectations(evaluated json.RawMessage) (json.RawMessage, error) {
	if len(evaluated) == 0 {
		return nil, nil
	}
	var e nix.Expectations
	if err := json.Unmarshal(evaluated, &e); err != nil {
		return nil, fmt.Errorf("read what the configuration expects: %v", err)
	}
	return json.Marshal(map[string]any{
		hosts.KindOnePassword: e.Services.OnePassword,
		hosts.KindHerculesCI:  e.Services.HerculesCI,
		"units":               e.Units,
	})
}

// spec turns a probe of deploy.toml into what the runner takes; a probe of
// several units is one spec for each.
func spec(p hosts.Probe) []probe.Spec {
	s := probe.Defaults(p.Kind)
	s.Name, s.From, s.OnFail = p.Name, p.From, p.OnFail
	override(&s.Deadline, p.Deadline)
	override(&s.Interval, p.Interval)
	override(&s.Settle, p.Settle)
	override(&s.Soak, p.Soak)
	override(&s.Passes, p.Passes)
	switch p.Kind {
	case hosts.KindHTTP:
		s.Ask = &probe.HTTPSpec{URL: p.URL, Status: p.Status, Body: regexp.QuoteMeta(p.Body)}
	case hosts.KindTCP:
		s.Ask = &probe.TCPSpec{Address: p.Address}
	case hosts.KindCommand:
		s.Ask = &probe.CommandSpec{Argv: p.Argv}
	case hosts.KindUnit:
		return perUnit(s, p.Units)
	case hosts.KindOnePassword:
		ask := &probe.OnePasswordSpec{Units: p.Units}
		for _, f := range p.Secrets {
			ask.Secrets = append(ask.Secrets, probe.Secret{Name: f.Path, Path: f.Path, Owner: f.Owner, Group: f.Group, Mode: f.Mode})
		}
		s.Ask = ask
	case hosts.KindHerculesCI:
		ask := s.Ask.(*probe.HerculesSpec)
		if len(p.Units) > 0 {
			ask.Unit = p.Units[0]
		}
		override(&ask.Quiet, p.Quiet)
	}
	if p.Strict {
		s.Strict()
	}
	return []probe.Spec{s}
}

// override replaces a default of the probe's kind by what deploy.toml says.
func override[T any](own, wanted *T) {
	if wanted != nil {
		*own = *wanted
	}
}

func perUnit(s probe.Spec, units []string) []probe.Spec {
	specs := make([]probe.Spec, len(units))
	for i, unit := range units {
		one := s
		one.Ask = &probe.UnitSpec{Unit: unit}
		if len(units) > 1 {
			one.Name += " " + unit
		}
		specs[i] = one
	}
	return specs
}

// from returns the specs of one vantage.
func from(specs []probe.Spec, vantage string) []probe.Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(s probe.Spec) bool { return s.From != vantage })
}

// rounded is a duration as a person reads it.
func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }
