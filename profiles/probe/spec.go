// Package probe asks whether a host does what it should, and judges the answers.
//
// A probe tries once and knows nothing of time: [Run] owns settling, deadline,
// interval, streak and soak. Every probe ends in pass, fail or unknown, and
// what it could not find out is never called a failure of the host. What was
// broken before a trial, as its [Baseline] tells, is not blamed on it. A
// [Result] is short, free of control characters, and holds no byte of a secret:
// files with secrets are read on the host for their shape alone.
package probe

import (
	"time"
)

// Kind names what a probe looks at.
type Kind = string

// The kinds of probes. The last two are presets: they know a service well
// enough to tell a broken host from a cloud that is down.
const (
	KindUnit             Kind = "unit"
	KindHTTP             Kind = "http"
	KindTCP              Kind = "tcp"
	KindCommand          Kind = "command"
	KindNoNewFailedUnits Kind = "no-new-failed-units"
	KindCurrentSystem    Kind = "current-system"
	KindOnePassword      Kind = "onepassword-secrets"
	KindHercules         Kind = "hercules-ci-agent"
)

// Kinds lists every kind.
var Kinds = [...]Kind{KindUnit, KindHTTP, KindTCP, KindCommand, KindNoNewFailedUnits, KindCurrentSystem, KindOnePassword, KindHercules}

// Where a probe runs.
const (
	FromHost     = "host"
	FromDeployer = "deployer"
)

// What a verdict other than pass leads to.
const (
	Rollback = "rollback"
	Alert    = "alert"
)

// Spec is one probe: what to look at, how long, and what follows. Durations
// are nanoseconds in JSON.
type Spec struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// From is [FromHost] or [FromDeployer]; only http, tcp and command can be
	// asked from the deployer.
	From string `json:"from"`
	// OnFail and OnUnknown are [Rollback] or [Alert].
	OnFail    string `json:"on_fail"`
	OnUnknown string `json:"on_unknown"`

	// Settle passes before the first try. Within Deadline from then Passes tries
	// in a row must have passed, Interval apart; they must go on passing for
	// Soak. A streak that breaks before the deadline may begin again.
	Settle   time.Duration `json:"settle"`
	Deadline time.Duration `json:"deadline"`
	Interval time.Duration `json:"interval"`
	Soak     time.Duration `json:"soak"`
	Passes   int           `json:"passes"`
	// Timeout bounds one try, so that one that hangs leaves time for another;
	// zero bounds it by Deadline alone.
	Timeout time.Duration `json:"timeout,omitempty"`

	// The parameters of the spec's kind; the others are nil.
	Unit        *UnitSpec        `json:"unit,omitempty"`
	HTTP        *HTTPSpec        `json:"http,omitempty"`
	TCP         *TCPSpec         `json:"tcp,omitempty"`
	Command     *CommandSpec     `json:"command,omitempty"`
	OnePassword *OnePasswordSpec `json:"onepassword,omitempty"`
	Hercules    *HerculesSpec    `json:"hercules,omitempty"`
}

// UnitSpec asks for the state of one systemd unit.
type UnitSpec struct {
	// Unit is the unit's name with its suffix.
	Unit string `json:"unit"`
	// Active is the wanted ActiveState, "active" if empty. A oneshot without
	// RemainAfterExit= that did its work is "inactive".
	Active string `json:"active,omitempty"`
	// Sub is the wanted SubState; empty for any.
	Sub string `json:"sub,omitempty"`
}

// HTTPSpec asks for one answer to a GET request. TLS certificates are
// verified against the roots of the machine that asks; proxies are not used.
type HTTPSpec struct {
	URL string `json:"url"`
	// Status is the wanted status code; zero for any from 200 to 299.
	Status int `json:"status,omitempty"`
	// Body is a regular expression (RE2) that the first MiB of the body must
	// match; empty for any.
	Body string `json:"body,omitempty"`
	// FollowRedirects goes up to ten redirects far; otherwise a redirect is an
	// answer like any other.
	FollowRedirects bool `json:"follow_redirects,omitempty"`
}

// TCPSpec asks whether something accepts connections. The connection is closed
// at once, without a byte sent. Do not use it on sshd's port: sshd takes that
// for a broken client, logs it, and from OpenSSH 9.8 on locks the address out
// after a few of them (PerSourcePenalties).
type TCPSpec struct {
	// Address is host:port.
	Address string `json:"address"`
}

