package hosts

import (
	"fmt"
)

// levels are the tables that say something of many hosts. A host is read from
// [defaults], then from [tags.NAME] of each of its tags in the order in which the
// host lists them, then from its own table: what comes later wins, key by key.
type levels struct {
	d        *decoder
	defaults *node
	tags     map[string]*field
	tagOrder []*field
	// Every host is read by the same keys, which are made once.
	own, shared, ofTags []key[settings]
}

func (d *decoder) levels(file document) *levels {
	l := &levels{d: d, defaults: file.defaults, tags: map[string]*field{}, own: ownKeys(), shared: levelKeys(), ofTags: tagKeys()}
	d.each("tags", file.tags, func(f *field) {
		l.tags[f.name] = f
		l.tagOrder = append(l.tagOrder, f)
	})
	// Once for nobody, so that the faults of a level are told that no host has.
	nobody := &settings{Host: NewHost("")}
	l.readDefaults(nobody)
	for _, f := range l.tagOrder {
		l.readTag(f, nobody)
	}
	return l
}

func (l *levels) readDefaults(into *settings) {
	if l.defaults == nil {
		return
	}
	s := l.level("defaults", LevelDefaults, l.defaults, into)
	s.refuseOwn("differs from host to host and has no default")
	readKeys(s, l.shared, into)
	s.refuseUnknownKeys()
}

// tagKeys are those of [tags.NAME]: a tag does not give tags.
func tagKeys() []key[settings] { return withoutKeys(levelKeys(), "tags") }

func (l *levels) readTag(f *field, into *settings) {
	s := l.level("tag "+f.name, "tags."+dotted(f.name), f.value, into)
	s.refuseOwn("differs from host to host and is nothing of a tag", "tags")
	readKeys(s, l.ofTags, into)
	s.refuseUnknownKeys()
}

// level starts reading one table of a host's settings.
func (l *levels) level(where, name string, table *node, into *settings) *section {
	s := l.d.section(where, table)
	s.origins = &recorder{into: &into.Origins, level: name}
	return s
}

// refuseOwn reports keys that only a host can have.
func (s *section) refuseOwn(why string, also ...string) {
	names := append(append(keyNames(ownKeys()), "profiles"), also...)
	for _, own := range names {
		if f := s.table.field(own); f != nil {
			s.d.fail(f.at, own+" into [hosts.NAME]", "%s %s", own, why)
		}
	}
	s.ignoreKeys(names...)
}

// host reads [hosts.NAME] over the levels that it takes part in.
func (l *levels) host(f *field) *settings {
	host := &settings{Host: NewHost(f.name), header: f.at}
	l.readDefaults(host)
	for _, tag := range l.tagsOf(f.value, *host) {
		if f := l.tags[tag]; f != nil {
			l.readTag(f, host)
		}
	}
	s := l.level("host "+f.name, "hosts."+dotted(f.name), f.value, host)
	readKeys(s, l.own, host)
	readKeys(s, l.shared, host)
	s.profiles(host)
	s.refuseUnknownKeys()
	if !host.Origins.Said("elevation") {
		host.Elevation = DefaultElevation(host.User)
	}
	host.Local = host.Address == localAddress || host.Name == localHost && !host.Origins.Said("address")
	if host.Local {
		host.Address = localHost
	}
	return host
}

// What names the machine that hdeploy runs on: an address, and a host without one.
const localAddress, localHost = "local", "localhost"

// tagsOf are the tags of the host with this table, whose settings are read up to
// [defaults].
func (l *levels) tagsOf(table *node, before settings) []string {
	if table.field("tags") == nil {
		return before.Tags
	}
	before.Origins = nil
	s := l.d.section("host "+before.Name, table)
	for _, k := range l.shared {
		if k.name == "tags" {
			k.read(s, k.name, &before)
		}
	}
	return before.Tags
}

// refuseUnusedTags reports tables of tags that no host has: their settings would be
// nobody's, which nobody writes on purpose.
func (l *levels) refuseUnusedTags(all []*settings) {
	used := map[string]bool{}
	for _, host := range all {
		for _, tag := range host.Tags {
			used[tag] = true
		}
	}
	for _, f := range l.tagOrder {
		if used[f.name] {
			continue
		}
		suggestion := fmt.Sprintf("tags = [%q] in a host", f.name)
		if like := closest(f.name, sortedNames(used)); like != "" {
			suggestion = "[tags." + like + "]"
		}
		l.d.fail(f.at, suggestion, "no host has the tag %q", f.name)
	}
}
