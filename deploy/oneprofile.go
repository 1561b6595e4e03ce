package deploy

import "strings"

// choose makes the run one about the named profile of the host; an empty name is the
// system, or of a host that has none the only profile.
func (h *hostRun) choose(name string) error {
	var names []string
	for _, p := range h.Profiles {
		names = append(names, p.Name)
		if p.Name == name || name == "" && (isSystem(p) || len(h.Profiles) == 1) {
			h.ofProfile(p)
			h.tryOwn()
			return nil
		}
	}
	if name == "" && len(h.Profiles) == 0 {
		return nil
	}
	return refused(h.Name, "choose", "hdeploy config "+h.Name, "give --profile, one of: %s", strings.Join(names, ", "))
}

// named is the host in a command about one transaction, which is the system's unless
// another profile is named.
func (h *hostRun) named() string {
	if h.of == nil {
		return h.Name
	}
	return h.Name + " --profile " + h.profile.Name
}

// tryOwn does without root where the login user owns all profiles.
func (h *hostRun) tryOwn() {
	if !h.ownedByLogin() {
		return
	}
	for _, p := range h.all() {
		p.own, p.elevation, p.Elevation = true, p.Elevation, nil
	}
}

// needsRoot takes that back where the host would end the user's units with the login.
func (h *hostRun) needsRoot() bool {
	if !h.own || h.facts.OfProfile == nil || h.facts.OfProfile.Lingers {
		return false
	}
	for _, p := range h.all() {
		p.own, p.Elevation = false, p.elevation
	}
	return true
}

// another is another run of the same profile.
func (h *hostRun) another() *hostRun {
	one := newHostRun(h.run, h.Host)
	one.profile, one.of, one.own, one.elevation = h.profile, h.of, h.own, h.elevation
	return one
}
