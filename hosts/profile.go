package hosts

import (
	"fmt"
	"slices"
	"strings"
)

// SystemProfile is the name of the profile that every host has where nothing else is
// said: its NixOS system.
const SystemProfile = "system"

// profileDraft is a profile while it is read.
type profileDraft struct {
	Profile
	// header is where its table begins.
	header position
	after  []*node
	probes []*node
}

func profileKinds() []string {
	return []string{KindNixOS, KindHomeManager, KindCustom, KindDeployRs}
}

func profileKeys() []key[profileDraft] {
	return []key[profileDraft]{
		{"kind", "What the profile is; of the profile \"system\" nixos by default.",
			wordForm(func(p *profileDraft) *string { return &p.Kind }, profileKinds()...)},
		{"user", "Who owns the profile and activates it: root by default, but of home-manager it must be said.",
			textForm(checkAccount, accountPattern, func(p *profileDraft) *string { return &p.User })},
		{"attribute", "Path of the profile's derivation within the flake.",
			textForm(checkAttribute, "", func(p *profileDraft) *string { return &p.Attribute })},
		{"path", "The link of the profile on the host; that of its kind, user and name by default.",
			textForm(checkAbsolute, "^/", func(p *profileDraft) *string { return &p.Path })},
		{"activate", "The command that activates a custom profile; the first word is relative to the closure.", programForm(func(p *profileDraft) *[]string { return &p.Activate })},
		{"rollback", "The command that goes back from a custom profile; activate of the previous closure by default.", programForm(func(p *profileDraft) *[]string { return &p.Rollback })},
		{"check", "The command that says, once a custom profile is activated, whether it is well.", programForm(func(p *profileDraft) *[]string { return &p.Check })},
		{"after", "The profiles of the host that are deployed before this one.", afterForm()},
		{"probes", "Which probes judge the profile, beside those of the host.", useForm(
			func(p *profileDraft) *[]*node { return &p.probes }, func(p profileDraft) []string { return probeNames(p.Probes) })},
		{"timeouts", "How long each part may take, where not as long as of the host.", tableForm(timeoutKeys(),
			func(p *profileDraft) *Timeouts { return &p.Timeouts }, func(p profileDraft) *Timeouts { return &p.Timeouts })},
	}
}

// programForm is the argv of a program in the closure.
func programForm(of func(*profileDraft) *[]string) form[profileDraft] {
	f := argvForm(checkArgument, of)
	f.read = func(s *section, name string, into *profileDraft) {
		before := len(s.d.faults)
		s.argv(name, of(into), checkArgument)
		if argv := *of(into); len(s.d.faults) == before && !isRelativeProgram(argv[0]) {
			s.d.fail(s.at(name), name+` = ["bin/activate"]`, "the first word of %s of %s must be a path within the closure, not %q", name, s.where, argv[0])
		}
	}
	return f
}

func isRelativeProgram(path string) bool {
	return path != "" && path[0] != '/' && path[0] != '-' && !slices.Contains(strings.Split(path, "/"), "..")
}

func afterForm() form[profileDraft] {
	return form[profileDraft]{
		read: func(s *section, name string, into *profileDraft) {
			if items, ok := s.distinct(name, checkName); ok {
				into.after = items
			}
		},
		schema: func(Kinds) schema {
			return schema{"type": "array", "items": textSchema(namePattern), "uniqueItems": true}
		},
		show: func(p profileDraft) any { return listOrNil(texts(p.after)) },
	}
}

// mostProfiles caps those of one host.
const mostProfiles = 64

// profiles reads the tables [hosts.NAME.profiles.NAME].
func (s *section) profiles(host *settings) {
	tables := s.lookup("profiles", kindTable)
	if tables != nil && len(tables.fields) > mostProfiles {
		s.d.fail(tables.at, "", "%s has %d profiles, which are more than %d", s.where, len(tables.fields), mostProfiles)
		return
	}
	s.d.each("hosts."+host.Name+".profiles", tables, func(f *field) {
		host.profiles = append(host.profiles, s.profile(f, host))
	})
	allNamed := tables == nil || len(host.profiles) == len(tables.fields)
	s.completeProfiles(host)
	if allNamed { // else another one may be meant that could not be read
		host.profiles = s.d.ordered(host)
	}
}

func (s *section) profile(f *field, host *settings) profileDraft {
	p := profileDraft{Profile: Profile{Name: f.name, Timeouts: host.Timeouts}, header: f.at}
	if f.name == SystemProfile {
		p.Kind = KindNixOS
	}
	inner := s.d.section("profile "+f.name+" of "+s.where, f.value)
	inner.origins = &recorder{into: &host.Origins, level: s.origins.level + ".profiles." + dotted(f.name), prefix: "profiles." + dotted(f.name) + "."}
	before := len(s.d.faults)
	readKeys(inner, profileKeys(), &p)
	inner.refuseUnknownKeys()
	if len(s.d.faults) == before {
		inner.completeProfile(&p, host)
	}
	return p
}