// CommandSpec runs a program without a shell. On a host its name is looked up
// in the toplevel's sw/bin and it gets only PATH, HOME and LC_ALL; on the
// deployer it is looked up in PATH and inherits the environment.
type CommandSpec struct {
	Argv []string `json:"argv"`
	// ExitCode is the wanted exit code.
	ExitCode int `json:"exit_code,omitempty"`
	// Output is a regular expression (RE2) that the first 64 KiB of standard
	// output must match; empty for any.
	Output string `json:"output,omitempty"`
}

// OnePasswordSpec says what OpNix should have put on the host. Empty parts are
// filled by [Spec.Expect]; what is still empty then is not judged.
type OnePasswordSpec struct {
	// Units are the candidates for the unit that fetches the secrets, the first
	// loaded one counts. Empty means opnix-secrets.service, which every OpNix
	// that has a unit defines, then onepassword-secrets.service, the name of the
	// option that is often taken for the unit's.
	Units     []string `json:"units,omitempty"`
	TokenFile string   `json:"token_file,omitempty"`
	Secrets   []Secret `json:"secrets,omitempty"`
	// NotConfigured says that the evaluated configuration does not enable the
	// service, so that only what the host has was judged.
	NotConfigured bool `json:"not_configured,omitempty"`
}

// Secret is one file that OpNix writes. Empty fields but Path are not judged.
type Secret struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Owner and Group are names, or numbers in decimal.
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	// Mode is octal, for instance "0600".
	Mode string `json:"mode,omitempty"`
	// Services are units that use the secret and must be ordered after the unit
	// that fetches it; a name without a suffix is a service.
	Services []string `json:"services,omitempty"`
}

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

// Defaults is a spec of the given kind with everything set that has a default.
// Failures roll back. Could-not-tell rolls back where only a broken host can
// be the reason, for the kinds that ask nothing but its systemd, and alerts
// elsewhere.
func Defaults(kind Kind) Spec {
	s := Spec{
		Name: kind, Kind: kind, From: FromHost, OnFail: Rollback, OnUnknown: Alert,
		Deadline: 30 * time.Second, Interval: time.Second, Passes: 1, Timeout: 10 * time.Second,
	}
	switch kind {
	case KindUnit:
		s.Unit, s.OnUnknown = &UnitSpec{}, Rollback
	case KindHTTP:
		s.HTTP = &HTTPSpec{}
	case KindTCP:
		s.TCP = &TCPSpec{}
	case KindCommand:
		s.Command, s.Timeout = &CommandSpec{}, 0
	case KindNoNewFailedUnits:
		// A unit that starts and then dies is seen only by looking on.
		s.OnUnknown, s.Deadline, s.Soak = Rollback, 15*time.Second, 8*time.Second
	case KindCurrentSystem:
		s.OnUnknown, s.Deadline = Rollback, 5*time.Second
	case KindOnePassword:
		s.OnePassword, s.Deadline = &OnePasswordSpec{}, 60*time.Second
	case KindHercules:
		s.Hercules = &HerculesSpec{Quiet: 5 * time.Second}
		s.Settle, s.Deadline, s.Interval = 5*time.Second, 90*time.Second, 2*time.Second
	}
	return s
}

// Strict widens the windows of a hercules-ci-agent probe until they prove that
// the agent stays: quiet outlasts the socket's handshake of 30 s and its pause
// of 10 s, settle the restart that the agent's path unit may cause, and soak the
// unit's RestartSec=120. Other kinds are left as they are.
func (s *Spec) Strict() {
	if s.Kind != KindHercules || s.Hercules == nil {
		return
	}
	s.Hercules.Quiet = max(s.Hercules.Quiet, 45*time.Second)
	s.Settle = max(s.Settle, 45*time.Second)
	s.Deadline = max(s.Deadline, 200*time.Second)
	s.Soak = max(s.Soak, 130*time.Second)
}

// AtRest is the spec for a host that nothing was changed on: without settle
// and soak.
func (s Spec) AtRest() Spec {
	s.Settle, s.Soak = 0, 0
	return s
}

// limit bounds one try.
func (s Spec) limit() time.Duration {
	if s.Timeout <= 0 || s.Timeout > s.Deadline {
		return s.Deadline
	}
	return s.Timeout
}

// LongestDeadline is how long [Run] takes at most for these specs: settle,
// deadline and soak of the slowest, and one try more where there is a soak,
// since the try that ends it begins at its end.
func LongestDeadline(specs []Spec) time.Duration {
	var longest time.Duration
	for _, s := range specs {
		d := s.Settle + s.Deadline
		if s.Soak > 0 {
			d += s.Soak + s.limit()
		}
		longest = max(longest, d)
	}
	return longest
}
