package deployrs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
)

// systemProfile is the profile of a NixOS system.
const systemProfile = "/nix/var/nix/profiles/system"

// merged is a profile with the settings that hold for it.
type merged struct {
	settings
	name string
	// own are the probes that the profile itself names.
	own []string
	// user owns it; login is empty where deploy-rs would log in as who runs it.
	user, login string
}

// system says whether it is the NixOS system of its node.
func (m merged) system() bool {
	path := deref(m.ProfilePath)
	return m.user == "root" && (path == systemProfile || path == "" && m.name == "system")
}

// connection is what decides how its node is logged in to.
func (m merged) connection() string {
	return fmt.Sprintf("%q %q %q %t", m.login, m.SSHOpts, deref(m.Sudo), deref(m.InteractiveSudo))
}

func deref[T any](value *T) T {
	var none T
	if value == nil {
		return none
	}
	return *value
}

func orElse[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}

// node makes a host of a node. It is false where there is none to make, which was
// told.
func (r *reader) node(n node, top settings) (hosts.Host, bool) {
	place := "deploy.nodes." + clean(n.Name)
	before := len(r.faults)
	switch {
	case name(n.Name) != "":
		r.fail(place, "%s", name(n.Name))
	case n.Is != "":
		r.fail(place, "it must be a set, not a %s", clean(n.Is))
	case n.Profiles == nil:
		r.fail(place+".profiles", "the node has no set of profiles")
	}
	own := r.level(place, atNode, n.Settings, n.Others)
	if own.Hostname == nil && len(r.faults) == before {
		r.fail(place+".hostname", "it is missing: where is the node?")
	}
	profiles := r.profiles(place, n, own, top)
	if len(r.faults) > before {
		return hosts.Host{}, false
	}
	if len(profiles) == 0 {
		r.note("%s has no profiles, so that there is nothing to deploy", place)
		return hosts.Host{}, false
	}
	leader, ok := r.leader(place, profiles)
	if !ok {
		return hosts.Host{}, false
	}
	return r.host(place, n.Name, own, top, leader, profiles), len(r.faults) == before
}

// profiles are those of a node in the order in which they are deployed.
func (r *reader) profiles(place string, n node, own, top settings) []merged {
	var all []merged
	for _, p := range r.ordered(place, n, own.ProfilesOrder) {
		at := place + ".profiles." + clean(p.Name)
		switch {
		case name(p.Name) != "":
			r.fail(at, "%s", name(p.Name))
			continue
		case p.Is != "":
			r.fail(at, "it must be a set, not a %s", clean(p.Is))
			continue
		case !p.Path:
			r.fail(at+".path", "it is missing: what is deployed?")
		}
		s := r.level(at, atProfile, p.Settings, p.Others)
		m := merged{settings: s.over(own).over(top), name: p.Name, own: s.Probes}
		m.login = deref(m.SSHUser)
		if m.user = cmp.Or(deref(m.User), m.login); m.user == "" {
			r.fail(at+".user", "neither user nor sshUser says whose profile it is")
		}
		all = append(all, m)
	}
	return all
}

// ordered are the profiles of profilesOrder, then the others by name.
func (r *reader) ordered(place string, n node, order []string) []profile {
	byName := map[string]profile{}
	for _, p := range n.Profiles {
		byName[p.Name] = p
	}
	var sorted []profile
	for _, wanted := range order {
		if !slices.Contains(n.All, wanted) {
			suggestion := ""
			if like := closest(wanted, n.All); like != "" {
				suggestion = fmt.Sprintf(" (did you mean %s?)", clean(like))
			}
			r.fail(place+".profilesOrder", "the node has no profile %q%s", clean(wanted), suggestion)
		}
		if p, ok := byName[wanted]; ok {
			sorted = append(sorted, p)
			delete(byName, wanted)
		}
	}
	var rest []profile
	for _, p := range byName {
		rest = append(rest, p)
	}
	slices.SortFunc(rest, func(a, b profile) int { return cmp.Compare(a.Name, b.Name) })
	return append(sorted, rest...)
}

