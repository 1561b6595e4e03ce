package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

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

func (o *OnePasswordSpec) validate() error {
	for _, u := range o.Units {
		if err := validUnit(u); err != nil {
			return err
		}
	}
	if err := validPath("token_file", o.TokenFile); err != nil {
		return err
	}
	if len(o.Secrets) > mostSecrets {
		return fmt.Errorf("more than %d secrets", mostSecrets)
	}
	for _, secret := range o.Secrets {
		if err := secret.validate(); err != nil {
			return fmt.Errorf("secret %s: %w", clean(secret.Name), err)
		}
	}
	return nil
}

func (s Secret) validate() error {
	if s.Path == "" {
		return errors.New("path is missing")
	}
	if err := validPath("path", s.Path); err != nil {
		return err
	}
	if s.Mode != "" && !octalMode.MatchString(s.Mode) {
		return fmt.Errorf("mode must be octal, not %q", s.Mode)
	}
	for _, service := range s.Services {
		if err := validUnit(asUnit(service)); err != nil {
			return err
		}
	}
	return nil
}

// The exit codes of OpNix 0.10 and later.
const (
	opnixMissingReference = 65
	opnixRateLimited      = 75
)

func onePasswordKind() kind {
	return kind{
		About: About{
			Kind: KindOnePassword, Preset: true, Vantages: []string{FromHost}, Text: "OpNix fetched every declared secret from 1Password",
			Params: []Param{
				{Name: "units", Type: Texts, Default: `["opnix-secrets.service", "onepassword-secrets.service"]`, Text: "candidates for OpNix's unit; the first that is loaded counts"},
				{Name: "token_file", Type: Text, Default: "the configuration's", Text: "where the service account's token is"},
				{Name: "secrets", Type: Tables, Default: "the configuration's", Text: "the files that OpNix writes", Of: []Param{
					{Name: "name", Type: Text, Default: "its path", Text: "what to call it"},
					{Name: "path", Type: Text, Required: true, Text: "the file"},
					{Name: "owner", Type: Text, Text: "the user that owns it"},
					{Name: "group", Type: Text, Text: "the group that owns it"},
					{Name: "mode", Type: Text, Text: `its mode in octal, for instance "0600"`},
					{Name: "services", Type: Texts, Text: "units that use it, and so start after OpNix's"},
				}},
			},
		},
		question: func() Question { return &OnePasswordSpec{} },
		defaults: func(s *Spec) { s.Deadline = 60 * time.Second },
	}
}

func (o *OnePasswordSpec) units() []string {
	if len(o.Units) > 0 {
		return o.Units
	}
	return onePasswordUnits()
}

const secretsExpected = "OpNix fetched every declared secret"

// onePassword judges OpNix's unit first, then what it wrote. The unit alone
// proves little: without a token it warns and ends well, and it stays "active"
// for as long as the host is up.
func (o *OnePasswordSpec) try(ctx context.Context, a attempt) finding {
	spec := *o
	candidates := spec.units()
	units, err := a.host.Systemd.Show(ctx, candidates...)
	if err != nil {
		return silent(secretsExpected, err)
	}
	u, ok := resolve(units, candidates)
	if !ok {
		return fail("no-unit", "one of "+strings.Join(candidates, ", ")+" is loaded", "none is").
			because(spec.said("")).try("enable services.onepassword-secrets; OpNix older than 0.7 has no unit")
	}
	if f, ok := a.opnixUnit(ctx, u); !ok {
		return f
	}
	if f := spec.token(); f.found() {
		return f.finding()
	}
	for _, secret := range spec.Secrets {
		if f := checkSecret(secret); f.found() {
			found := f.finding().because("secret " + secret.Name)
			if found.hint == "" {
				found.hint = "systemctl restart " + u.ID + "; journalctl -u " + u.ID + " -e"
			}
			return found
		}
	}
	if f, ok := o.consumersOrdered(ctx, a, u); !ok {
		return f
	}
	return o.secretsThere(a, u)
}

// resolve picks the first candidate that is loaded. A candidate that is an
// alias is answered by the unit's own id, which is then none of the candidates.
func resolve(units map[string]systemd.Unit, candidates []string) (systemd.Unit, bool) {
	for _, name := range append(slices.Clone(candidates), slices.Sorted(maps.Keys(units))...) {
		if u := units[name]; u.Load == "loaded" {
			return u, true
		}
	}
	return systemd.Unit{}, false
}

