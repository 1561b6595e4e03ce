package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// HerculesSpec says where the agent keeps what and how long it must be quiet.
type HerculesSpec struct {
	// Unit is hercules-ci-agent.service if empty.
	Unit string `json:"unit,omitempty"`
	// User owns the files, hercules-ci-agent if empty.
	User string `json:"user,omitempty"`
	// BaseDirectory is /var/lib/hercules-ci-agent if empty. TokenPath and
	// CachesPath are, if empty, the agent's defaults in its directory secrets.
	BaseDirectory string `json:"base_directory,omitempty"`
	TokenPath     string `json:"token_path,omitempty"`
	CachesPath    string `json:"caches_path,omitempty"`
	// APIBaseURL is the service's, https://hercules-ci.com if empty. The agent's
	// connections lead to its port.
	APIBaseURL string `json:"api_base_url,omitempty"`
	// AfterOpNix says that OpNix writes the agent's files, so that the agent must
	// start after it.
	AfterOpNix bool `json:"after_opnix,omitempty"`
	// Quiet is how long the agent must be online without a socket error.
	// "Agent online." is printed before the service has accepted the session,
	// so that it alone proves little.
	Quiet time.Duration `json:"quiet,omitempty"`
	// Ready is how long after settling an agent that systemd does not start again
	// may take; zero leaves that to the deadline, which must have room for one
	// automatic restart.
	Ready time.Duration `json:"ready,omitempty"`
	// LateRestart is how long after the activation one restart of the agent is
	// permitted: its path unit restarts it some time after its files were touched.
	LateRestart time.Duration `json:"late_restart,omitempty"`
	// Endpoints (host:port) are tried with TCP and TLS, beside the API's address,
	// when the agent is not well, to tell a fault of the network from one of the
	// host. Empty means the service's socket where APIBaseURL is the usual one.
	Endpoints []string `json:"endpoints,omitempty"`
	// Account, APITokenFile and Hostname ask the service whether it sees the agent.
	// The file is on the machine that asks.
	Account      string `json:"account,omitempty"`
	APITokenFile string `json:"api_token_file,omitempty"`
	Hostname     string `json:"hostname,omitempty"`
	// Strict says that [Spec.Strict] widened the windows.
	Strict bool `json:"strict,omitempty"`
	// NotConfigured is as in [OnePasswordSpec].
	NotConfigured bool `json:"not_configured,omitempty"`
}

func (h *HerculesSpec) validate() error {
	var errs []error
	if h.Unit != "" {
		errs = append(errs, ValidUnit(h.Unit))
	}
	for _, w := range []struct {
		key   string
		value time.Duration
	}{{"quiet", h.Quiet}, {"ready", h.Ready}, {"late_restart", h.LateRestart}} {
		if w.value < 0 || w.value > longestWindow {
			errs = append(errs, fmt.Errorf("%s must be from 0s to %s, not %s", w.key, longestWindow, w.value))
		}
	}
	for _, endpoint := range h.Endpoints {
		errs = append(errs, validAddress("endpoints", endpoint))
	}
	errs = append(errs, h.validateAPI(),
		validPath("base_directory", h.BaseDirectory), validPath("token_path", h.TokenPath), validPath("caches_path", h.CachesPath))
	return errors.Join(errs...)
}

const agentExpected = "the agent runs, is online and stays so"

func herculesKind() kind {
	return kind{
		About: About{
			Kind: KindHercules, Preset: true, Vantages: []string{FromHost, FromDeployer},
			Text: "the Hercules CI agent runs, is online and stays so; from the deployer: the service sees it",
			Params: []Param{
				{Name: "unit", Type: Text, Default: `"hercules-ci-agent.service"`, Text: "the agent's unit"},
				{Name: "user", Type: Text, Default: `"hercules-ci-agent"`, Text: "who owns its files"},
				{Name: "base_directory", Type: Text, Default: "the configuration's", Text: "where the agent keeps its state"},
				{Name: "token_path", Type: Text, Default: "the configuration's", Text: "the cluster join token"},
				{Name: "caches_path", Type: Text, Default: "the configuration's", Text: "binary-caches.json"},
				{Name: "api_base_url", Type: Text, Default: "the configuration's", Text: "the service's address; the agent's connections lead to its port"},
				{Name: "after_opnix", Type: Flag, Default: "whether the configuration has OpNix write its files", Text: "the agent must start after OpNix's unit"},
				{Name: "quiet", Type: Duration, Default: `"45s"`, Text: "how long it must be online without an error of its connection"},
				{Name: "ready", Type: Duration, Default: `"90s"`, Text: "how long it may take where systemd does not start it again"},
				{Name: "late_restart", Type: Duration, Default: `"45s"`, Text: "how long after the activation one restart, as by its path unit, is permitted"},
				{Name: "endpoints", Type: Texts, Default: "Hercules CI's socket", Text: "host:port, tried beside the API when the agent is not well, to tell a fault of the network from the host's own"},
				{Name: "account", Type: Text, Text: "the id of the account at the service, to ask it whether it sees the agent"},
				{Name: "api_token_file", Type: Text, Text: "a private file with a user's API token, on the machine that asks"},
				{Name: "hostname", Type: Text, Default: "the host's", Text: "what the service calls the agent"},
				{Name: "strict", Type: Flag, Default: "false", Text: "wait until systemd would have started a dead agent again"},
			},
		},
		question: func() Question {
			return &HerculesSpec{Quiet: 45 * time.Second, Ready: 90 * time.Second, LateRestart: 45 * time.Second}
		},
		// The deadline has room for RestartSec=120.
		defaults: func(s *Spec) {
			s.Settle, s.Deadline, s.Interval, s.Soak = 5*time.Second, 200*time.Second, 5*time.Second, 15*time.Second
		},
	}
}

