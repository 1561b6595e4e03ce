package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// ProbeKinds is the catalogue of probes as deploy.toml writes them.
func ProbeKinds() hosts.Kinds {
	kinds := hosts.Kinds{Check: checkProbe}
	for _, about := range probe.Catalogue() {
		params := toml(about.Kind, about.Params)
		if about.Kind == probe.KindHercules && !slices.ContainsFunc(params, isStrict) {
			params = append(params, hosts.Param{Name: strictParam, Type: hosts.Flag})
		}
		kinds.All = append(kinds.All, hosts.Kind{Name: about.Kind, Preset: about.Preset, Vantages: about.Vantages, Params: params})
	}
	return kinds
}

// strictParam stands for several windows at once: see [probe.Spec.Strict].
const strictParam = "strict"

func isStrict(p hosts.Param) bool { return p.Name == strictParam }

// toml says how the parameters of a kind are written. Units may be written without
// their suffix, and a probe of kind unit may be given several, for one probe each.
func toml(kind probe.Kind, params []probe.Param) []hosts.Param {
	var all []hosts.Param
	for _, p := range params {
		written := hosts.Param{Name: p.Name, Type: hosts.Type(p.Type), Required: p.Required, Words: p.Words, Example: p.Example, Of: toml("", p.Of)}
		switch {
		case p.Name == "unit" && p.Type == probe.Text && kind == probe.KindUnit, p.Name == "units" && p.Type == probe.Texts:
			written.Type = hosts.Units
		case p.Name == "unit" && p.Type == probe.Text:
			written.Type = hosts.Unit
		}
		all = append(all, written)
	}
	return all
}

// checkProbe says what is wrong with a probe of deploy.toml.
func checkProbe(p hosts.Probe) []string {
	specs, err := spec(p)
	for _, s := range specs {
		wrong := s.Validate()
		if wrong == nil {
			wrong = s.Attainable()
		}
		err = errors.Join(err, wrong)
	}
	if err == nil {
		return nil
	}
	var faults []string
	for _, line := range strings.Split(err.Error(), "\n") {
		for _, s := range specs {
			line = strings.TrimPrefix(line, "probe "+s.Name+": ")
		}
		if !slices.Contains(faults, line) {
			faults = append(faults, line)
		}
	}
	return faults
}

// spec turns a probe of deploy.toml into what the runner takes: the defaults of its
// kind, and over them what is written. One of several units is one spec for each.
func spec(p hosts.Probe) ([]probe.Spec, error) {
	s := probe.Defaults(p.Kind)
	s.Name = p.Name
	for own, written := range map[*string]string{&s.From: p.From, &s.OnFail: p.OnFail, &s.OnUnknown: p.OnUnknown, &s.AfterRollback: p.AfterRollback} {
		if written != "" {
			*own = written
		}
	}
	override(&s.Deadline, p.Deadline)
	override(&s.Interval, p.Interval)
	override(&s.Settle, p.Settle)
	override(&s.Soak, p.Soak)
	override(&s.Timeout, p.Timeout)
	override(&s.Passes, p.Passes)
	units, several := p.Parameters["unit"].([]string)
	if !several {
		err := parameters(&s, p.Parameters, nil)
		return []probe.Spec{s}, err
	}
	specs := make([]probe.Spec, len(units))
	for i, unit := range units {
		one := probe.Defaults(p.Kind)
		specs[i] = s
		specs[i].Ask = one.Ask // each has its own
		if len(units) > 1 {
			specs[i].Name += " " + unit
		}
		if err := parameters(&specs[i], p.Parameters, map[string]any{"unit": unit}); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// parameters puts what is written over the defaults of a kind; instead replaces
// some of it.
func parameters(s *probe.Spec, written, instead map[string]any) error {
	given := map[string]any{}
	for name, value := range written {
		given[name] = value
	}
	for name, value := range instead {
		given[name] = value
	}
	if strict, ok := given[strictParam].(bool); ok {
		if strict {
			s.Strict()
		}
		if !hasParam(s.Kind, strictParam) {
			delete(given, strictParam)
		}
	}
	if s.Ask == nil || len(given) == 0 {
		return nil // [probe.Spec.Validate] tells an unknown kind
	}
	text, err := json.Marshal(given)
	if err == nil {
		err = json.Unmarshal(text, s.Ask)
	}
	if err != nil {
		return fmt.Errorf("read the parameters: %v", err)
	}
	return nil
}

func hasParam(kind probe.Kind, name string) bool {
	for _, about := range probe.Catalogue() {
		if about.Kind == kind {
			return slices.ContainsFunc(about.Params, func(p probe.Param) bool { return p.Name == name })
		}
	}
	return false
}

// override replaces a default of the probe's kind by what deploy.toml says.
func override[T any](own, wanted *T) {
	if wanted != nil {
		*own = *wanted
	}
}
