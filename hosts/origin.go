package hosts

import "slices"

// Origin is a place that a setting comes from.
type Origin struct {
	// Level is "defaults", "tags.NAME", "hosts.NAME" or "hosts.NAME.profiles.NAME" for
	// a table of deploy.toml, else where the value was said: "ssh_config",
	// "ssh_options", "environment" or "option".
	Level string
	// File, Line and Column are the place of the value, the numbers from 1; File is
	// the name of a variable or an option for the last two levels.
	File         string
	Line, Column int
}

// Origins are where the settings of a host come from, by their dotted keys, such as
// "timeouts.confirm" or "profiles.home.user". A setting that nobody said has none. A
// list that was extended has several, in the order in which they were read.
type Origins map[string][]Origin

// Say records that a setting comes from there and from nowhere else.
func (h *Host) Say(key string, from Origin) {
	if h.Origins == nil {
		h.Origins = Origins{}
	}
	h.Origins[key] = []Origin{from}
}

// Said says whether anybody said the setting, so that it is not the default.
func (h *Host) Said(key string) bool { return len(h.Origins[key]) > 0 }

// recorder notes the origins of what a section reads; nil for a section that is no
// host's.
type recorder struct {
	host   *Host
	level  string
	file   string
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

func (s *section) noteOrigin(key string, f *field) {
	r := s.origins
	if r == nil {
		return
	}
	origin := Origin{Level: r.level, File: r.file, Line: f.at.line, Column: f.at.column}
	before := r.host.Origins[r.prefix+key]
	r.host.Say(r.prefix+key, origin)
	if f.value.kind == kindTable && f.value.field(extend) != nil {
		r.host.Origins[r.prefix+key] = append(slices.Clip(before), origin)
	}
}
