package probe

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// expectations is what the deployer reads from the evaluated configuration of
// a host. Every part may be null or missing.
type expectations struct {
	OnePassword *struct {
		Enable    *bool   `json:"enable"`
		TokenFile *string `json:"tokenFile"`
		Secrets   map[string]struct {
			Path     *string  `json:"path"`
			Owner    *string  `json:"owner"`
			Group    *string  `json:"group"`
			Mode     *string  `json:"mode"`
			Services []string `json:"services"`
			Symlinks []string `json:"symlinks"`
		} `json:"secrets"`
		Services    []string `json:"services"`
		Version     *string  `json:"version"`
		ConfigFiles *int     `json:"configFiles"`
	} `json:"onepassword-secrets"`
	Hercules *struct {
		Enable   *bool `json:"enable"`
		Settings *struct {
			BaseDirectory *string `json:"baseDirectory"`
			TokenPath     *string `json:"clusterJoinTokenPath"`
			CachesPath    *string `json:"binaryCachesPath"`
			APIBaseURL    *string `json:"apiBaseUrl"`
		} `json:"settings"`
		// RestartSec is the unit's pause before a restart in seconds, where it is a
		// number.
		RestartSec *string `json:"restartSec"`
		HostName   *string `json:"hostName"`
	} `json:"hercules-ci-agent"`
	// Units are the service names, without suffix, that the configuration
	// defines among those a preset knows.
	Units []string `json:"units"`
}

// Expect fills the parameters of a preset that are still empty from the
// evaluated configuration. A service that the configuration does not enable
// leaves them empty and sets NotConfigured: the preset then judges what the
// host has, and says so. Other kinds are left as they are. The error is that
// of JSON of another shape, or of values that [Spec.Validate] refuses.
func (s *Spec) Expect(evaluated json.RawMessage) error {
	var e expectations
	if len(evaluated) > 0 {
		if err := json.Unmarshal(evaluated, &e); err != nil {
			return fmt.Errorf("read the expectations of probe %s: %v", clean(s.Name), err)
		}
	}
	switch question := s.Ask.(type) {
	case *OnePasswordSpec:
		question.expect(e)
	case *HerculesSpec:
		question.expect(e)
		if s.From == FromDeployer && e.Hercules != nil {
			fill(&question.Hostname, e.Hercules.HostName) // the host itself knows better
		}
		if question.Strict {
			s.Soak = max(s.Soak, e.herculesRestart()+10*time.Second)
		}
	default:
		return nil
	}
	return s.Validate()
}

func (o *OnePasswordSpec) expect(e expectations) {
	c := e.OnePassword
	o.NotConfigured = c == nil || !value(c.Enable)
	if o.NotConfigured {
		return
	}
	if len(o.Units) == 0 {
		o.Units = candidates(e.Units)
	}
	fill(&o.TokenFile, c.TokenFile)
	fill(&o.Version, c.Version)
	o.ConfigFiles = value(c.ConfigFiles)
	if len(o.Services) == 0 {
		o.Services = c.Services
	}
	if len(o.Secrets) > 0 {
		return
	}
	for name, s := range c.Secrets {
		o.Secrets = append(o.Secrets, Secret{
			Name: name, Path: value(s.Path), Owner: value(s.Owner), Group: value(s.Group), Mode: value(s.Mode), Services: s.Services, Symlinks: s.Symlinks,
		})
	}
	sort.Slice(o.Secrets, func(i, j int) bool { return o.Secrets[i].Name < o.Secrets[j].Name })
}

// candidates are OpNix's possible units that the configuration defines; none
// if it defines none, which leaves the preset's own list.
func candidates(defined []string) []string {
	var found []string
	for _, unit := range onePasswordUnits() {
		if slices.Contains(defined, strings.TrimSuffix(unit, ".service")) || slices.Contains(defined, unit) {
			found = append(found, unit)
		}
	}
	return found
}

func (h *HerculesSpec) expect(e expectations) {
	c := e.Hercules
	h.NotConfigured = c == nil || !value(c.Enable)
	if h.NotConfigured || c.Settings == nil {
		return
	}
	fill(&h.BaseDirectory, c.Settings.BaseDirectory)
	fill(&h.TokenPath, c.Settings.TokenPath)
	fill(&h.CachesPath, c.Settings.CachesPath)
	fill(&h.APIBaseURL, c.Settings.APIBaseURL)
	if o := e.OnePassword; o != nil && value(o.Enable) {
		own := h.withDefaults()
		for _, s := range o.Secrets {
			h.AfterOpNix = h.AfterOpNix || value(s.Path) == own.TokenPath || value(s.Path) == own.CachesPath
		}
	}
}

// herculesRestart is the agent's RestartSec=, zero where it is not known.
func (e expectations) herculesRestart() time.Duration {
	if e.Hercules == nil {
		return 0
	}
	seconds, err := strconv.Atoi(value(e.Hercules.RestartSec))
	if err != nil || seconds < 0 || seconds > 3000 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func fill(empty *string, from *string) {
	if *empty == "" {
		*empty = value(from)
	}
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func onePasswordUnits() []string {
	return []string{"opnix-secrets.service", "onepassword-secrets.service"}
}
