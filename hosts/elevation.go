package hosts

import "slices"

// elevations are the words for what makes a command run as root. None of them asks
// for a password by itself.
func elevations() map[string][]string {
	return map[string][]string{
		"sudo": {"sudo", "-n", "--"},
		"doas": {"doas", "-n", "--"},
		"run0": {"run0", "--no-ask-password", "--"},
		"none": nil,
	}
}

func elevationWords() []string { return []string{"sudo", "doas", "run0", "none"} }

// elevationForm is a word or an argv.
func elevationForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			f := s.table.field(name)
			switch f.value.kind {
			case kindArray:
				s.strings(name, &into.Elevation, checkArgument)
			case kindString:
				word := ""
				if s.oneOf(name, &word, elevationWords()...) {
					into.Elevation = slices.Clone(elevations()[word])
				}
			default:
				s.wrongType(f.value, name, "a word or a list", `elevation = "sudo"`)
			}
		},
		schema: func(Kinds) schema {
			return schema{"anyOf": []schema{
				{"type": "string", "enum": elevationWords()},
				{"type": "array", "items": textSchema("")},
			}}
		},
		show: func(h settings) any {
			for _, word := range elevationWords() {
				if slices.Equal(h.Elevation, elevations()[word]) {
					return word
				}
			}
			return listOrNil(h.Elevation)
		},
	}
}

func passwordKeys() []key[Password] {
	return []key[Password]{
		{"file", "A file here whose first line is the password.", form[Password]{
			read: func(s *section, name string, into *Password) {
				s.text(name, &into.File, checkWord)
				if into.File != "" {
					into.File = s.d.absolutePath(into.File)
				}
			},
			schema: func(Kinds) schema { return textSchema("^[^-]") },
		}},
		{"command", "A command here that prints the password.", argvForm(checkArgument, func(p *Password) *[]string { return &p.Command })},
	}
}

// passwordForm is "ask", or a table with one of two keys. Levels replace it as a
// whole, since its keys exclude each other.
func passwordForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			f := s.table.field(name)
			switch f.value.kind {
			case kindString:
				if f.value.text != "ask" {
					// The text is not repeated: it may be the password.
					s.d.fail(f.value.at, `"ask", { file = "..." } or { command = ["..."] }`, "%s of %s: a password does not belong into this file", name, s.where)
				}
				into.Password = Password{Ask: true}
			case kindTable:
				into.Password = s.d.password(name+" of "+s.where, f.value)
			default:
				s.wrongType(f.value, name, "a word or a table", `elevation_password = "ask"`)
			}
		},
		schema: func(kinds Kinds) schema {
			table := tableSchema(kinds, passwordKeys())
			table["minProperties"], table["maxProperties"] = 1, 1
			return schema{"anyOf": []schema{{"type": "string", "enum": []string{"ask"}}, table}}
		},
		show: func(h settings) any {
			switch {
			case h.Password.Ask:
				return "ask"
			case h.Password.File != "":
				return map[string]any{"file": h.Password.File}
			case len(h.Password.Command) > 0:
				return map[string]any{"command": h.Password.Command}
			}
			return nil
		},
	}
}

func (d *decoder) password(where string, table *node) Password {
	var p Password
	before := len(d.faults)
	s := d.section(where, table)
	readKeys(s, passwordKeys(), &p)
	s.refuseUnknownKeys()
	if len(d.faults) == before && (p.File == "") == (len(p.Command) == 0) {
		d.fail(table.at, `"ask", { file = "..." } or { command = ["..."] }`, "%s must be a file or a command, and not both", where)
	}
	return p
}
