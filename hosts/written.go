package hosts

import (
	"slices"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// sshConfig reads which ssh_config is honoured: true, false, or a path.
func (d *decoder) sshConfig(top *section) (none bool, path string) {
	top.ignoreKeys("ssh_config")
	f := top.table.field("ssh_config")
	switch {
	case f == nil:
	case f.value.kind == kindBoolean:
		none = f.value.text == "false"
	case f.value.kind != kindString:
		top.wrongType(f.value, "ssh_config", "true, false or a path", "ssh_config = true")
	case top.accepts(f.value, "ssh_config", checkWord):
		path = d.absolutePaths([]string{f.value.text})[0]
	}
	return none, path
}

// sshOptions reads a table from directives to values.
func (s *section) sshOptions(into *settings) {
	table := s.lookup("ssh_options", kindTable)
	if table == nil {
		return
	}
	for _, f := range table.fields {
		if f.value.kind != kindString && f.value.kind != kindInteger {
			s.d.fail(f.value.at, "", "%s of ssh_options of %s must be written as in ssh_config, in a string, not %s", f.name, s.where, f.value.kind)
			continue
		}
		into.options = append(into.options, sshconfig.Option{
			Directive: f.name, Value: f.value.text, Source: sshconfig.Source{File: s.d.file, Line: f.at.line},
		})
	}
}

// sayings are what the file settles of a machine, by one or several of its tables.
func sayings(options []sshconfig.Option, tables ...*node) Sayings {
	return Sayings{Options: options, Said: func(key string) bool {
		return slices.ContainsFunc(tables, func(table *node) bool {
			if table == nil {
				return false
			}
			if key == "timeouts.connect" {
				timeouts := table.field("timeouts")
				return timeouts != nil && timeouts.value.field("connect") != nil
			}
			return table.field(key) != nil
		})
	}}
}

// tableOf is a table of the file, or nil.
func tableOf(root *node, path ...string) *node {
	for _, name := range path {
		f := root.field(name)
		if f == nil || f.value.kind != kindTable {
			return nil
		}
		root = f.value
	}
	return root
}

// applySSHConfig asks ssh_config what the file leaves open.
func (d *decoder) applySSHConfig(top *section, inv *Inventory, jumps map[string]Jump, options map[string][]sshconfig.Option) {
	none, path := d.sshConfig(top)
	if len(d.faults) > 0 {
		return
	}
	config, err := OpenSSHConfig(none, path)
	if err != nil {
		d.failSSH("", err)
		return
	}
	says, jumpSays := map[string]Sayings{}, map[string]Sayings{}
	var all []*Host
	for i := range inv.Hosts {
		host := &inv.Hosts[i]
		all = append(all, host)
		says[host.Name] = sayings(options[host.Name], tableOf(top.table, "hosts", host.Name), tableOf(top.table, "defaults"))
	}
	for name := range jumps {
		jumpSays[name] = sayings(nil, tableOf(top.table, "jumps", name))
	}
	d.connect(newConnector(config, all, says, jumps, jumpSays))
}
