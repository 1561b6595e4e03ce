package hosts

import (
	"net"
	"strconv"
	"strings"
)

// settle completes the hosts once ssh_config has said what it knows.
func (d *decoder) settle(inv *Inventory, tables *node) {
	for i := range inv.Hosts {
		inv.Hosts[i].settleProfiles()
	}
	d.refuseDuplicates(inv.Hosts, tables)
}

// settleProfiles passes on what the host's connection takes, which no profile has for
// itself unless it says so.
func (h *Host) settleProfiles() {
	for i, p := range h.Profiles {
		if !h.Origins.Said("profiles." + dotted(p.Name) + ".timeouts.connect") {
			h.Profiles[i].Timeouts.Connect = h.Timeouts.Connect
		}
	}
}

// refuseDuplicates reports hosts that are one machine: two deployments of one run
// would wait for each other's lock. The same address behind different jump hosts is
// another machine.
func (d *decoder) refuseDuplicates(hosts []Host, tables *node) {
	seen := map[string]string{}
	for _, host := range hosts {
		place := host.place()
		other, taken := seen[place]
		if !taken {
			seen[place] = host.Name
			continue
		}
		what := "has the address and port of"
		if host.Local {
			what = "is the machine that hdeploy runs on, as is"
		}
		d.fail(tables.field(host.Name).at, "one of the two, with several profiles", "host %s %s host %s in line %d",
			host.Name, what, other, tables.field(other).at.line)
	}
}

// place is where the host is, and the way there.
func (h *Host) place() string {
	if h.Local {
		return localAddress
	}
	way := []string{net.JoinHostPort(strings.ToLower(h.Address), strconv.Itoa(h.Port)), h.SSH.ProxyCommand}
	for _, jump := range h.Jump {
		way = append(way, net.JoinHostPort(strings.ToLower(jump.Address), strconv.Itoa(jump.Port)))
	}
	return strings.Join(way, " ")
}
