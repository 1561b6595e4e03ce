package hosts

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Kinds is what [Load] is told of probes: it knows none by itself.
type Kinds struct {
	// All are the kinds, in the order in which a person reads them.
	All []Kind
	// Check says what is wrong with a probe whose table has been read without a
	// fault, one message for each; nil where nobody knows. A message that begins
	// with, or names, a key of the table is shown at that key.
	Check func(Probe) []string
}

// Kind describes one kind of probes.
type Kind struct {
	Name string
	// Preset kinds need no table: a host may name them.
	Preset bool
	// Vantages are where it can run, [FromHost] or [FromDeployer], the default
	// first.
	Vantages []string
	Params   []Param
}

// Type is how a parameter is written, and what [Probe.Parameters] has for it.
type Type string

// The types of parameters.
const (
	Text     Type = "string"          // a string
	Texts    Type = "list of strings" // a []string
	Number   Type = "integer"         // an int64
	Flag     Type = "boolean"         // a bool
	Duration Type = "duration"        // a time.Duration, written as a string
	Tables   Type = "list of tables"  // a []map[string]any
	Unit     Type = "systemd unit"    // a string; a name without a suffix becomes a service
	Units    Type = "systemd units"   // a []string of those; one may be written without a list, and unit for units
)

// Valid says whether t is one of the types.
func (t Type) Valid() bool {
	return slices.Contains([]Type{Text, Texts, Number, Flag, Duration, Tables, Unit, Units}, t)
}

// Param describes a parameter of a kind.
type Param struct {
	Name     string
	Type     Type
	Required bool
	// Words are the only values that a text may have; none for any.
	Words []string
	// Example is a value to write where it is missing; one of its type if empty.
	Example string
	// Of are the parameters of each of [Tables].
	Of []Param
}

func (k Kinds) named(name string) (Kind, bool) {
	i := slices.IndexFunc(k.All, func(kind Kind) bool { return kind.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return k.All[i], true
}

func (k Kinds) names() []string {
	var all []string
	for _, kind := range k.All {
		all = append(all, kind.Name)
	}
	return all
}

// presets are the kinds that a host may name without a table.
func (k Kinds) presets() []string {
	var all []string
	for _, kind := range k.All {
		if kind.Preset {
			all = append(all, kind.Name)
		}
	}
	return all
}

// parameters reads what is written of the parameters; nil for nothing.
func (s *section) parameters(params []Param) map[string]any {
	var read map[string]any
	for _, p := range params {
		value := s.parameter(p)
		if value == nil {
			continue
		}
		if read == nil {
			read = map[string]any{}
		}
		read[p.Name] = value
	}
	return read
}

// parameter reads one; nil where there is none, or one with a fault.
func (s *section) parameter(p Param) any {
	key := s.spelling(p)
	f := s.table.field(key)
	if f == nil {
		s.ignoreKeys(key)
		if p.Required {
			s.d.fail(s.table.at, p.example(), "%s has no %s", s.where, p.Name)
		}
		return nil
	}
	before := len(s.d.faults)
	value := s.valueOf(p, key)
	if len(s.d.faults) > before {
		return nil
	}
	if list, ok := value.([]string); ok && p.Required && len(list) == 0 {
		s.d.fail(f.value.at, p.example(), "%s of %s is empty", key, s.where)
		return nil
	}
	return value
}

// spellings are the keys of a parameter of type [Units].
func (p Param) spellings() []string {
	singular := strings.TrimSuffix(p.Name, "s")
	return []string{singular, singular + "s"}
}

// spelling is the key under which a parameter stands: units may be called unit,
// and the other way round.
func (s *section) spelling(p Param) string {
	if p.Type != Units {
		return p.Name
	}
	keys := p.spellings()
	s.ignoreKeys(keys...)
	one, all := s.table.field(keys[0]), s.table.field(keys[1])
	switch {
	case one != nil && all != nil:
		s.d.fail(all.at, "one of the two", "%s has both %s and %s", s.where, keys[0], keys[1])
		return keys[0]
	case one != nil:
		return keys[0]
	case all != nil:
		return keys[1]
	}
	return p.Name
}

func (p Param) example() string {
	value := p.Example
	if value == "" {
		value = map[Type]string{
			Text: `"..."`, Texts: `["..."]`, Number: "1", Flag: "true", Duration: `"30s"`, Tables: "[{ ... }]", Unit: `"nginx.service"`, Units: `"nginx.service"`,
		}[p.Type]
	}
	return p.Name + " = " + value
}

func (s *section) valueOf(p Param, key string) any {
	switch p.Type {
	case Number:
		const largest = 1 << 53 // what JSON can hold
		number := 0
		s.integer(key, &number, -largest, largest)
		return int64(number)
	case Flag:
		flag := false
		s.boolean(key, &flag)
		return flag
	case Duration:
		var length time.Duration
		s.duration(key, &length, 0, 24*time.Hour)
		return length
	case Texts:
		var list []string
		s.strings(key, &list, oneOfWords(p.Words))
		return list
	case Units:
		var list []string
		s.units(key, &list)
		return list
	case Unit:
		name := ""
		s.text(key, &name, checkUnit)
		return withUnitType(name)
	case Tables:
		return s.tables(p, key)
	case Text:
	}
	text := ""
	if len(p.Words) > 0 {
		s.oneOf(key, &text, p.Words...)
	} else {
		s.text(key, &text, checkText)
	}
	return text
}

func (s *section) tables(p Param, key string) []map[string]any {
	list := s.lookup(key, kindArray)
	if list == nil {
		return nil
	}
	tables := []map[string]any{}
	for _, item := range list.items {
		if item.kind != kindTable {
			s.wrongType(item, "each of "+key, kindTable, "")
			continue
		}
		t := s.d.section("one of "+key+" of "+s.where, item)
		tables = append(tables, t.parameters(p.Of))
		t.refuseUnknownKeys()
	}
	return tables
}

// oneOfWords checks an item of a list.
func oneOfWords(words []string) check {
	return func(text string) (string, string) {
		if len(words) == 0 || slices.Contains(words, text) {
			return checkText(text)
		}
		return fmt.Sprintf("%q is none of %s", text, quotedList(words)), closest(text, words)
	}
}

// judge shows what the caller of Load finds wrong with a probe, each at the first
// key that the message names. Of a probe with faults it only shows what is about
// parameters that could be read: all else may follow from the faults.
func (s *section) judge(probe Probe, messages []string, faulty bool) {
	for _, message := range messages {
		keys := s.named(message)
		unread := func(key string) bool { _, read := probe.Parameters[key]; return !read }
		if faulty && (len(keys) == 0 || slices.ContainsFunc(keys, unread)) {
			continue
		}
		at := s.table.at
		if len(keys) > 0 {
			at = s.table.field(keys[0]).value.at
		}
		s.d.fail(at, "", "probe %s: %s", probe.Name, message)
	}
}

// named are the keys of the table that a message names.
func (s *section) named(message string) []string {
	var keys []string
	words := strings.FieldsFunc(message, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, word := range words {
		for _, key := range []string{word, word + "s"} {
			if s.table.field(key) != nil {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
