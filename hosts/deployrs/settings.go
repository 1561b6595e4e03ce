package deployrs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
)

// settings are the generic settings of one level, or of several merged. nil and
// empty mean that nothing was said.
type settings struct {
	SSHUser, User, Sudo, TempPath                *string
	InteractiveSudo, FastConnection, RemoteBuild *bool
	AutoRollback, MagicRollback                  *bool
	ConfirmTimeout, ActivationTimeout            *int
	SSHOpts, Probes                              []string
	Hostname, ProfilePath                        *string
	// said are where they were said.
	said                        said
	ProfilesOrder, Groups, Tags []string
}

// over is what holds where s stands above base: s first, then base. deploy-rs puts
// the lists of the levels one after the other, the nearest first. Probes are no such list.
func (s settings) over(base settings) settings {
	s.SSHUser, s.User = cmp.Or(s.SSHUser, base.SSHUser), cmp.Or(s.User, base.User)
	s.Sudo, s.TempPath = cmp.Or(s.Sudo, base.Sudo), cmp.Or(s.TempPath, base.TempPath)
	s.InteractiveSudo = cmp.Or(s.InteractiveSudo, base.InteractiveSudo)
	s.FastConnection, s.RemoteBuild = cmp.Or(s.FastConnection, base.FastConnection), cmp.Or(s.RemoteBuild, base.RemoteBuild)
	s.AutoRollback, s.MagicRollback = cmp.Or(s.AutoRollback, base.AutoRollback), cmp.Or(s.MagicRollback, base.MagicRollback)
	s.ConfirmTimeout = cmp.Or(s.ConfirmTimeout, base.ConfirmTimeout)
	s.ActivationTimeout = cmp.Or(s.ActivationTimeout, base.ActivationTimeout)
	s.SSHOpts = slices.Concat(s.SSHOpts, base.SSHOpts)
	s.said = s.said.over(base.said)
	return s
}

// The levels at which a setting may stand.
const (
	atTop = 1 << iota
	atNode
	atProfile
	anywhere = atTop | atNode | atProfile
)

// setting is one that hdeploy reads.
type setting struct {
	levels int
	read   func(*reader, string, json.RawMessage, *settings)
}

// known are the settings by name: those of deploy-rs, and behind "hdeploy." those
// that deploy-rs passes over.
func known() map[string]setting {
	text := func(levels int, valid func(string) string, of func(*settings) **string) setting {
		return setting{levels, func(r *reader, place string, raw json.RawMessage, s *settings) { *of(s) = r.text(place, raw, valid) }}
	}
	flag := func(of func(*settings) **bool) setting {
		return setting{anywhere, func(r *reader, place string, raw json.RawMessage, s *settings) { *of(s) = r.flag(place, raw) }}
	}
	seconds := func(of func(*settings) **int) setting {
		return setting{anywhere, func(r *reader, place string, raw json.RawMessage, s *settings) { *of(s) = r.seconds(place, raw) }}
	}
	texts := func(levels int, valid func(string) string, of func(*settings) *[]string) setting {
		return setting{levels, func(r *reader, place string, raw json.RawMessage, s *settings) { *of(s) = r.texts(place, raw, valid) }}
	}
	return map[string]setting{
		"sshUser":           text(anywhere, account, func(s *settings) **string { return &s.SSHUser }),
		"user":              text(anywhere, account, func(s *settings) **string { return &s.User }),
		"sudo":              text(anywhere, command, func(s *settings) **string { return &s.Sudo }),
		"tempPath":          text(anywhere, absolutePath, func(s *settings) **string { return &s.TempPath }),
		"interactiveSudo":   flag(func(s *settings) **bool { return &s.InteractiveSudo }),
		"fastConnection":    flag(func(s *settings) **bool { return &s.FastConnection }),
		"remoteBuild":       flag(func(s *settings) **bool { return &s.RemoteBuild }),
		"autoRollback":      flag(func(s *settings) **bool { return &s.AutoRollback }),
		"magicRollback":     flag(func(s *settings) **bool { return &s.MagicRollback }),
		"confirmTimeout":    seconds(func(s *settings) **int { return &s.ConfirmTimeout }),
		"activationTimeout": seconds(func(s *settings) **int { return &s.ActivationTimeout }),
		"sshOpts":           texts(anywhere, anyText, func(s *settings) *[]string { return &s.SSHOpts }),
		"hostname":          text(atNode, address, func(s *settings) **string { return &s.Hostname }),
		"profilesOrder":     texts(atNode, name, func(s *settings) *[]string { return &s.ProfilesOrder }),
		"groups":            texts(atNode, name, func(s *settings) *[]string { return &s.Groups }),
		"tags":              texts(atNode, name, func(s *settings) *[]string { return &s.Tags }),
		"profilePath":       text(atProfile, absolutePath, func(s *settings) **string { return &s.ProfilePath }),
		"hdeploy.probes":    texts(anywhere, name, func(s *settings) *[]string { return &s.Probes }),
	}
}

// Settings are the names of the settings that [Read] wants the values of, in order.
func Settings() []string { return slices.Sorted(maps.Keys(known())) }

// level reads the settings of one level. Names that are not known are noted, as
// deploy-rs lets them pass.
func (r *reader) level(place string, which int, values map[string]json.RawMessage, others []string) settings {
	s := settings{said: said{}}
	all := known()
	var here []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key].levels&which != 0 {
			here = append(here, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		k, ok := all[key]
		switch {
		case !ok || k.levels&which == 0:
			others = append(others, key)
		case string(values[key]) != "null":
			k.read(r, place+"."+key, values[key], &s)
			s.said[key] = []string{place}
		}
	}
	for _, other := range others {
		other = clean(other)
		suggestion := ""
		if like := closest(other, here); like != "" {
			suggestion = fmt.Sprintf(" (did you mean %s?)", like)
		}
		r.note("%s.%s is no setting of deploy-rs and is passed over%s", place, other, suggestion)
	}
	return s
}

func (r *reader) text(place string, raw json.RawMessage, valid func(string) string) *string {
	var value string
	if json.Unmarshal(raw, &value) != nil {
		r.wrongType(place, "a string", raw)
		return nil
	}
	if fault := valid(value); fault != "" {
		r.fail(place, "%s", fault)
		return nil
	}
	return &value
}

func (r *reader) flag(place string, raw json.RawMessage) *bool {
	var value bool
	if json.Unmarshal(raw, &value) != nil {
		r.wrongType(place, "true or false", raw)
		return nil
	}
	return &value
}

// seconds reads a number of the range that deploy-rs has, but for zero, with which
// no deployment could succeed.
func (r *reader) seconds(place string, raw json.RawMessage) *int {
	var value int
	if json.Unmarshal(raw, &value) != nil {
		r.wrongType(place, "a whole number of seconds", raw)
		return nil
	}
	if value < 1 || value > math.MaxUint16 {
		r.fail(place, "%d is not between 1 and %d seconds", value, math.MaxUint16)
		return nil
	}
	return &value
}

func (r *reader) texts(place string, raw json.RawMessage, valid func(string) string) []string {
	var values []string
	if json.Unmarshal(raw, &values) != nil {
		r.wrongType(place, "a list of strings", raw)
		return nil
	}
	for _, value := range values {
		if fault := valid(value); fault != "" {
			r.fail(place, "%s", fault)
			return nil
		}
	}
	return values
}

func (r *reader) wrongType(place, want string, raw json.RawMessage) {
	kind := "something else"
	var other struct {
		Is string `json:"is"`
	}
	switch {
	case json.Unmarshal(raw, &other) == nil && other.Is != "":
		kind = "a " + clean(other.Is)
	case len(raw) > 0 && raw[0] == '"':
		kind = "a string"
	case len(raw) > 0 && raw[0] == '[':
		kind = "another list"
	case string(raw) == "true" || string(raw) == "false":
		kind = "a boolean"
	case len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'):
		kind = "another number"
	}
	r.fail(place, "it must be %s, not %s", want, kind)
}

func account(text string) string {
	if accountName.MatchString(text) {
		return ""
	}
	return fmt.Sprintf("%q is no valid name of an account", text)
}

func name(text string) string {
	if plainName.MatchString(text) {
		return ""
	}
	return fmt.Sprintf("%q is no valid name: letters, digits, dots, dashes and underscores", clean(text))
}

func address(text string) string {
	if hostAddress.MatchString(text) {
		return ""
	}
	return fmt.Sprintf("%q is no host name or IP address", clean(text))
}

func absolutePath(text string) string {
	if strings.HasPrefix(text, "/") && len(text) <= longestText && !strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return fmt.Sprintf("%q is no absolute path", clean(text))
}

func command(text string) string {
	switch {
	case strings.TrimSpace(text) == "" || len(text) > longestText || strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Sprintf("%q is no command", clean(text))
	case strings.ContainsAny(text, "'\"\\$`;&|<>(){}*?~"):
		return fmt.Sprintf("%q needs a shell; write the words of one command", clean(text))
	}
	return ""
}

func anyText(text string) string {
	if len(text) > mostOptionBytes {
		return fmt.Sprintf("an item is longer than %d bytes", mostOptionBytes)
	}
	return ""
}
