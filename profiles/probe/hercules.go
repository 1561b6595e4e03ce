package probe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
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
	// Quiet is how long the agent must be online without a socket error.
	// "Agent online." is printed before the service has accepted the session,
	// so that it alone proves little.
	Quiet time.Duration `json:"quiet,omitempty"`
	// Endpoints (host:port) are tried with TCP and TLS when the agent is not
	// well, to tell a fault of the network from one of the host. Empty means the
	// two that the agent speaks to.
	Endpoints []string `json:"endpoints,omitempty"`
	// NotConfigured is as in [OnePasswordSpec].
	NotConfigured bool `json:"not_configured,omitempty"`
}

func (h *HerculesSpec) validate() error {
	if h.Unit != "" {
		if err := validUnit(h.Unit); err != nil {
			return err
		}
	}
	if h.Quiet < 0 || h.Quiet > longestWindow {
		return fmt.Errorf("quiet must be from 0s to %s, not %s", longestWindow, h.Quiet)
	}
	for _, endpoint := range h.Endpoints {
		if err := validAddress(endpoint); err != nil {
			return err
		}
	}
	return errors.Join(validPath("base_directory", h.BaseDirectory), validPath("token_path", h.TokenPath), validPath("caches_path", h.CachesPath))
}

const agentExpected = "the agent runs, is online and stays so"

// What the agent prints (severity is in the text: to journald all is the same).
const (
	agentOnline     = "Agent online."
	agentRecovering = "Recovering from exception in socket handler"
)

// hercules judges the unit, then the files, then what the agent says of itself
// in this invocation.
func herculesKind() kind {
	return kind{
		About: About{
			Kind: KindHercules, Preset: true, Vantages: []string{FromHost}, Text: "the Hercules CI agent runs, is online and stays so",
			Params: []Param{
				{Name: "unit", Type: Text, Default: `"hercules-ci-agent.service"`, Text: "the agent's unit"},
				{Name: "user", Type: Text, Default: `"hercules-ci-agent"`, Text: "who owns its files"},
				{Name: "base_directory", Type: Text, Default: "the configuration's", Text: "where the agent keeps its state"},
				{Name: "token_path", Type: Text, Default: "the configuration's", Text: "the cluster join token"},
				{Name: "caches_path", Type: Text, Default: "the configuration's", Text: "binary-caches.json"},
				{Name: "quiet", Type: Duration, Default: `"5s"`, Text: "how long it must be online without an error of its connection"},
				{Name: "endpoints", Type: Texts, Default: "Hercules CI's", Text: "host:port, tried when the agent is not well, to tell a fault of the network from the host's own"},
			},
		},
		question: func() Question { return &HerculesSpec{Quiet: 5 * time.Second} },
		defaults: func(s *Spec) { s.Settle, s.Deadline, s.Interval = 5*time.Second, 90*time.Second, 2*time.Second },
	}
}

func (h *HerculesSpec) units() []string { return []string{h.withDefaults().Unit} }

func (h *HerculesSpec) try(ctx context.Context, a attempt) finding {
	return a.hercules(ctx, h.withDefaults())
}

func (a attempt) hercules(ctx context.Context, h HerculesSpec) finding {
	units, err := a.host.Systemd.Show(ctx, append([]string{h.Unit}, onePasswordUnits()...)...)
	if err != nil {
		return silent(agentExpected, err)
	}
	u := units[h.Unit]
	if u.Load != "loaded" {
		return fail("no-unit", h.Unit+" is loaded", describe(systemd.Unit{ID: h.Unit, Load: loadOf(u)})).
			because(h.said("")).try("enable services.hercules-ci-agent")
	}
	if u.Active != "active" || u.Sub != "running" || u.Result != "success" || u.Job != 0 {
		return a.agentDown(ctx, h, u)
	}
	if f, ok := h.files(); !ok {
		return f
	}
	if f, ok := a.agentStays(ctx, u); !ok {
		return f
	}
	return a.agentSpeaks(ctx, h, u, dangling(u, units))
}

func (h HerculesSpec) said(note string) string {
	return judgedAlone(note, h.NotConfigured, "hercules-ci-agent")
}

