package hosts

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// decoder reads values out of a tree and collects every fault on the way. A
// value with a fault keeps its default, so that one fault is reported once.
type decoder struct {
	file   string
	folder string
	kinds  Kinds
	faults ConfigErrors
	// told keeps the faults of a table that is read for many hosts from being
	// reported once for each.
	told map[told]bool
}

type told struct {
	at      position
	message string
}

func (d *decoder) fail(at position, suggestion, format string, args ...any) {
	message := printable(fmt.Sprintf(format, args...))
	if d.told[told{at, message}] {
		return
	}
	if d.told == nil {
		d.told = map[told]bool{}
	}
	d.told[told{at, message}] = true
	d.faults = append(d.faults, &ConfigError{
		File: d.file, Line: at.line, Column: at.column, Message: message, Suggestion: printable(suggestion),
	})
}

// section is one table of the file. It remembers every key it was asked for:
// these, and no others, are the keys the table may have.
type section struct {
	d     *decoder
	where string
	table *node
	known []string
	// origins notes where the settings of a host come from, nil elsewhere.
	origins *recorder
}

// section starts reading a table; where names it in messages.
func (d *decoder) section(where string, table *node) *section {
	return &section{d: d, where: where, table: table}
}

// refuseUnknownKeys reports the keys nobody asked for. It comes last.
func (s *section) refuseUnknownKeys() {
	for _, f := range s.table.fields {
		if slices.Contains(s.known, f.name) {
			continue
		}
		s.d.fail(f.at, s.meant(f.name), "unknown key %q in %s", f.name, s.where)
	}
}

// ignoreKeys declares keys that another reader of the same table handles.
func (s *section) ignoreKeys(keys ...string) { s.known = append(s.known, keys...) }

// at returns where the first present of these keys has its value.
func (s *section) at(keys ...string) position {
	for _, key := range keys {
		if f := s.table.field(key); f != nil {
			return f.value.at
		}
	}
	return s.table.at
}

// lookup returns the value of key, or nil when it is absent or has another
// type, which it reports.
func (s *section) lookup(key string, want kind) *node {
	s.known = append(s.known, key)
	f := s.table.field(key)
	if f == nil {
		return nil
	}
	if f.value.kind != want {
		s.wrongType(f.value, key, want, "")
		return nil
	}
	return f.value
}

func (s *section) wrongType(value *node, key string, want kind, suggestion string) {
	if suggestion == "" {
		suggestion = rewritten(value, key, want)
	}
	s.d.fail(value.at, suggestion, "%s of %s must be %s, not %s", key, s.where, want, value.kind)
}

// commandKeys are those whose value is a command, word by word.
func commandKeys() []string { return []string{"argv", "activate", "rollback", "check", "command"} }

// rewritten guesses what the author of a value of the wrong type meant.
func rewritten(value *node, key string, want kind) string {
	switch {
	case want == kindArray && value.kind == kindString && isOneOf(key, commandKeys()):
		return fmt.Sprintf("%s = [%s]", key, quotedList(strings.Fields(value.text)))
	case want == kindArray && value.kind == kindString:
		return fmt.Sprintf("%s = [%q]", key, value.text)
	case want == kindInteger && value.kind == kindString:
		if _, err := value.number(); err == nil {
			return key + " = " + value.text
		}
	case want == kindBoolean && (value.text == "true" || value.text == "false"):
		return key + " = " + value.text
	case want == kindString && len(value.items) == 1 && value.items[0].kind == kindString:
		return fmt.Sprintf("%s = %q", key, value.items[0].text)
	}
	return ""
}

// check judges a text: message says what is wrong, and is empty when nothing
// is; suggestion is the text to write instead, if one can be told.
type check func(text string) (message, suggestion string)

// text reads a string.
func (s *section) text(key string, into *string, valid check) {
	if value := s.lookup(key, kindString); value != nil && s.accepts(value, key, valid) {
		*into = value.text
	}
}

func (s *section) accepts(value *node, key string, valid check) bool {
	message, suggestion := valid(value.text)
	if message == "" {
		return true
	}
	if suggestion != "" && !strings.Contains(suggestion, " = ") {
		suggestion = fmt.Sprintf("%q", suggestion)
	}
	s.d.fail(value.at, suggestion, "%s of %s: %s", key, s.where, message)
	return false
}

// oneOf reads a string that must be one of the words, and reports whether
// *into holds a valid one afterwards.
func (s *section) oneOf(key string, into *string, words ...string) bool {
	s.known = append(s.known, key)
	if s.table.field(key) == nil {
		return true
	}
	value := s.lookup(key, kindString)
	if value == nil {
		return false
	}
	if !slices.Contains(words, value.text) {
		suggestion := "one of " + quotedList(words)
		if like := closest(value.text, words); like != "" {
			suggestion = fmt.Sprintf("%s = %q", key, like)
		}
		s.d.fail(value.at, suggestion, "%s of %s cannot be %q", key, s.where, value.text)
		return false
	}
	*into = value.text
	return true
}

// strings reads a list of strings that may repeat, such as an argv.
func (s *section) strings(key string, into *[]string, valid check) bool {
	items, ok := s.list(key, valid)
	if ok {
		*into = texts(items)
	}
	return ok
}

// argv reads the words of a command, of which there is at least one.
func (s *section) argv(key string, into *[]string, valid check) {
	before := len(s.d.faults)
	if s.strings(key, into, valid) && len(s.d.faults) == before && (len(*into) == 0 || (*into)[0] == "") {
		s.d.fail(s.at(key), key+` = ["program", "argument"]`, "%s of %s names no program", key, s.where)
	}
}

