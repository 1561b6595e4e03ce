package hosts

import (
	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// applySSHConfig asks ssh_config what the file leaves open.
func (d *decoder) applySSHConfig(inv *Inventory, jumps map[string]Jump, jumpTables *node) {
	config, err := OpenSSHConfig(inv.SSHConfig == NoSSHConfig, inv.sshConfigFile())
	if err != nil {
		d.failSSH("", err)
		return
	}
	says, jumpSays := map[string]Sayings{}, map[string]Sayings{}
	var all []*Host
	for i := range inv.Hosts {
		host := &inv.Hosts[i]
		all = append(all, host)
		says[host.Name] = Sayings{Said: host.Origins.Said, Options: host.options()}
	}
	for name := range jumps {
		table := jumpTables.field(name).value
		jumpSays[name] = Sayings{Said: func(key string) bool { return table.field(key) != nil }}
	}
	inv.Questions = d.connect(newConnector(config, all, says, jumps, jumpSays))
}

func (inv *Inventory) sshConfigFile() string {
	if inv.SSHConfig == NoSSHConfig {
		return ""
	}
	return inv.SSHConfig
}

// options are the host's own directives as ssh_config would have them.
func (h *Host) options() []sshconfig.Option {
	var all []sshconfig.Option
	for _, o := range h.SSHOptions {
		for _, value := range o.Values {
			all = append(all, sshconfig.Option{
				Directive: o.Directive, Value: value, Source: sshconfig.Source{File: o.Said.File, Line: o.Said.Line},
			})
		}
	}
	return all
}