// files looks at what the agent needs to start, without a byte of it leaving.
func (h HerculesSpec) files() (finding, bool) {
	for _, f := range []flaw{
		checkPrivate(filepath.Join(h.BaseDirectory, "secrets"), h.User, true),
		checkPrivate(h.TokenPath, h.User, false),
		checkPrivate(h.CachesPath, h.User, false),
	} {
		if f.found() {
			found := f.finding()
			if found.hint == "" {
				found.hint = "is the file among services.onepassword-secrets.secrets? then systemctl status opnix-secrets.service"
			}
			return found, false
		}
	}
	token, err := readSecret(h.TokenPath)
	if err != nil {
		return fail("unreadable", h.TokenPath+" can be read", "it cannot").because(err.Error()), false
	}
	if !isToken(token) {
		return fail("token-shape", h.TokenPath+" holds one token of three parts", "it does not").try("copy the cluster join token anew from the Hercules CI dashboard"), false
	}
	caches, err := readSecret(h.CachesPath)
	if err != nil {
		return fail("unreadable", h.CachesPath+" can be read", "it cannot").because(err.Error()), false
	}
	if problem := cachesFlaw(caches); problem != "" {
		return fail("caches-shape", h.CachesPath+" holds caches of kind CachixCache or NixCache", problem).try("see docs.hercules-ci.com, binary-caches.json"), false
	}
	return finding{}, true
}

// agentStays wants no automatic restart since the baseline; one is permitted
// while the host settles.
func (a attempt) agentStays(ctx context.Context, u systemd.Unit) (finding, bool) {
	if a.host.Baseline == nil {
		return finding{}, true
	}
	restarts, err := journal{a.host.Systemd}.restarts(ctx, u.ID, a.host.Baseline)
	if err != nil {
		return unknown("journal", agentExpected, "the journal could not be read").because(err.Error()), false
	}
	if len(restarts) > 1 || len(restarts) == 1 && restarts[0] > a.settled {
		return fail("restarts", agentExpected, fmt.Sprintf("systemd restarted it %d times after a failure since the trial began", len(restarts))).
			try("journalctl -u " + u.ID + " -e"), false
	}
	return finding{}, true
}

// agentSpeaks reads the agent's own account of this invocation.
func (a attempt) agentSpeaks(ctx context.Context, h HerculesSpec, u systemd.Unit, hint string) finding {
	begun, online, err := a.onlineSince(ctx, u)
	if err != nil {
		return unknown("journal", agentExpected, "the journal could not be read").because(err.Error())
	}
	now, note := monotonic(), h.said("")
	if online == 0 && !begun {
		if a.host.Baseline != nil && !a.host.Baseline.untouched(u) {
			return unknown("journal", agentExpected, "the journal does not hold the agent's start").because(describe(u))
		}
		// An agent that has run for weeks may be older than its journal.
		online, note = max(u.ActiveEnter, 1), judgedAlone("the journal no longer holds the agent's start", h.NotConfigured, "hercules-ci-agent")
	}
	trouble, err := a.troubleSince(ctx, u, max(online, now-h.Quiet.Microseconds()))
	if err != nil {
		return unknown("journal", agentExpected, "the journal could not be read").because(err.Error())
	}
	switch {
	case len(trouble) > 0:
		return a.agentUnwell(ctx, h, "socket", "the connection to the service breaks again and again", trouble)
	case online == 0:
		return a.agentUnwell(ctx, h, "not-online", "it has not said that it is online", nil)
	}
	quiet := time.Duration(now-online) * time.Microsecond
	seen := fmt.Sprintf("%s, online for %s", describe(u), quiet.Round(time.Second))
	if quiet < h.Quiet {
		return fail("not-ready", agentExpected, seen).because(fmt.Sprintf("it must be quiet for %s", h.Quiet))
	}
	return pass(agentExpected, seen).because(note).try(hint)
}

// onlineSince is when this invocation last said that it is online, in µs, and
// whether the journal still holds how it began.
func (a attempt) onlineSince(ctx context.Context, u systemd.Unit) (begun bool, online int64, err error) {
	if u.Invocation == "" {
		return true, 0, nil
	}
	err = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		begun = begun || e.pid1 && (e.messageID == messageStarting || e.messageID == messageStarted)
		// The agent says it once; not reading on spares weeks of its log.
		if !e.pid1 && strings.Contains(e.message, agentOnline) {
			online = max(e.monotonic, 1)
		}
		return online == 0
	}, ofInvocation(u.Invocation)...)
	return begun, online, err
}

