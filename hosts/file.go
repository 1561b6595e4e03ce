package hosts

import (
	"fmt"
	"maps"
	"slices"
)

// document is the top level of the file: what stands alone in it, and its tables
// before they are read.
type document struct {
	flake     string
	sshConfig string

	defaults, tags, hosts, jumps, probes *node
}

func fileKeys() []key[document] {
	return []key[document]{
		{"flake", "The flake reference, as Nix takes it; relative to the folder of the file.", form[document]{
			read:   func(s *section, name string, into *document) { s.text(name, &into.flake, checkFlake) },
			schema: func(Kinds) schema { s := textSchema("^[^#-][^#]*$"); s["default"] = "."; return s },
		}},
		{"ssh_config", "Whether ~/.ssh/config and /etc/ssh/ssh_config are honoured, or the file to read instead.", sshConfigForm()},
		{"defaults", "Settings of all hosts.", tablesForm(func(f *document) **node { return &f.defaults },
			func(kinds Kinds) schema { return tableSchema(kinds, levelKeys()) })},
		{"tags", "Settings of all hosts with a tag; they come after [defaults] and before those of the host.",
			tablesForm(func(f *document) **node { return &f.tags }, func(kinds Kinds) schema { return namedSchema(tableSchema(kinds, tagKeys())) })},
		{"hosts", "The hosts.", tablesForm(func(f *document) **node { return &f.hosts }, hostsSchema)},
		{"jumps", "Machines that connections only pass through.",
			tablesForm(func(f *document) **node { return &f.jumps }, func(kinds Kinds) schema { return namedSchema(tableSchema(kinds, jumpKeys())) })},
		{"probes", "The probes that hosts may name.", tablesForm(func(f *document) **node { return &f.probes }, probesSchema)},
	}
}

// tablesForm keeps a table for later.
func tablesForm(of func(*document) **node, described func(Kinds) schema) form[document] {
	return form[document]{
		read:   func(s *section, name string, into *document) { *of(into) = s.lookup(name, kindTable) },
		schema: described,
	}
}

// NoSSHConfig says that no ssh_config is read at all.
const NoSSHConfig = "none"

func sshConfigForm() form[document] {
	return form[document]{
		read: func(s *section, name string, into *document) {
			f := s.table.field(name)
			switch {
			case f.value.kind == kindBoolean && f.value.text == "false":
				into.sshConfig = NoSSHConfig
			case f.value.kind == kindBoolean:
			case f.value.kind != kindString:
				s.wrongType(f.value, name, "true, false or a path", "ssh_config = true")
			case s.accepts(f.value, name, checkWord):
				into.sshConfig = s.d.absolutePath(f.value.text)
			}
		},
		schema: func(Kinds) schema {
			return schema{"anyOf": []schema{{"type": "boolean"}, textSchema("^[^-]")}, "default": true}
		},
	}
}

// inventory reads the file. It is complete only where no fault was found.
func (d *decoder) inventory(root *node) *Inventory {
	file := document{flake: "."}
	inv := &Inventory{}
	top := d.section("the file", root)
	top.origins = &recorder{into: &inv.Origins, level: LevelTop}
	readKeys(top, fileKeys(), &file)
	top.refuseUnknownKeys()
	inv.Flake, inv.SSHConfig, inv.Probes = d.absoluteFlake(file.flake), file.sshConfig, d.probes(file.probes)
	jumps := d.jumps(file.jumps)
	levels := d.levels(file)
	var all []*settings
	d.each("hosts", file.hosts, func(f *field) { all = append(all, levels.host(f)) })
	switch f := root.field("hosts"); {
	case f == nil:
		d.fail(position{1, 1}, "[hosts.web1]", "the file names no host")
	case f.value.kind == kindTable && len(f.value.fields) == 0:
		d.fail(f.at, "[hosts.web1]", "the file names no host")
	}
	levels.refuseUnusedTags(all)
	r := newResolver(d, inv, jumps, all)
	for _, host := range all {
		r.resolve(host)
	}
	r.refuseCycles()
	for _, host := range all {
		inv.Hosts = append(inv.Hosts, host.Host)
	}
	if len(d.faults) == 0 {
		d.applySSHConfig(inv, jumps, file.jumps)
	}
	return inv
}

// each calls read for every well-named table of those in [key].
func (d *decoder) each(key string, tables *node, read func(*field)) {
	if tables == nil {
		return
	}
	for _, f := range tables.fields {
		if message, _ := checkName(f.name); message != "" {
			d.fail(f.at, "", "name in [%s]: %s", key, message)
			continue
		}
		if f.value.kind != kindTable {
			d.fail(f.at, fmt.Sprintf("[%s.NAME] and below it %s = ...", key, f.name), "%q in [%s] must be a table, not %s", f.name, key, f.value.kind)
			continue
		}
		read(f)
	}
}

func (d *decoder) probes(tables *node) map[string]Probe {
	probes := map[string]Probe{}
	d.each("probes", tables, func(f *field) { probes[f.name] = d.probe(f.name, f.value) })
	return probes
}

func jumpKeys() []key[Jump] {
	address := key[Jump]{"address", "Host name or IP address, without user and port. The jump host's name by default.",
		textForm(checkAddress, "", func(j *Jump) *string { return &j.Address })}
	return append([]key[Jump]{address}, loginKeys(
		func(j *Jump) *int { return &j.Port }, func(j *Jump) *string { return &j.User },
		func(j *Jump) *[]string { return &j.HostKeys }, func(j *Jump) *[]string { return &j.IdentityFiles },
	)...)
}

func (d *decoder) jumps(tables *node) map[string]Jump {
	jumps := map[string]Jump{}
	d.each("jumps", tables, func(f *field) {
		s := d.section("jump host "+f.name, f.value)
		jump := Jump{Name: f.name, Address: f.name, Port: 22, User: "root"}
		readKeys(s, jumpKeys(), &jump)
		s.refuseUnknownKeys()
		jumps[f.name] = jump
	})
	return jumps
}

func sortedNames[V any](named map[string]V) []string { return slices.Sorted(maps.Keys(named)) }
