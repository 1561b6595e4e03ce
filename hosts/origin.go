package hosts

import (
	"slices"
	"strconv"
	"strings"
)

// Origin is a place that a setting comes from.
type Origin struct {
	// Level is one of the constants Level…, or "tags.NAME", "hosts.NAME" or
	// "hosts.NAME.profiles.NAME" for a table of deploy.toml.
	Level string
	// File, Line and Column are the place of the key, the numbers from 1 and 0 where
	// they are not known. Of the levels below the file, File is the name of the
	// variable or the option.
	File         string
	Line, Column int
}

// Where settings come from beside the tables that have names.
const (
	LevelTop         = "top"
	LevelDefaults    = "defaults"
	LevelSSHConfig   = "ssh_config"
	LevelRecorded    = "recorded"
	LevelEnvironment = "environment"
	LevelOption      = "option"
)

// Origins are where settings come from, by their dotted keys, such as
// "timeouts.confirm" or "profiles.home.user". A setting that nobody said has none. A
// list that was extended has several, in the order in which they were read.
type Origins map[string][]Origin

// Say records that a setting comes from there and from nowhere else.
func (o *Origins) Say(key string, from Origin) {
	if *o == nil {
		*o = Origins{}
	}
	(*o)[key] = []Origin{from}
}

// Said says whether anybody said the setting, so that it is not the default.
func (o Origins) Said(key string) bool { return len(o[key]) > 0 }

// recorder notes the origins of what a section reads.
type recorder struct {
	into   *Origins
	level  string
	prefix string
}

func (r *recorder) below(key string) *recorder {
	if r == nil {
		return nil
	}
	inner := *r
	inner.prefix += key + "."
	return &inner
}

// noteOrigin notes where a key stands, if the section has a recorder.
func (s *section) noteOrigin(key string, f *field) {
	r := s.origins
	if r == nil {
		return
	}
	origin := Origin{Level: r.level, File: s.d.file, Line: f.at.line, Column: f.at.column}
	key = r.prefix + key
	before := (*r.into)[key]
	r.into.Say(key, origin)
	if f.value.kind == kindTable && f.value.field(extend) != nil {
		(*r.into)[key] = append(slices.Clip(before), origin)
	}
}

// dotted is a name as part of a dotted key.
func dotted(name string) string {
	if strings.Contains(name, ".") {
		return strconv.Quote(name)
	}
	return name
}