// leader is the profile whose settings hold for the host as a whole: hdeploy logs in
// once, and its agent becomes the user of each profile by itself. It is the system,
// else the first one of root's; where root has none, all must log in alike.
func (r *reader) leader(place string, profiles []merged) (merged, bool) {
	at := slices.IndexFunc(profiles, merged.system)
	if at < 0 {
		at = slices.IndexFunc(profiles, func(m merged) bool { return m.user == "root" })
	}
	alike := func(m merged) bool { return m.connection() == profiles[max(at, 0)].connection() }
	other := slices.IndexFunc(profiles, func(m merged) bool { return !alike(m) })
	switch {
	case at < 0 && other >= 0:
		r.fail(place, "the profiles %s and %s log in differently, and none of the node's profiles is root's: deploy them one after the other, as .#%s.%s",
			profiles[0].name, profiles[other].name, strings.TrimPrefix(place, "deploy.nodes."), profiles[0].name)
		return merged{}, false
	case other >= 0:
		r.note("%s: hdeploy logs in once, with the sshUser, sshOpts and sudo of profile %s; profile %s is activated for %s from there",
			place, profiles[at].name, profiles[other].name, profiles[other].user)
	}
	return profiles[max(at, 0)], true
}

func (r *reader) host(place, name string, own, top settings, leader merged, profiles []merged) hosts.Host {
	h := hosts.NewHost(name)
	h.Address = deref(own.Hostname)
	h.User = cmp.Or(leader.login, r.source.User, h.User)
	h.Password = hosts.Password{Ask: deref(leader.InteractiveSudo)}
	h.TempDir = deref(leader.TempPath)
	if deref(leader.RemoteBuild) {
		h.Build = "host"
	}
	h.Substitute = !deref(leader.FastConnection)
	h.AutoRollback, h.MagicRollback = orElse(leader.AutoRollback, true), orElse(leader.MagicRollback, true)
	h.Timeouts = leader.timeouts(h.Timeouts)
	h.Tags = distinct(slices.Concat(own.Groups, own.Tags))
	h.Probes = r.probes(place, slices.Concat(own.Probes, top.Probes))
	r.connect(place, &h, leader)
	h.Elevation = r.elevation(place, h.User, leader)
	h.Profiles = nil
	for _, m := range profiles {
		h.Profiles = append(h.Profiles, r.profile(place, name, m, h.Timeouts))
	}
	h.Attribute = attribute(name, leader.name)
	r.origins(&h, own.said, top.said, leader.said, profiles)
	return h
}

func (r *reader) profile(place, node string, m merged, base hosts.Timeouts) hosts.Profile {
	p := hosts.Profile{
		Name: m.name, Kind: hosts.KindDeployRs, User: m.user, Attribute: attribute(node, m.name), Path: deref(m.ProfilePath),
		Timeouts: m.timeouts(base), Probes: r.probes(place+".profiles."+m.name, m.own),
	}
	if m.system() {
		p.Kind, p.Path = hosts.KindNixOS, ""
	}
	return p
}

func (m merged) timeouts(base hosts.Timeouts) hosts.Timeouts {
	if m.ConfirmTimeout != nil {
		base.Confirm = time.Duration(*m.ConfirmTimeout) * time.Second
	}
	if m.ActivationTimeout != nil {
		base.Activation = time.Duration(*m.ActivationTimeout) * time.Second
	}
	return base
}

func (r *reader) probes(place string, names []string) []hosts.Probe {
	var all []hosts.Probe
	for _, wanted := range distinct(names) {
		p, ok := hosts.Preset(wanted, r.source.Kinds)
		if !ok {
			r.fail(place+".hdeploy.probes", "%q is no preset; there are %s (a probe with a table needs a deploy.toml)", wanted,
				strings.Join(hosts.Presets(r.source.Kinds), ", "))
			continue
		}
		all = append(all, p)
	}
	return all
}

// elevation is the prefix by which the login becomes root. deploy-rs appends the user
// to it.
func (r *reader) elevation(place, login string, m merged) []string {
	words := strings.Fields(deref(m.Sudo))
	if len(words) == 0 || slices.Equal(words, []string{"sudo", "-u"}) || login == "root" {
		return hosts.DefaultElevation(login)
	}
	// Without it a program that wants a password would wait for one.
	if quiet := words[0] == "sudo" || words[0] == "doas"; quiet && !slices.Contains(words, "-n") {
		words = slices.Insert(words, 1, "-n")
	}
	words = append(words, "root")
	r.note("%s: hdeploy's agent is started with %s", place, strings.Join(words, " "))
	return words
}

func distinct(words []string) []string {
	var all []string
	for _, word := range words {
		if !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	return all
}