func (h *HerculesSpec) units() []string { return []string{h.withDefaults().Unit} }

func (h *HerculesSpec) try(ctx context.Context, a attempt) finding {
	spec := h.withDefaults()
	if a.host == nil {
		return spec.seenByService(ctx, spec.Hostname)
	}
	names := append([]string{spec.Unit, spec.restarter()}, onePasswordUnits()...)
	units, err := a.host.Systemd.Show(ctx, names...)
	if err != nil {
		return silent(agentExpected, err)
	}
	v := &agentVisit{attempt: a, HerculesSpec: spec, units: units, unit: units[spec.Unit]}
	v.look(ctx)
	return v.verdict()
}

// withDefaults is the spec with the agent's own defaults in every empty field.
func (h HerculesSpec) withDefaults() HerculesSpec {
	set := func(empty *string, to string) { fill(empty, &to) }
	set(&h.Unit, "hercules-ci-agent.service")
	set(&h.User, "hercules-ci-agent")
	set(&h.BaseDirectory, "/var/lib/hercules-ci-agent")
	set(&h.TokenPath, filepath.Join(h.BaseDirectory, "secrets/cluster-join-token.key"))
	set(&h.CachesPath, filepath.Join(h.BaseDirectory, "secrets/binary-caches.json"))
	if h.APIBaseURL == "" && len(h.Endpoints) == 0 {
		h.Endpoints = []string{"agent-socket.hercules-ci.com:443"}
	}
	set(&h.APIBaseURL, "https://hercules-ci.com")
	return h
}

// restarter is the unit that restarts the agent after its files were touched.
func (h HerculesSpec) restarter() string {
	return strings.TrimSuffix(h.Unit, ".service") + "-restarter.service"
}

// apiAddress is the host and port of the API, and whether it speaks TLS.
func (h HerculesSpec) apiAddress() (address string, secure bool) {
	u, err := url.Parse(h.APIBaseURL)
	if err != nil {
		return "", false
	}
	secure = u.Scheme == "https"
	port := u.Port()
	switch {
	case port == "" && secure:
		port = "443"
	case port == "":
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port), secure
}

// agentVisit is one look at everything about the agent. It goes on after the
// first flaw, since whoever mends one wants to know of the others.
type agentVisit struct {
	attempt
	HerculesSpec
	units map[string]systemd.Unit
	unit  systemd.Unit
	found []finding
	// old are the flaws of files that were there before the trial. An agent that is
	// well in spite of them is not blamed for them.
	old   []finding
	notes []string
}

func (v *agentVisit) add(f finding) { v.found = append(v.found, f) }

func (v *agentVisit) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(v.notes, text) {
		v.notes = append(v.notes, text)
	}
}

// look collects what is wrong, the most telling first.
func (v *agentVisit) look(ctx context.Context) {
	if v.unit.Load != "loaded" {
		v.add(fail("no-unit", v.Unit+" is loaded", describe(systemd.Unit{ID: v.Unit, Load: loadOf(v.unit)})).
			try("enable services.hercules-ci-agent").surely(true))
		return
	}
	v.files()
	spoilt := len(v.found) > 0
	v.enabled()
	v.ordered()
	switch {
	case v.host.Baseline.failedToo(v.unit) && !(spoilt && v.lackedServiceBefore(ctx)):
		v.add(failedBefore(agentExpected, v.unit, v.lastWords(ctx, v.unit)).try(v.readLog()))
	case v.unit.Active == "active" && v.unit.Sub == "running" && v.unit.Result == "success" && v.unit.Job == 0:
		v.running(ctx)
	default:
		v.down(ctx)
	}
}

// lackedServiceBefore says that the agent failed before the trial for want of the service,
// which it asks only once it has read its files: what is wrong with those is new.
func (v *agentVisit) lackedServiceBefore(ctx context.Context) bool {
	before := v.host.Baseline.Units[v.unit.ID]
	if before.Invocation == "" || before.Invocation == v.unit.Invocation {
		return false
	}
	log, err := v.log(ctx, before.Invocation)
	_, remote := match(agentRemote, log.lines)
	return err == nil && remote && !refusedOrLocal(log.lines)
}

