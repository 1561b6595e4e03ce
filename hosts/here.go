package hosts

import "os"

// here are the hosts that "localhost" stands for where no host has that name: the one
// that is this machine, or else the one with this machine's name, which is deployed
// without SSH then. There is at most one.
func (inv *Inventory) here() []Host {
	for _, host := range inv.Hosts {
		if host.Local {
			return []Host{host}
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return nil
	}
	for _, host := range inv.Hosts {
		if host.Name == name {
			return []Host{host.At(localAddress, 0, "", nil)}
		}
	}
	return nil
}
