package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	// Services are further units that must be ordered after the unit.
	Services []string `json:"services,omitempty"`
	// Version is OpNix's, where the evaluated configuration tells it, and
	// ConfigFiles the number of files with secrets that it does not.
	Version     string `json:"version,omitempty"`
	ConfigFiles int    `json:"config_files,omitempty"`
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
	// Symlinks lead to the file.
	Symlinks []string `json:"symlinks,omitempty"`
	// Services are units that use the secret and must be ordered after the unit
	// that fetches it; a name without a suffix is a service.
	Services []string `json:"services,omitempty"`
}

func (o *OnePasswordSpec) validate() error {
	errs := []error{validPath("token_file", o.TokenFile)}
	for _, u := range o.Units {
		errs = append(errs, about("units", ValidUnit(u)))
	}
	for _, service := range o.Services {
		errs = append(errs, about("services", ValidUnit(asUnit(service))))
	}
	if len(o.Secrets) > mostSecrets {
		return errors.Join(append(errs, fmt.Errorf("more than %d secrets", mostSecrets))...)
	}
	for _, secret := range o.Secrets {
		errs = append(errs, about("secret "+clean(cmp.Or(secret.Name, secret.Path)), secret.validate()))
	}
	return errors.Join(errs...)
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
	if len(s.Symlinks) > mostSecrets {
		return fmt.Errorf("more than %d symlinks", mostSecrets)
	}
	for _, link := range s.Symlinks {
		if err := validPath("symlinks", link); err != nil || link == "" {
			return fmt.Errorf("symlinks must be absolute paths, not %q", clean(link))
		}
	}
	for _, service := range s.Services {
		if err := ValidUnit(asUnit(service)); err != nil {
			return err
		}
	}
	return nil
}

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
					{Name: "symlinks", Type: Texts, Text: "links that lead to it"},
					{Name: "services", Type: Texts, Text: "units that use it, and so start after OpNix's"},
				}},
				{Name: "services", Type: Texts, Default: "the configuration's", Text: "further units that start after OpNix's"},
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

// inquiry is one try: what it looks at, and everything it finds wanting.
type inquiry struct {
	attempt
	spec *OnePasswordSpec
	unit systemd.Unit
	// known are all units that were asked for, by id.
	known map[string]systemd.Unit
	// found are the flaws in the order in which they were met, causes before what
	// follows from them.
	found []finding
	notes []string
	// succeeded says that OpNix's last run fetched secrets, lost that a declared
	// secret is missing or empty.
	succeeded, lost bool
	// ranBefore says that the trial neither changed the unit nor, itself, ran it;
	// brokenBefore that what ran then had failed or found no token.
	ranBefore, brokenBefore bool
}

// try judges OpNix's unit and what it wrote. The unit alone proves little:
// without a token it warns and ends well, and it stays "active" for as long as
// the host is up. All that is wrong is told at once.
func (o *OnePasswordSpec) try(ctx context.Context, a attempt) finding {
	units, err := a.host.Systemd.Show(ctx, o.asked()...)
	if err != nil {
		return silent(secretsExpected, err)
	}
	in := &inquiry{attempt: a, spec: o, known: units}
	var loaded bool
	if in.unit, loaded = firstLoaded(in.known, o.units()); !loaded {
		return in.noUnit()
	}
	changed := a.host.Baseline.textChanged(in.unit)
	in.brokenBefore = a.host.Baseline.failedBefore(in.unit)
	in.ranBefore = !changed && (in.brokenBefore || a.host.Baseline.untouched(in.unit))
	in.judgeUnit(ctx)
	in.judgeToken()
	in.judgeFiles()
	if err := in.judgeConsumers(ctx); err != nil {
		in.found = append(in.found, silent(secretsExpected, err))
	}
	in.judgeFreshness(changed)
	in.noteUnits()
	return in.verdict()
}

const (
	opnixWatcher = "opnix-secrets-watcher.path"
	agentUnit    = "hercules-ci-agent.service"
)

// asked are all units that one look at systemd must show.
func (o *OnePasswordSpec) asked() []string {
	names := slices.Concat(o.names(), o.consumers(), []string{opnixWatcher, agentUnit})
	slices.Sort(names)
	return slices.Compact(names)
}

// names are the candidates and what else people take for the unit's name.
func (o *OnePasswordSpec) names() []string {
	return slices.Concat(o.units(), onePasswordUnits())
}

// firstLoaded picks the first of the candidates that is loaded.
func firstLoaded(units map[string]systemd.Unit, candidates []string) (systemd.Unit, bool) {
	for _, name := range candidates {
		if u, _ := named(units, name); u.Load == "loaded" {
			return u, true
		}
	}
	return systemd.Unit{}, false
}

func (in *inquiry) noUnit() finding {
	candidates := in.spec.units()
	f := fail("no-unit", "one of "+strings.Join(candidates, ", ")+" is loaded", "none is").because(in.spec.said("")).
		try("enable services.onepassword-secrets; OpNix older than 0.7 has no unit")
	for _, id := range slices.Sorted(maps.Keys(in.known)) {
		for _, name := range candidates {
			if namesUnit(in.known[id], name) {
				f = f.note(id + " names " + name + ", which does not exist")
			}
		}
	}
	return f
}

func namesUnit(u systemd.Unit, name string) bool {
	return slices.Contains(u.After, name) || slices.Contains(u.Wants, name) || slices.Contains(u.Requires, name)
}

func (in *inquiry) note(text string) { in.notes = append(in.notes, redact(text)) }

// verdict is the worst that was found; the rest is told beside it.
func (in *inquiry) verdict() finding {
	if len(in.found) == 0 {
		f := pass(secretsExpected, fmt.Sprintf("%s; %d secrets as declared", describe(in.unit), len(in.spec.Secrets)))
		f = f.because(in.spec.said(""))
		return in.tell(f, nil)
	}
	in.blameRemoteForLoss()
	worst := 0
	for i, f := range in.found {
		if badness(f) > badness(in.found[worst]) {
			worst = i
		}
	}
	others := slices.Concat(in.found[:worst], in.found[worst+1:])
	return in.tell(in.found[worst], others)
}

// blameRemoteForLoss makes it a failure that the network or 1Password is away where
// the host does not even have the last good secrets.
func (in *inquiry) blameRemoteForLoss() {
	for i, f := range in.found {
		if f.verdict == Unknown && isRemoteFault(f.class) && in.lost {
			in.found[i].verdict = Fail
			in.found[i].expected = secretsExpected + ", or the last ones are still there"
		}
	}
}

func badness(f finding) int {
	switch {
	case f.verdict == Fail:
		return 2
	case f.class != ClassFailedBefore:
		return 1
	}
	return 0
}

// tell adds what else was found, at most as much as a result takes.
func (in *inquiry) tell(f finding, others []finding) finding {
	var notes []string
	for _, o := range others {
		text := o.class + ": " + o.expected + ", but " + o.seen
		if o.evidence != "" {
			text += " (" + o.evidence + ")"
		}
		if o.hint != "" && o.hint != f.hint {
			text += "; " + o.hint
		}
		notes = append(notes, text)
	}
	notes = append(notes, in.notes...)
	if more := len(notes) - mostNotes; more > 0 {
		notes = append(notes[:mostNotes-1], fmt.Sprintf("and %d more", more+1))
	}
	f.notes = append(f.notes, notes...)
	if f.hint == "" {
		f.hint = in.aliasHint()
	}
	return f
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
