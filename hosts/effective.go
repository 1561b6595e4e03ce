package hosts

import (
	"slices"
	"strings"
)

// Setting is a setting of a host as it holds.
type Setting struct {
	// Key is the dotted key within the host's table.
	Key string
	// Value is a string, an int, a bool, a []string or a map[string]any of these; nil
	// where nothing is set and nothing is the default.
	Value any
	// From is where it was said, empty for the default.
	From []Origin
}

// Effective returns all settings of a host, in the order of the documentation, and
// where each came from. Written into [hosts.NAME] of a file with the same probes and
// jump hosts, they make the same host.
func Effective(h Host) []Setting {
	all := append(settingsOf("", ownKeys(), settings{Host: h}), settingsOf("", levelKeys(), settings{Host: h})...)
	for i, p := range h.Profiles {
		draft := profileDraft{Profile: p}
		if i > 0 {
			draft.after = []*node{{text: h.Profiles[i-1].Name}}
		}
		prefix := "profiles." + dotted(p.Name) + "."
		own := settingsOf(prefix, profileKeys(), draft)
		all = append(all, slices.DeleteFunc(own, func(s Setting) bool {
			ofHost := p.Kind == KindNixOS || strings.HasPrefix(s.Key, prefix+"timeouts.")
			return ofHost && !h.Origins.Said(s.Key) // the host's own settings have said it
		})...)
	}
	return withOrigins(all, h.Origins)
}

// EffectiveTop returns the settings that all hosts of the file share.
func EffectiveTop(inv *Inventory) []Setting {
	var sshConfig any = true
	switch inv.SSHConfig {
	case "":
	case NoSSHConfig:
		sshConfig = false
	default:
		sshConfig = inv.SSHConfig
	}
	return withOrigins([]Setting{{Key: "flake", Value: inv.Flake}, {Key: "ssh_config", Value: sshConfig}}, inv.Origins)
}

func withOrigins(all []Setting, origins Origins) []Setting {
	for i := range all {
		all[i].From = origins[all[i].Key]
		if all[i].Value == nil && len(all[i].From) > 0 {
			all[i].Value = []string{} // somebody said that there is none
		}
	}
	return all
}

func settingsOf[T any](prefix string, keys []key[T], value T) []Setting {
	var all []Setting
	for _, k := range keys {
		switch {
		case k.nested != nil:
			all = append(all, k.nested(prefix+k.name+".", value)...)
		case k.show != nil:
			all = append(all, Setting{Key: prefix + k.name, Value: k.show(value)})
		}
	}
	return all
}

func probeNames(probes []Probe) []string {
	names := make([]string, len(probes))
	for i, p := range probes {
		names[i] = p.Name
	}
	return names
}

func jumpNames(jumps []Jump) []string {
	names := make([]string, len(jumps))
	for i, j := range jumps {
		names[i] = j.Name
	}
	return names
}
