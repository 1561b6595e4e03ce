package deployrs

import (
	"maps"
	"slices"

	"github.com/hbohlen/hdeploy/hosts"
)

// namedIn are the settings of a node by what deploy.toml calls them.
var namedIn = map[string]string{
	"hostname": "address", "sshUser": "user", "sudo": "elevation", "interactiveSudo": "elevation_password", "sshOpts": "ssh_options",
	"fastConnection": "substitute", "remoteBuild": "build", "tempPath": "temp_dir", "autoRollback": "auto_rollback",
	"magicRollback": "magic_rollback", "confirmTimeout": "timeouts.confirm", "activationTimeout": "timeouts.activation",
	"groups": "tags", "tags": "tags", "hdeploy.probes": "probes",
}

// namedInProfile are those of a profile.
var namedInProfile = map[string]string{
	"user": "user", "sshUser": "user", "profilePath": "path", "confirmTimeout": "timeouts.confirm", "activationTimeout": "timeouts.activation",
}

// said are the levels at which settings were said, by their names, the nearest first.
type said map[string][]string

// over is what was said where s stands above base.
func (s said) over(base said) said {
	all := maps.Clone(s)
	if all == nil {
		all = said{}
	}
	for key, levels := range base {
		if key == "sshOpts" || all[key] == nil {
			all[key] = slices.Concat(all[key], levels)
		}
	}
	return all
}

// origins says where the settings of a host come from.
func (r *reader) origins(h *hosts.Host, own, top, leader said, profiles []merged) {
	node := said{"hdeploy.probes": slices.Concat(own["hdeploy.probes"], top["hdeploy.probes"])}.over(leader)
	r.say(h, "", namedIn, node)
	for _, m := range profiles {
		mine := maps.Clone(m.said)
		if mine["user"] != nil {
			delete(mine, "sshUser")
		}
		r.say(h, "profiles."+m.name+".", namedInProfile, mine)
	}
}

func (r *reader) say(h *hosts.Host, prefix string, names map[string]string, s said) {
	for _, key := range slices.Sorted(maps.Keys(names)) {
		for _, level := range s[key] {
			if h.Origins == nil {
				h.Origins = hosts.Origins{}
			}
			at := prefix + names[key]
			h.Origins[at] = append(h.Origins[at], hosts.Origin{Level: level, File: r.source.Flake})
		}
	}
}