// completeProfile fills in what follows from the kind, and refuses what does not go
// with it.
func (s *section) completeProfile(p *profileDraft, host *settings) {
	if p.Kind == "" {
		s.d.fail(s.table.at, "kind = one of "+quotedList(profileKinds()), "%s has no kind", s.where)
		return
	}
	if p.Kind != KindCustom {
		for _, own := range []string{"activate", "rollback", "check"} {
			if f := s.table.field(own); f != nil {
				s.d.fail(f.at, `kind = "custom"`, "%s goes with a custom profile only; one of kind %q has its own", own, p.Kind)
			}
		}
	}
	switch p.Kind {
	case KindNixOS:
		s.completeNixOS(p, host)
	case KindHomeManager:
		if p.User == "" {
			s.d.fail(s.table.at, `user = "..."`, "%s has no user, whose home it is", s.where)
		}
		setDefault(&p.Attribute, fmt.Sprintf(`homeConfigurations."%s@%s".activationPackage`, p.User, host.Name))
	case KindCustom:
		if p.Attribute == "" {
			s.d.fail(s.table.at, `attribute = "packages.x86_64-linux.NAME"`, "%s has no attribute", s.where)
		}
		if len(p.Activate) == 0 {
			s.d.fail(s.table.at, `activate = ["bin/activate"]`, "%s has nothing to activate it with", s.where)
		}
	case KindDeployRs:
		setDefault(&p.Attribute, fmt.Sprintf("deploy.nodes.%s.profiles.%s.path", quotedAttribute(host.Name), quotedAttribute(p.Name)))
	}
	setDefault(&p.User, "root")
}

// completeNixOS makes the profile the host's system: there is one.
func (s *section) completeNixOS(p *profileDraft, host *settings) {
	if p.User != "" && p.User != "root" {
		s.d.fail(s.at("user"), `user = "root"`, "the system of host %s belongs to root", host.Name)
	}
	if host.withoutSystem {
		s.d.fail(s.table.at, "system = true", "host %s has system = false, and a profile of kind %q", host.Name, KindNixOS)
	}
	if p.Attribute != "" && host.Origins.Said("attribute") {
		s.d.fail(s.at("attribute"), "one of the two", "the system of host %s has an attribute in the host's table, too", host.Name)
	}
	setDefault(&p.Attribute, host.Attribute)
	host.Attribute = p.Attribute
}

func setDefault(value *string, otherwise string) {
	if *value == "" {
		*value = otherwise
	}
}

// completeProfiles adds the system, which is deployed first where nobody says
// anything else.
func (s *section) completeProfiles(host *settings) {
	isSystem := func(p profileDraft) bool { return p.Kind == KindNixOS }
	first := slices.IndexFunc(host.profiles, isSystem)
	switch {
	case first >= 0:
		system := host.profiles[first]
		for _, p := range host.profiles[first+1:] {
			if isSystem(p) {
				s.d.fail(p.header, "", "%s has two profiles of kind %q, %q and %q", s.where, KindNixOS, system.Name, p.Name)
			}
		}
		host.profiles = slices.Insert(slices.Delete(host.profiles, first, first+1), 0, system)
	case !host.withoutSystem:
		system := profileDraft{Profile: host.system()}
		if taken := slices.IndexFunc(host.profiles, func(p profileDraft) bool { return p.Name == SystemProfile }); taken >= 0 {
			s.d.fail(host.profiles[taken].header, "another name for this profile, or system = false", "the system of host %s has the name %q already", host.Name, SystemProfile)
			return
		}
		host.profiles = slices.Insert(host.profiles, 0, system)
	case len(host.profiles) == 0:
		s.d.fail(s.at("system"), "[hosts."+host.Name+".profiles.NAME]", "%s has system = false and no profile, so nothing to deploy", s.where)
	}
}

// ordered puts every profile behind those that it comes after, and otherwise leaves
// the order of the file.
func (d *decoder) ordered(host *settings) []profileDraft {
	names := make([]string, len(host.profiles))
	for i, p := range host.profiles {
		names[i] = p.Name
	}
	waiting := slices.Clone(host.profiles)
	var done []profileDraft
	placed := map[string]bool{}
	for _, p := range waiting {
		for _, use := range p.after {
			if isOneOf(use.text, names) {
				continue
			}
			suggestion := "one of " + quotedList(names)
			if like := closest(use.text, names); like != "" {
				suggestion = fmt.Sprintf("%q", like)
			}
			d.fail(use.at, suggestion, "profile %q is not defined in host %s", use.text, host.Name)
			placed[use.text] = true
		}
	}
	for len(waiting) > 0 {
		ready := slices.IndexFunc(waiting, func(p profileDraft) bool {
			return !slices.ContainsFunc(p.after, func(use *node) bool { return !placed[use.text] })
		})
		if ready < 0 {
			d.refuseProfileCycle(host, waiting)
			return append(done, waiting...)
		}
		done = append(done, waiting[ready])
		placed[waiting[ready].Name] = true
		waiting = slices.Delete(waiting, ready, ready+1)
	}
	return done
}

// refuseProfileCycle names one cycle among profiles that wait for each other.
func (d *decoder) refuseProfileCycle(host *settings, waiting []profileDraft) {
	next := map[string]*node{}
	for _, p := range waiting {
		for _, use := range p.after {
			if slices.ContainsFunc(waiting, func(o profileDraft) bool { return o.Name == use.text }) {
				next[p.Name] = use
				break
			}
		}
	}
	// From any of them the way leads into a cycle; it is told from its least name on,
	// so that it is the same wherever the search began.
	at := waiting[0].Name
	for range waiting {
		at = next[at].text
	}
	cycle := []string{at}
	for step := next[at].text; step != at; step = next[step].text {
		cycle = append(cycle, step)
	}
	first := slices.Index(cycle, slices.Min(cycle))
	cycle = append(cycle[first:], cycle[:first]...)
	d.fail(next[cycle[0]].at, "", "profiles of host %s wait for each other: %s", host.Name, strings.Join(append(cycle, cycle[0]), " after "))
}
