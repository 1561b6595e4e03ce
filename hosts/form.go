package hosts

import (
	"time"
)

// key is one key of a table that is read into a T: what it is called, what it means
// to a person in an editor, and how it is written. The decoder, the schema, the
// answer of [Effective] and the check of the documentation all go by the same keys,
// so that none of them can know one that the others do not.
type key[T any] struct {
	name, about string
	form[T]
}

// form is how a value is written.
type form[T any] struct {
	// read reads the value of the key, which is there. It reports faults by itself.
	read func(s *section, name string, into *T)
	// schema describes the values that read takes.
	schema func(Kinds) schema
	// show is the value that holds, as one of TOML's types, durations as a string;
	// nil for none. It is nil for keys that are no setting.
	show func(T) any
	// nested describes the keys of a table one by one; nil for all other forms.
	nested func(prefix string, value T) []Setting
}

// readKeys reads those of the keys that the table has.
func readKeys[T any](s *section, keys []key[T], into *T) {
	for _, k := range keys {
		s.ignoreKeys(k.name)
		if f := s.table.field(k.name); f != nil {
			s.noteOrigin(k.name, f)
			k.read(s, k.name, into)
		}
	}
}

func keyNames[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// withoutKeys are the keys but for those of these names.
func withoutKeys[T any](keys []key[T], names ...string) []key[T] {
	var rest []key[T]
	for _, k := range keys {
		if !isOneOf(k.name, names) {
			rest = append(rest, k)
		}
	}
	return rest
}

// orNil makes an empty value none.
func orNil[V comparable](value V) any {
	var none V
	if value == none {
		return nil
	}
	return value
}

func textForm[T any](valid check, pattern string, of func(*T) *string) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.text(name, of(into), valid) },
		schema: func(Kinds) schema { return textSchema(pattern) },
		show:   func(value T) any { return orNil(*of(&value)) },
	}
}

func wordForm[T any](of func(*T) *string, words ...string) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.oneOf(name, of(into), words...) },
		schema: func(Kinds) schema { return schema{"type": "string", "enum": words} },
		show:   func(value T) any { return orNil(*of(&value)) },
	}
}

func integerForm[T any](least, most int, of func(*T) *int) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.integer(name, of(into), least, most) },
		schema: func(Kinds) schema { return schema{"type": "integer", "minimum": least, "maximum": most} },
		show:   func(value T) any { return orNil(*of(&value)) },
	}
}

func flagForm[T any](of func(*T) *bool) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.boolean(name, of(into)) },
		schema: func(Kinds) schema { return schema{"type": "boolean"} },
		show:   func(value T) any { return *of(&value) },
	}
}

func durationForm[T any](least, most time.Duration, of func(*T) *time.Duration) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.duration(name, of(into), least, most) },
		schema: func(Kinds) schema { return durationSchema(least, most) },
		show: func(value T) any {
			if length := *of(&value); length != 0 {
				return short(length)
			}
			return nil
		},
	}
}

// argvForm is the words of a command. They are one value: no level adds to them.
func argvForm[T any](valid check, of func(*T) *[]string) form[T] {
	return form[T]{
		read:   func(s *section, name string, into *T) { s.argv(name, of(into), valid) },
		schema: func(Kinds) schema { return schema{"type": "array", "items": textSchema(""), "minItems": 1} },
		show:   func(value T) any { return listOrNil(*of(&value)) },
	}
}

func listOrNil(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// listForm is a list of distinct strings, which replaces what the level before said,
// or extends it.
func listForm[T any](valid check, pattern string, of func(*T) *[]string, as func(*section, string) string) form[T] {
	return form[T]{
		read: func(s *section, name string, into *T) {
			items, extends, ok := s.extendable(name, valid)
			if !ok {
				return
			}
			var list []string
			if extends {
				list = append(list, *of(into)...)
			}
			for _, item := range items {
				if text := as(s, item.text); !isOneOf(text, list) {
					list = append(list, text)
				}
			}
			*of(into) = list
		},
		schema: func(Kinds) schema { return listSchema(pattern) },
		show:   func(value T) any { return listOrNil(*of(&value)) },
	}
}

// useForm is a list of names that stand for something which may be written further
// down: they are looked up when all was read.
func useForm[T any](of func(*T) *[]*node, resolved func(T) []string) form[T] {
	return form[T]{
		read: func(s *section, name string, into *T) {
			items, extends, ok := s.extendable(name, checkName)
			if !ok {
				return
			}
			var list []*node
			if extends {
				list = append(list, *of(into)...)
			}
			before := texts(list)
			for _, item := range items {
				if !isOneOf(item.text, before) {
					list = append(list, item)
				}
			}
			*of(into) = list
		},
		schema: func(Kinds) schema { return listSchema(namePattern) },
		show:   func(value T) any { return listOrNil(resolved(value)) },
	}
}

// tableForm is a table with keys of its own. Level by level it is completed key by
// key. begin returns what is read into, show nil where there is none.
func tableForm[T, U any](keys []key[U], begin func(*T) *U, shown func(T) *U) form[T] {
	return form[T]{
		read: func(s *section, name string, into *T) {
			table := s.lookup(name, kindTable)
			if table == nil {
				return
			}
			inner := s.d.section(name+" of "+s.where, table)
			inner.origins = s.origins.below(name)
			readKeys(inner, keys, begin(into))
			inner.refuseUnknownKeys()
		},
		schema: func(kinds Kinds) schema { return tableSchema(kinds, keys) },
		nested: func(prefix string, value T) []Setting {
			if inner := shown(value); inner != nil {
				return settingsOf(prefix, keys, *inner)
			}
			return nil
		},
	}
}
