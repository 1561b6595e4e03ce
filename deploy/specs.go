package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/deploy/nix"
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
		written, err := spec(p)
		if err != nil {
			return nil, refused(h.Name, "evaluate", "correct [probes."+p.Name+"] in deploy.toml", "probe %s: %v", p.Name, err)
		}
		for _, s := range written {
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
		probe.KindOnePassword: e.Services.OnePassword,
		probe.KindHercules:    e.Services.HerculesCI,
		"units":               e.Units,
	})
}

// from returns the specs of one vantage.
func from(specs []probe.Spec, vantage string) []probe.Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(s probe.Spec) bool { return s.From != vantage })
}

// rounded is a duration as a person reads it.
func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }
