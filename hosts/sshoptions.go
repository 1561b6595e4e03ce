package hosts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// SSHOption is a directive as in ssh_config(5).
type SSHOption struct {
	// Directive is written as in deploy.toml; ssh_config does not tell upper from
	// lower case.
	Directive string
	// Values are its values, one for each line that ssh_config would have.
	Values []string
	// Said is where it stands.
	Said Origin
}

var directiveName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{1,63}$`)

// sshOptionsForm is a table from directives to values. A level replaces a directive
// of the level before.
func sshOptionsForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			table := s.lookup(name, kindTable)
			if table == nil {
				return
			}
			options := slices.Clone(into.SSHOptions)
			for _, f := range table.fields {
				option, ok := s.d.sshOption(name+" of "+s.where, f)
				if !ok {
					continue
				}
				option.Said = Origin{Level: "ssh_options", File: s.d.file, Line: f.at.line, Column: f.at.column}
				same := func(o SSHOption) bool { return strings.EqualFold(o.Directive, f.name) }
				options = append(slices.DeleteFunc(options, same), option)
			}
			into.SSHOptions = options
		},
		schema: func(Kinds) schema {
			scalar := []schema{textSchema(""), {"type": "integer"}, {"type": "boolean"}}
			return schema{"type": "object", "propertyNames": schema{"pattern": directiveName.String()},
				"additionalProperties": schema{"anyOf": append(scalar, schema{"type": "array", "items": textSchema("")})}}
		},
		show: func(h settings) any {
			options := map[string]any{}
			for _, o := range h.SSHOptions {
				if options[o.Directive] = any(o.Values); len(o.Values) == 1 {
					options[o.Directive] = o.Values[0]
				}
			}
			if len(options) == 0 {
				return nil
			}
			return options
		},
	}
}

func (d *decoder) sshOption(where string, f *field) (SSHOption, bool) {
	option := SSHOption{Directive: f.name}
	if !directiveName.MatchString(f.name) {
		d.fail(f.at, "", "%q in %s is no directive of ssh_config", f.name, where)
		return option, false
	}
	items := []*node{f.value}
	if f.value.kind == kindArray {
		items = f.value.items
	}
	for _, item := range items {
		switch item.kind {
		case kindString, kindInteger:
			if message, _ := checkArgument(item.text); message != "" {
				d.fail(item.at, "", "%s of %s: %s", f.name, where, message)
				return option, false
			}
			option.Values = append(option.Values, item.text)
		case kindBoolean:
			option.Values = append(option.Values, map[string]string{"true": "yes", "false": "no"}[item.text])
		default:
			d.fail(item.at, fmt.Sprintf("%s = %q", f.name, "..."), "%s of %s must be written as in ssh_config, in a string, not %s", f.name, where, item.kind)
			return option, false
		}
	}
	return option, true
}