// troubleSince is the socket's last trouble after an instant, with the line
// that follows it; none if it is quiet.
func (a attempt) troubleSince(ctx context.Context, u systemd.Unit, since int64) ([]string, error) {
	if u.Invocation == "" {
		return nil, nil
	}
	var lines []string
	err := journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		if e.monotonic >= since && strings.Contains(e.message, agentRecovering) {
			lines = nil
		} else if len(lines) == 0 {
			return true
		}
		if len(lines) < 8 {
			lines = append(lines, e.message)
		}
		return true
	}, "--lines=500", "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	return lines, err
}

// agentDown judges a unit that does not run.
func (a attempt) agentDown(ctx context.Context, h HerculesSpec, u systemd.Unit) finding {
	if a.host.Baseline.failedBefore(u) {
		return failedBefore(agentExpected, u, a.lastWords(ctx, u)).try("journalctl -u " + u.ID + " -e")
	}
	if f, ok := h.files(); !ok {
		return f
	}
	if u.Job != 0 {
		return fail("hung", agentExpected, describe(u)).because("it waits for another unit, or is being started").try("systemctl list-jobs")
	}
	if !u.Failing() && u.Result == "success" {
		return fail("state", agentExpected, describe(u)).try("systemctl start " + u.ID)
	}
	return a.agentUnwell(ctx, h, "crash", describe(u), a.lastLines(ctx, u))
}

func (a attempt) lastLines(ctx context.Context, u systemd.Unit) []string {
	if u.Invocation == "" {
		return nil
	}
	var lines []string
	_ = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		lines = append(lines, e.message)
		return true
	}, "--lines=50", "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	return lines
}

var (
	agentRefused = regexp.MustCompile(`(?i)statusCode = 40[13]|status code:? 40[13]|unauthorized|responseCode = 40[13]`)
	agentLocal   = regexp.MustCompile(`binary-caches\.json file does not exist|Error in \$|cluster-join-token|development version|[Pp]ermission denied|parse (error|failure)|No such file`)
	agentRemote  = regexp.MustCompile(`ConnectionFailure|ConnectionTimeout|ResponseTimeout|getAddrInfo|Network\.Socket|HandshakeFailed|TlsException|InternalException|statusCode = 5\d\d|responseCode = 5\d\d|ConnectionClosed`)
)

// agentUnwell tells a fault of the host from one of the network or the service,
// which must not roll back a good system: what the agent printed first, then
// whether its endpoints can be reached at all.
func (a attempt) agentUnwell(ctx context.Context, h HerculesSpec, class, seen string, lines []string) finding {
	hint := "journalctl -u " + h.Unit + " -e"
	if line, ok := match(agentRefused, lines); ok {
		return fail("auth", agentExpected, seen).because(line).try("the service does not accept the agent's token: put a valid cluster join token in place")
	}
	if line, ok := match(agentLocal, lines); ok && class == "crash" {
		return fail(class, agentExpected, seen).because(line).try(hint)
	}
	if line, ok := match(agentRemote, lines); ok {
		return unknown("remote", agentExpected, seen).because(line).try("the agent cannot reach its service; see status.hercules-ci.com")
	}
	var evidence string
	if len(lines) > 0 {
		evidence = lines[len(lines)-1]
	}
	if err := reachable(ctx, h.Endpoints); err != nil {
		return unknown("network", agentExpected, seen).because(err.Error()).try("check name service, firewall and the way out from the host")
	}
	if class == "socket" {
		// The host reaches the service, and the agent runs with good files.
		return unknown("remote", agentExpected, seen).because(evidence).try(hint)
	}
	return fail(class, agentExpected, seen).because(evidence).try(hint)
}

func match(pattern *regexp.Regexp, lines []string) (string, bool) {
	i := slices.IndexFunc(lines, pattern.MatchString)
	if i < 0 {
		return "", false
	}
	return lines[i], true
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
