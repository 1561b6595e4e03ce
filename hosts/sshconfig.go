package hosts

import (
	"maps"
)

// applySSHConfig asks ssh_config what the file leaves open. What is wrong there is
// told only where the file itself is right.
func (d *decoder) applySSHConfig(file string, all []*settings, jumps map[string]Jump, jumpSaid map[string]Origins) {
	if len(d.faults) > 0 {
		return
	}
	path := file
	if file == NoSSHConfig {
		path = ""
	}
	config, err := OpenSSHConfig(file == NoSSHConfig, path)
	if err != nil {
		d.failSSH("", err)
		return
	}
	says, jumpSays := map[string]Sayings{}, map[string]Sayings{}
	hosts := make([]*Host, len(all))
	for i, host := range all {
		hosts[i] = &host.Host
		said := maps.Clone(host.Origins) // what ssh_config says is noted there, too
		says[host.Name] = Sayings{Said: said.Said, Options: host.SSHOptions}
	}
	for name := range jumps {
		jumpSays[name] = Sayings{Said: jumpSaid[name].Said}
	}
	d.connect(newConnector(config, hosts, says, jumps, jumpSays))
	for _, host := range hosts {
		d.noteSSHConfig(host)
	}
}

// noteSSHConfig notes which settings ssh_config has said. An address may have been
// said before: then ssh_config was asked for it.
func (d *decoder) noteSSHConfig(host *Host) {
	for directive, key := range map[string]string{
		"HostName": "address", "Port": "port", "User": "user", "IdentityFile": "identity_files", "ProxyJump": "jump", "ConnectTimeout": "timeouts.connect",
	} {
		source, found := host.SSH.Sources[directive]
		if !found || host.Origins.Said(key) && key != "address" {
			continue
		}
		from := Origin{Level: LevelSSHConfig, File: source.File, Line: source.Line}
		if source.File == d.file {
			from.Level = LevelSSHOptions
		}
		before := host.Origins[key]
		host.Origins.Say(key, from)
		host.Origins[key] = append(before[:len(before):len(before)], from)
	}
	for i, p := range host.Profiles {
		if !host.Origins.Said("profiles." + dotted(p.Name) + ".timeouts.connect") {
			host.Profiles[i].Timeouts.Connect = host.Timeouts.Connect
		}
	}
}