// secretsThere is the pass, with what is worth knowing about it.
func (o *OnePasswordSpec) secretsThere(a attempt, u systemd.Unit) finding {
	f := pass(secretsExpected, fmt.Sprintf("%s; %d secrets as declared", describe(u), len(o.Secrets)))
	note := ""
	if a.host.Baseline.untouched(u) {
		note = "the unit was not run again in this trial"
	}
	return f.because(o.said(note))
}

func (o *OnePasswordSpec) said(note string) string {
	return judgedAlone(note, o.NotConfigured, "onepassword-secrets")
}

// judgedAlone adds to a note that nothing was declared, where that is so.
func judgedAlone(note string, notConfigured bool, service string) string {
	if !notConfigured {
		return note
	}
	if note != "" {
		note += "; "
	}
	return note + "the evaluated configuration does not enable services." + service + ": judged by the host alone"
}

// consumers are the units that use secrets, without duplicates.
func (o *OnePasswordSpec) consumers() []string {
	var names []string
	for _, s := range o.Secrets {
		for _, service := range s.Services {
			names = append(names, asUnit(service))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// consumersOrdered wants every consumer loaded and started after the unit.
// Wants= is not asked for: a consumer may require it instead.
func (o *OnePasswordSpec) consumersOrdered(ctx context.Context, a attempt, u systemd.Unit) (f finding, ok bool) {
	names := o.consumers()
	if len(names) == 0 {
		return finding{}, true
	}
	units, err := a.host.Systemd.Show(ctx, names...)
	if err != nil {
		return silent(secretsExpected, err), false
	}
	for _, name := range names {
		consumer, known := units[name]
		expected := name + " starts after " + u.ID
		switch {
		case !known: // an alias, answered by another id
		case consumer.Load != "loaded":
			return fail("ordering", expected, describe(consumer)).try("a secret's `services` names a unit that does not exist"), false
		case !slices.Contains(consumer.After, u.ID):
			return fail("ordering", expected, "it is not ordered after it").
				try("add systemd.services." + strings.TrimSuffix(name, ".service") + `.after = [ "` + u.ID + `" ]`), false
		}
	}
	return finding{}, true
}

// token looks whether there is a token at all.
func (o *OnePasswordSpec) token() flaw {
	if o.TokenFile == "" {
		return flaw{}
	}
	info, err := os.Stat(o.TokenFile)
	expected := o.TokenFile + " holds the service account's token"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return flaw{"no-token", expected, "it does not exist", hints["no-token"]}
	case err != nil:
		return flaw{"unreadable", expected, err.Error(), ""}
	case !info.Mode().IsRegular():
		return flaw{"no-token", expected, "it is a " + typeOf(info), hints["no-token"]}
	case info.Size() == 0:
		return flaw{"empty-token", expected, "it is empty", hints["empty-token"]}
	case modeOf(info)&0o007 != 0:
		return flaw{"mode", o.TokenFile + " is closed to others", fmt.Sprintf("mode %04o", modeOf(info)), "chmod 0640 " + o.TokenFile}
	}
	return flaw{}
}

// opnixUnit judges the unit; ok says that it did its work.
func (a attempt) opnixUnit(ctx context.Context, u systemd.Unit) (f finding, ok bool) {
	const expected = "OpNix's unit is active/exited with success"
	if u.Job != 0 || u.Active == "activating" && u.Sub != "auto-restart" {
		return fail("hung", expected, describe(u)).because(a.lastWords(ctx, u)).try(hints["hung"]), false
	}
	if u.Active == "active" && u.Sub == "exited" && u.Result == "success" && u.ExitStatus == 0 {
		return a.opnixWarned(ctx, u)
	}
	if a.host.Baseline.failedBefore(u) {
		class, line := a.opnixFault(ctx, u)
		return failedBefore(expected, u, line).try(hints[class]), false
	}
	if u.Failing() || u.Result != "success" {
		class, line := a.opnixFault(ctx, u)
		// What 1Password or the network refuses is no fault of the new system.
		judged := fail
		if class == "network" || class == "rate-limited" {
			judged = unknown
		}
		return judged(class, expected, describe(u)).because(line).try(hints[class]), false
	}
	return fail("state", expected, describe(u)).try("systemctl start " + u.ID), false
}

// opnixWarned looks for the warning with which OpNix ends well without a token.
func (a attempt) opnixWarned(ctx context.Context, u systemd.Unit) (f finding, ok bool) {
	if u.Invocation == "" {
		return finding{}, true
	}
	var warning string
	err := journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		if strings.Contains(e.message, "WARNING: Token file") {
			warning = e.message
		}
		return warning == ""
	}, "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	const expected = "OpNix had a token"
	switch {
	case err != nil:
		return unknown("journal", expected, "the journal could not be read").because(err.Error()), false
	case warning == "":
		return finding{}, true
	case a.host.Baseline.untouched(u):
		return failedBefore(expected, u, warning).try(hints["no-token"]), false
	}
	return fail("no-token", expected, "it had none and fetched nothing, but ended with success").because(warning).try(hints["no-token"]), false
}

// opnixFault names why the unit failed, with the line of its journal that says so.
func (a attempt) opnixFault(ctx context.Context, u systemd.Unit) (class, line string) {
	var lines []string
	if u.Invocation != "" {
		_ = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
			if e.message != "" {
				lines = append(lines, e.message)
			}
			return true
		}, "--lines=500", "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	}
	class, line = classify(lines)
	switch u.ExitStatus {
	case opnixMissingReference:
		class = "missing-reference"
	case opnixRateLimited:
		class = "rate-limited"
	}
	return class, line
}

// faults are what OpNix, 1Password's SDK and Go print. OpNix follows every
// error with suggestions that name other causes, and with counts of zero, so
// that the patterns must be as narrow as this. The first class that is found
// anywhere in the output counts.
var faults = []struct {
	class   string
	pattern *regexp.Regexp
}{
	{"no-token", regexp.MustCompile(`Token file .* (does not exist!|is not readable!)`)},
	{"empty-token", regexp.MustCompile(`Token file is empty`)},
	{"unknown-owner", regexp.MustCompile(`(user|group) '[^']*' does not exist`)},
	{"rate-limited", regexp.MustCompile(`rate_limited|rate limit exceeded|(?i:too many requests)`)},
	{"missing-reference", regexp.MustCompile(`(missing|invalid|ambiguous)_reference|error resolving secret reference|no (vault|item|section|field) matched`)},
	{"auth", regexp.MustCompile(`(?i)unauthorized|status code:? 40[13]|invalid service account token|service account (was )?deleted|authentication (failed|error)|failed to authenticate`)},
	{"network", regexp.MustCompile(`(?i)no such host|dial tcp|i/o timeout|connection (refused|reset)|network is unreachable|TLS handshake|error sending request|temporary failure in name resolution`)},
}

func classify(lines []string) (class, line string) {
	for _, f := range faults {
		for _, line := range lines {
			if f.pattern.MatchString(line) {
				return f.class, redact(line)
			}
		}
	}
	if len(lines) > 0 {
		return "failed", redact(lines[len(lines)-1])
	}
	return "failed", ""
}

var reference = regexp.MustCompile(`op://[^\s"',;]*`)

// redact hides which items of a vault are referred to.
func redact(line string) string {
	return reference.ReplaceAllString(line, "op://…")
}

// hints are what mends each class of OpNix's faults.
var hints = map[string]string{
	"no-token":          "opnix token set, then systemctl restart opnix-secrets.service",
	"empty-token":       "opnix token set, then systemctl restart opnix-secrets.service",
	"auth":              "the service account's token is not accepted: make a new one, opnix token set, systemctl restart opnix-secrets.service",
	"missing-reference": "compare services.onepassword-secrets.secrets.*.reference with the vault: op item list --vault VAULT",
	"rate-limited":      "wait until 1Password's limit for the account is reset, then systemctl restart opnix-secrets.service once",
	"unknown-owner":     "declare the user or group in users.users or users.groups; a service with DynamicUser has no static one",
	"network":           "check name service and the way out from the host, then systemctl restart opnix-secrets.service",
	"hung":              "systemctl list-jobs; OpNix before 0.10.1 restarts services that wait for it: update it, or remove `services` from the secrets",
	"failed":            "journalctl -u opnix-secrets.service -e",
}