// verdict is the worst of what was found, and the rest as notes.
func (v *agentVisit) verdict() finding {
	if slices.ContainsFunc(v.found, func(f finding) bool { return f.verdict != Pass }) {
		v.found = append(v.found, v.old...)
	} else {
		for _, f := range v.old {
			v.note("as before the trial, %s: wanted %s, but %s", f.class, f.expected, f.seen)
		}
	}
	i := slices.IndexFunc(v.found, func(f finding) bool { return f.class == ClassFailedBefore })
	for _, verdict := range []string{Fail, Unknown, Pass} {
		if i < 0 {
			i = slices.IndexFunc(v.found, func(f finding) bool { return f.verdict == verdict })
		}
	}
	f := v.found[i]
	for j, other := range v.found {
		if j != i && other.verdict != Pass {
			f.notes = append(f.notes, fmt.Sprintf("also %s: wanted %s, but %s", other.class, other.expected, other.seen))
		}
	}
	f.notes = append(f.notes, v.notes...)
	return f.because(judgedAlone(f.evidence, v.NotConfigured, "hercules-ci-agent")).surely(f.certain || v.late(f))
}

// late says that a flaw has lasted too long to wait for more. While systemd is
// about to start the agent again only the deadline ends the wait.
func (v *agentVisit) late(f finding) bool {
	return f.verdict != Pass && v.Ready > 0 && v.unit.Sub != "auto-restart" && v.unit.Restarts == v.restartsBefore() &&
		monotonic() > v.settled+v.Ready.Microseconds()
}

func (v *agentVisit) restartsBefore() int {
	if v.host.Baseline == nil {
		return v.unit.Restarts
	}
	return min(v.host.Baseline.Units[v.unit.ID].Restarts, v.unit.Restarts)
}

// busy names what is still under way that may mend the agent or its files.
func (v *agentVisit) busy() string {
	for _, name := range append([]string{v.restarter()}, onePasswordUnits()...) {
		if u := v.units[name]; u.Job != 0 || u.Active == "activating" && u.Sub != "auto-restart" {
			return name
		}
	}
	return ""
}

func (v *agentVisit) readLog() string { return "journalctl -u " + v.Unit + " -e" }

// enabled wants the unit to come again after a boot.
func (v *agentVisit) enabled() {
	if state := v.unit.FileState; state != "" && state != "enabled" && state != "enabled-runtime" {
		v.add(fail("not-enabled", v.Unit+" is enabled", "it is "+state).
			try("the unit must be wanted by multi-user.target: services.hercules-ci-agent.enable").surely(true))
	}
}

// ordered judges how the agent stands to OpNix, which writes its files.
func (v *agentVisit) ordered() {
	opnix, loaded := firstLoaded(maps.Collect(v.opnixUnits), onePasswordUnits())
	if text := dangling(v.unit, v.units); text != "" {
		v.note("%s", text)
	}
	if !v.AfterOpNix || !loaded {
		return
	}
	if !slices.Contains(v.unit.After, opnix.ID) {
		v.add(fail("ordering", v.Unit+" starts after "+opnix.ID, "it is not ordered after it, and OpNix writes its files").
			try("add systemd.services." + strings.TrimSuffix(v.Unit, ".service") + `.after = [ "` + opnix.ID + `" ]`).surely(true))
		return
	}
	b := v.host.Baseline
	if b == nil || b.untouched(v.unit) || b.untouched(opnix) || opnix.Active != "active" || v.unit.Active != "active" || v.unit.ActiveEnter >= opnix.ActiveEnter {
		return
	}
	if file := v.newerThan(v.unit.ActiveEnter); file != "" {
		v.add(fail("stale-files", v.Unit+" started after "+opnix.ID, "it started before, and "+file+" was written since").
			try("systemctl restart " + v.Unit))
		return
	}
	v.note("%s was started again after the agent, and changed none of its files", opnix.ID)
}

func (v *agentVisit) opnixUnits(yield func(string, systemd.Unit) bool) {
	for name, u := range v.units {
		if name != v.Unit && name != v.restarter() && !yield(name, u) {
			return
		}
	}
}

// newerThan names a file of the agent's that was written after an instant of
// CLOCK_MONOTONIC in µs; empty for none.
func (v *agentVisit) newerThan(instant int64) string {
	when := time.Now().Add(time.Duration(instant-monotonic()) * time.Microsecond)
	for _, path := range []string{v.TokenPath, v.CachesPath} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(when) {
			return path
		}
	}
	return ""
}

// dangling tells of an ordering after a unit that does not exist, while OpNix's
// real unit does.
func dangling(u systemd.Unit, units map[string]systemd.Unit) string {
	names := onePasswordUnits()
	real, mistaken := names[0], names[1]
	if slices.Contains(u.After, mistaken) && units[mistaken].Load == "not-found" && units[real].Load == "loaded" {
		return fmt.Sprintf("%s is ordered after %s, which does not exist; OpNix's unit is %s", u.ID, mistaken, real)
	}
	return ""
}
