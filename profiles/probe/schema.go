package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// schema is the part of JSON Schema (draft 2020-12) that tells whether a file
// has the fields that a program needs. A keyword that it does not know is
// refused, since passing it over would judge less than was written down. It is
// not a library because what a library says of a document quotes it.
type schema struct {
	Types      oneOrMore          `json:"type"`
	Enum       []json.RawMessage  `json:"enum"`
	Const      json.RawMessage    `json:"const"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Additional *schema            `json:"additionalProperties"`
	AnyOf      []*schema          `json:"anyOf"`
	Items      *schema            `json:"items"`
	MinItems   int                `json:"minItems"`
	MinMembers int                `json:"minProperties"`
	MinLength  int                `json:"minLength"`

	// nothing is the schema false.
	nothing bool
}

// oneOrMore is a string or a list of them.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(o))
}

const (
	longestSchema = 16 << 10
	deepestSchema = 32
)

func schemaTypes() []string {
	return []string{"object", "array", "string", "number", "integer", "boolean", "null"}
}

func (s *schema) UnmarshalJSON(text []byte) error {
	switch string(bytes.TrimSpace(text)) {
	case "true":
		return nil
	case "false":
		s.nothing = true
		return nil
	case "null":
		return errors.New("null is no schema")
	}
	type plain schema
	decoder := json.NewDecoder(bytes.NewReader(withoutRemarks(text)))
	decoder.DisallowUnknownFields()
	return decoder.Decode((*plain)(s))
}

// withoutRemarks leaves out the keywords that judge nothing.
func withoutRemarks(text []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return text
	}
	for _, remark := range []string{"$schema", "$id", "$comment", "title", "description"} {
		delete(fields, remark)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return text
}

func parseSchema(text string) (*schema, error) {
	if len(text) > longestSchema {
		return nil, fmt.Errorf("it must be at most %d bytes", longestSchema)
	}
	s := &schema{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, err
	}
	return s, s.validate(0)
}

func (s *schema) validate(depth int) error {
	if s == nil {
		return nil
	}
	if depth > deepestSchema {
		return fmt.Errorf("it is nested more than %d times", deepestSchema)
	}
	for _, name := range s.Types {
		if !slices.Contains(schemaTypes(), name) {
			return fmt.Errorf("%q is not a type of JSON", clean(name))
		}
	}
	if s.MinItems < 0 || s.MinMembers < 0 || s.MinLength < 0 {
		return errors.New("a least number must not be negative")
	}
	if slices.Contains(slices.Collect(maps.Values(s.Properties)), nil) || slices.Contains(s.AnyOf, nil) {
		return errors.New("null is no schema")
	}
	if s.AnyOf != nil && len(s.AnyOf) == 0 || s.Enum != nil && len(s.Enum) == 0 {
		return errors.New("nothing fits an empty anyOf or enum")
	}
	inner := append(slices.Collect(maps.Values(s.Properties)), s.Additional, s.Items)
	inner = append(inner, s.AnyOf...)
	for _, s := range inner {
		if err := s.validate(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// check says what of a document does not fit, in words of the schema alone;
// empty for nothing. The document is JSON.
func (s *schema) check(document []byte) string {
	return s.checkAt("the document", document)
}

func (s *schema) checkAt(where string, document json.RawMessage) string {
	if s == nil {
		return ""
	}
	if s.nothing {
		return where + " must not be there"
	}
	for _, check := range []func(string, json.RawMessage) string{s.checkValue, s.checkObject, s.checkArray, s.checkString} {
		if problem := check(where, document); problem != "" {
			return problem
		}
	}
	return ""
}

func (s *schema) checkValue(where string, document json.RawMessage) string {
	if len(s.Types) > 0 && !slices.ContainsFunc(s.Types, func(name string) bool { return isOfType(document, name) }) {
		return fmt.Sprintf("%s is not of type %s", where, strings.Join(s.Types, " or "))
	}
	if len(s.Const) > 0 && !sameJSON(document, s.Const) {
		return where + " is not the constant of the schema"
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(v json.RawMessage) bool { return sameJSON(document, v) }) {
		return where + " is none of the values of the schema"
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(s *schema) bool { return s.checkAt(where, document) == "" }) {
		return where + " fits none of the schemas of anyOf"
	}
	return ""
}

func (s *schema) checkObject(where string, document json.RawMessage) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil || members == nil {
		return ""
	}
	if len(members) < s.MinMembers {
		return fmt.Sprintf("%s has fewer than %d members", where, s.MinMembers)
	}
	for _, name := range s.Required {
		if _, ok := members[name]; !ok {
			return fmt.Sprintf("%s has no %q", where, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		inner, known := s.Properties[name]
		at := fmt.Sprintf("%q in %s", name, where)
		if !known {
			// The name is the document's own, and may be what is secret.
			inner, at = s.Additional, "a member that the schema does not name, in "+where
		}
		if problem := inner.checkAt(at, members[name]); problem != "" {
			return problem
		}
	}
	return ""
}

func (s *schema) checkArray(where string, document json.RawMessage) string {
	var items []json.RawMessage
	if json.Unmarshal(document, &items) != nil || items == nil {
		return ""
	}
	if len(items) < s.MinItems {
		return fmt.Sprintf("%s has fewer than %d items", where, s.MinItems)
	}
	for _, item := range items {
		if problem := s.Items.checkAt("an item of "+where, item); problem != "" {
			return problem
		}
	}
	return ""
}

func (s *schema) checkString(where string, document json.RawMessage) string {
	var text string
	if !isOfType(document, "string") || json.Unmarshal(document, &text) != nil || utf8.RuneCountInString(text) >= s.MinLength {
		return ""
	}
	return where + " is shorter than the schema allows"
}

// isOfType looks at the first byte: the document is JSON already.
func isOfType(document json.RawMessage, name string) bool {
	document = bytes.TrimSpace(document)
	switch document[0] {
	case '{':
		return name == "object"
	case '[':
		return name == "array"
	case '"':
		return name == "string"
	case 't', 'f':
		return name == "boolean"
	case 'n':
		return name == "null"
	}
	return name == "number" || name == "integer" && isWhole(document)
}

func isWhole(number json.RawMessage) bool {
	var f float64
	return json.Unmarshal(number, &f) == nil && f == float64(int64(f))
}

func sameJSON(a, b json.RawMessage) bool {
	var left, right any
	if json.Unmarshal(a, &left) != nil || json.Unmarshal(b, &right) != nil {
		return false
	}
	x, errX := json.Marshal(left)
	y, errY := json.Marshal(right)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
