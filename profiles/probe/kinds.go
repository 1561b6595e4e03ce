package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Kind names what a probe looks at.
type Kind = string

// The kinds of probes. The last two are presets: they know a service well
// enough to tell a broken host from a cloud that is down.
const (
	KindUnit             Kind = "unit"
	KindHTTP             Kind = "http"
	KindTCP              Kind = "tcp"
	KindDNS              Kind = "dns"
	KindCommand          Kind = "command"
	KindJournal          Kind = "journal"
	KindFile             Kind = "file"
	KindSecret           Kind = "secret"
	KindNoNewFailedUnits Kind = "no-new-failed-units"
	KindCurrentSystem    Kind = "current-system"
	KindFailedJobs       Kind = "failed-jobs"
	KindSocket           Kind = "socket"
	KindOnePassword      Kind = "onepassword-secrets"
	KindHercules         Kind = "hercules-ci-agent"
)

// Question is what a probe asks: each kind has a type of its own, and its JSON
// is the parameters under the names that deploy.toml has for them.
type Question interface {
	// validate says what is wrong with the parameters.
	validate() error
	// try asks once, within the context's deadline. It neither waits nor repeats.
	try(ctx context.Context, a attempt) finding
	// units names the units that it is about.
	units() []string
}

// About is what is known of a kind, for people and for whoever reads deploy.toml.
type About struct {
	Kind Kind `json:"kind"`
	// Preset kinds need no parameters: a host may name them without a table.
	Preset bool `json:"preset"`
	// Text says in a sentence what passes.
	Text string `json:"about"`
	// Vantages are where it can run, the default first.
	Vantages []string `json:"from"`
	Params   []Param  `json:"parameters"`
}

// The types of parameters, as deploy.toml writes them.
const (
	Text     = "string"
	Texts    = "list of strings"
	Number   = "integer"
	Flag     = "boolean"
	Duration = "duration"
	Tables   = "list of tables"
)

// Param is a parameter of a kind.
type Param struct {
	Name string `json:"name"`
	// Type is one of the types above.
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	// Default is what holds where nothing is given, as deploy.toml would write it.
	Default string `json:"default,omitempty"`
	// Example is a value as deploy.toml writes it, for who left out what is required.
	Example string `json:"example,omitempty"`
	// Words are the only values there are; none for any.
	Words []string `json:"words,omitempty"`
	Text  string   `json:"about"`
	// Of are the parameters of each of Tables.
	Of []Param `json:"of,omitempty"`
}

// kind is an entry of the catalogue.
type kind struct {
	About
	// question is a new one with what has a default.
	question func() Question
	// defaults changes what else is the kind's own; nil for nothing.
	defaults func(*Spec)
}

// kinds is the catalogue, in the order in which people read it.
func kinds() []kind {
	return []kind{
		unitKind(),
		httpKind(),
		tcpKind(),
		dnsKind(),
		commandKind(),
		journalKind(),
		fileKind(),
		secretKind(),
		noNewFailedUnitsKind(),
		failedJobsKind(),
		socketKind(),
		currentSystemKind(),
		onePasswordKind(),
		herculesKind(),
	}
}

func kindOf(name Kind) (kind, bool) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.Kind == name })
	if i < 0 {
		return kind{}, false
	}
	return all[i], true
}

// Catalogue lists every kind.
func Catalogue() []About {
	var all []About
	for _, k := range kinds() {
		all = append(all, k.About)
	}
	return all
}

// UnmarshalJSON reads a spec. The error is that of JSON of another shape, of a
// kind that is not known, or of parameters that it does not have.
func (s *Spec) UnmarshalJSON(text []byte) error {
	type plain Spec
	raw := struct {
		*plain
		Ask json.RawMessage `json:"ask"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	k, ok := kindOf(s.Kind)
	if !ok {
		return fmt.Errorf("probe %s: unknown kind %q", clean(s.Name), clean(s.Kind))
	}
	s.Ask = k.question()
	if len(raw.Ask) == 0 {
		return nil
	}
	return json.Unmarshal(raw.Ask, s.Ask)
}
