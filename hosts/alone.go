package hosts

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// What a host that deploys itself does with a system that nothing failed on, and that
// was not proven to let traffic in.
const (
	OnUnknownChanged  = "changed"
	OnUnknownRollback = "rollback"
	OnUnknownCommit   = "commit"
)

// When the agent of Hercules CI is restarted.
const (
	RestartBySwitch = "switch"
	RestartLast     = "last"
)

// noWitness is how a host says that it has none, against what a level says.
const noWitness = "none"

// aloneKeys are about a host that deploys itself.
func aloneKeys() []key[settings] {
	return []key[settings]{
		{"confirm_mode", "Who confirms a new system: \"remote\" for hdeploy over a new connection, \"self\" for the host itself, \"auto\" for the host where it deploys itself.",
			wordForm(func(h *settings) *string { return (*string)(&h.Mode) }, string(ModeAuto), string(ModeRemote), string(ModeSelf))},
		{"witness", "Another host that dials in from outside where this one decides by itself.", witnessForm()},
		{"on_unknown", "What a host that decides by itself does with a system that was not proven to let traffic in.",
			wordForm(func(h *settings) *string { return &h.OnUnknown }, OnUnknownChanged, OnUnknownRollback, OnUnknownCommit)},
		{"outward", "What a host that decides by itself must still reach, https://NAME or https://NAME:PORT.",
			listForm(checkOutward, "^https://", func(h *settings) *[]string { return &h.Outward }, asWritten)},
		{"restart_agent", "When the agent of Hercules CI is restarted that runs on a host which deploys itself: by the activation, or last.",
			wordForm(func(h *settings) *string { return &h.RestartAgent }, RestartBySwitch, RestartLast)},
		{"drain", "How long the host's CI agent may go on with what it builds before anything is changed.", drainForm()},
	}
}

func witnessForm() form[settings] {
	return form[settings]{
		read: func(s *section, name string, into *settings) {
			s.text(name, &into.Witness, checkName)
			if value := s.table.field(name).value; value.kind == kindString {
				into.witness = value
			}
		},
		schema: func(Kinds) schema { return textSchema(namePattern) },
		show: func(h settings) any {
			if h.Witness == "" {
				return noWitness
			}
			return h.Witness
		},
	}
}

func drainForm() form[settings] {
	drain := durationForm(0, 24*time.Hour, func(h *settings) *time.Duration { return &h.Drain })
	drain.show = func(h settings) any { return short(h.Drain) }
	return drain
}

// checkOutward accepts what a host can reach with TLS: a name, and a port.
func checkOutward(text string) (string, string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || checkHostPart(u.Hostname()) != "" {
		return fmt.Sprintf("%q is no https://NAME", text), "https://example.org"
	}
	if plain := "https://" + u.Host; text != plain {
		return "only the name and the port matter, since nothing is asked there", plain
	}
	return "", ""
}

func checkHostPart(name string) string {
	message, _ := checkAddress(name)
	return message
}

// resolveWitness looks up the host that dials in. A host that a level makes its own
// witness has none.
func (r *resolver) resolveWitness(host *settings) {
	switch {
	case host.witness == nil:
	case host.Witness == noWitness:
		host.Witness = ""
	case host.Witness == host.Name && !r.saidByItself(host):
		host.Witness = ""
	case host.Witness == host.Name:
		r.d.fail(host.witness.at, "the name of another host", "host %s cannot be its own witness: only another one sees what comes in from outside", host.Name)
	case r.byName[host.Witness] == nil:
		known := append([]string{noWitness}, sortedNames(r.byName)...)
		r.dangling(host.witness, known, `"none" or the name of a host`, "witness %q is not defined", host.Witness)
	}
}

func (r *resolver) saidByItself(host *settings) bool {
	for _, from := range host.Origins["witness"] {
		if strings.HasPrefix(from.Level, "hosts.") {
			return true
		}
	}
	return false
}
