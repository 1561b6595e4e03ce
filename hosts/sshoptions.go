package hosts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

var directiveName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{1,63}$`)

// sshOptionsForm is a table from directives to values, of which a list stands for a
// directive that is written several times. A level replaces a directive of the level
// before.
func sshOptionsForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			table := s.lookup(name, kindTable)
			if table == nil {
				return
			}
			options := slices.Clone(into.SSHOptions)
			for _, f := range table.fields {
				same := func(o sshconfig.Option) bool { return strings.EqualFold(o.Directive, f.name) }
				options = append(slices.DeleteFunc(options, same), s.d.sshOption(name+" of "+s.where, f)...)
			}
			into.SSHOptions = options
		},
		schema: func(Kinds) schema {
			scalar := []schema{textSchema(""), {"type": "integer"}, {"type": "boolean"}}
			return schema{"type": "object", "propertyNames": schema{"pattern": directiveName.String()},
				"additionalProperties": schema{"anyOf": append(scalar, schema{"type": "array", "items": textSchema("")})}}
		},
		show: showSSHOptions,
	}
}

func showSSHOptions(h settings) any {
	values := map[string][]string{}
	for _, o := range h.SSHOptions {
		values[o.Directive] = append(values[o.Directive], o.Value)
	}
	if len(values) == 0 {
		return nil
	}
	options := map[string]any{}
	for directive, all := range values {
		if options[directive] = all; len(all) == 1 {
			options[directive] = all[0]
		}
	}
	return options
}

// sshOption reads the values of one directive, which only ssh_config understands.
func (d *decoder) sshOption(where string, f *field) []sshconfig.Option {
	if !directiveName.MatchString(f.name) {
		d.fail(f.at, "", "%q in %s is no directive of ssh_config", f.name, where)
		return nil
	}
	items := []*node{f.value}
	if f.value.kind == kindArray {
		items = f.value.items
	}
	var options []sshconfig.Option
	for _, item := range items {
		value := item.text
		switch item.kind {
		case kindString, kindInteger:
			if message, _ := checkArgument(value); message != "" {
				d.fail(item.at, "", "%s of %s: %s", f.name, where, message)
				return nil
			}
		case kindBoolean:
			value = map[string]string{"true": "yes", "false": "no"}[value]
		default:
			d.fail(item.at, fmt.Sprintf("%s = %q", f.name, "..."), "%s of %s must be written as in ssh_config, in a string, not %s", f.name, where, item.kind)
			return nil
		}
		options = append(options, sshconfig.Option{Directive: f.name, Value: value, Source: sshconfig.Source{File: d.file, Line: f.at.line}})
	}
	return options
}