// distinct reads a list of strings that may not repeat.
func (s *section) distinct(key string, valid check) ([]*node, bool) {
	items, ok := s.list(key, valid)
	seen := map[string]bool{}
	for _, item := range items {
		if seen[item.text] {
			s.d.fail(item.at, "", "%q stands twice in %s of %s", item.text, key, s.where)
		}
		seen[item.text] = true
	}
	return items, ok
}

// extend is the key of a list that is added to what the level before said.
const extend = "extend"

// extendable is distinct for a list that may also be written { extend = [...] }, and
// says whether it is.
func (s *section) extendable(key string, valid check) (items []*node, extends, ok bool) {
	f := s.table.field(key)
	if f == nil || f.value.kind != kindTable {
		items, ok = s.distinct(key, valid)
		return items, false, ok
	}
	s.ignoreKeys(key)
	if f.value.field(extend) == nil {
		s.d.fail(f.value.at, key+" = { extend = [...] }", "%s of %s must be a list, or a table with the key extend", key, s.where)
		return nil, true, false
	}
	inner := s.d.section(key+" of "+s.where, f.value)
	items, ok = inner.distinct(extend, valid)
	inner.refuseUnknownKeys()
	return items, true, ok
}

// mostItems caps a list, which every host may have for itself.
const mostItems = 256

// list returns the valid strings of a list, and whether the key is present as
// a list at all.
func (s *section) list(key string, valid check) ([]*node, bool) {
	value := s.lookup(key, kindArray)
	if value == nil {
		return nil, false
	}
	if len(value.items) > mostItems {
		s.d.fail(value.at, "", "%s of %s has %d items, which are more than %d", key, s.where, len(value.items), mostItems)
		return nil, false
	}
	items := []*node{}
	for _, item := range value.items {
		if item.kind != kindString {
			s.d.fail(item.at, rewrittenItem(item), "%s of %s must be a list of strings; this is %s", key, s.where, item.kind)
		} else if s.accepts(item, key, valid) {
			items = append(items, item)
		}
	}
	return items, true
}

func rewrittenItem(item *node) string {
	if item.text == "" {
		return ""
	}
	return fmt.Sprintf("%q", item.text)
}

func texts(items []*node) []string {
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = item.text
	}
	return list
}

// integer reads a whole number between least and most.
func (s *section) integer(key string, into *int, least, most int) {
	value := s.lookup(key, kindInteger)
	if value == nil {
		return
	}
	number, err := value.number()
	if err != nil || number < int64(least) || number > int64(most) {
		s.d.fail(value.at, "", "%s of %s must be between %d and %d, not %s", key, s.where, least, most, value.text)
		return
	}
	*into = int(number)
}

func (s *section) boolean(key string, into *bool) {
	if value := s.lookup(key, kindBoolean); value != nil {
		*into = value.text == "true"
	}
}

// duration reads a string such as "90s" or "5m" between least and most.
func (s *section) duration(key string, into *time.Duration, least, most time.Duration) {
	s.known = append(s.known, key)
	f := s.table.field(key)
	if f == nil {
		return
	}
	if f.value.kind == kindInteger || f.value.kind == kindFloat {
		s.wrongType(f.value, key, kindString, fmt.Sprintf(`%s = "%ss"`, key, f.value.text))
		return
	}
	value := s.lookup(key, kindString)
	if value == nil {
		return
	}
	length, err := time.ParseDuration(value.text)
	switch {
	case err != nil:
		s.d.fail(value.at, fmt.Sprintf("%s = %q", key, durationLike(value.text, *into)), "%s of %s: %q is no duration", key, s.where, value.text)
	case length < least || length > most:
		s.d.fail(value.at, "", "%s of %s must be between %s and %s, not %s", key, s.where, short(least), short(most), short(length))
	default:
		*into = length
	}
}

// durationLike guesses the duration that was meant: a bare number is seconds.
func durationLike(text string, fallback time.Duration) string {
	if _, err := time.ParseDuration(text + "s"); err == nil {
		return text + "s"
	}
	compact := strings.NewReplacer(" ", "", "seconds", "s", "second", "s", "sec", "s", "minutes", "m", "minute", "m", "min", "m", "hours", "h", "hour", "h").Replace(strings.ToLower(text))
	if _, err := time.ParseDuration(compact); err == nil {
		return compact
	}
	if fallback <= 0 {
		fallback = 30 * time.Second
	}
	return short(fallback)
}

// short prints a duration without the trailing zero units of String.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// units reads unit names: one string, or a list.
func (s *section) units(key string, into *[]string) {
	f := s.table.field(key)
	if f != nil && f.value.kind == kindString {
		if s.accepts(f.value, key, checkUnit) {
			*into = []string{withUnitType(f.value.text)}
		}
		return
	}
	if f != nil && f.value.kind != kindArray {
		s.d.fail(f.value.at, "", "%s of %s must be a string or a list, not %s", key, s.where, f.value.kind)
		s.ignoreKeys(key)
		return
	}
	items, ok := s.distinct(key, checkUnit)
	if !ok {
		return
	}
	*into = []string{}
	for _, item := range items {
		*into = append(*into, withUnitType(item.text))
	}
}

// withUnitType completes a name the way systemctl does.
func withUnitType(name string) string {
	if unitType.MatchString(name) {
		return name
	}
	return name + ".service"
}
