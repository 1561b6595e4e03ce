package deploy

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// fixedAgent is where hdeploy's NixOS module has the agent.
const fixedAgent = "/run/current-system/sw/bin/hdeploy-agent"

// agreement is what deploy.toml and the flake both say about a host, compared. Where the
// configuration has no such option nothing is assumed, and what may be right for reasons
// that neither shows, such as a forwarded port, is no more than a warning.
type agreement struct {
	host hosts.Host
	// known are all hosts of deploy.toml.
	known    []hosts.Host
	expected nix.Expectations
	// declared is nil where it is not known.
	declared *nix.Declared
	probes   []probe.Spec
}

func (a agreement) findings() []event.Finding {
	all := slices.Concat(a.presets(), a.selfDeployment())
	if a.declared == nil {
		return all
	}
	all = append(all, a.configurations()...)
	all = append(all, a.address()...)
	if !a.host.Local {
		all = append(all, a.sshd()...)
		all = append(all, a.login()...)
	}
	return slices.Concat(all, a.fixedAgent(), a.elevation(), a.agentRestart())
}

func remark(name, remedy, format string, args ...any) event.Finding {
	return event.Finding{Name: name, Severity: event.Remark, Cause: fmt.Sprintf(format, args...), Remedy: remedy}
}

// presets are missing where a service is enabled that nobody asks about.
func (a agreement) presets() []event.Finding {
	onepassword, hercules := false, false
	for _, s := range a.probes {
		switch s.Ask.(type) {
		case *probe.OnePasswordSpec:
			onepassword = true
		case *probe.HerculesSpec:
			hercules = true
		}
	}
	services := a.expected.Services
	var all []event.Finding
	missing := func(kind probe.Kind) {
		all = append(all, warning("probes", fmt.Sprintf("probes = { extend = [%q] }  # in [hosts.%s] of deploy.toml", kind, a.host.Name),
			"the configuration enables services.%s, and no probe of the host asks for it: a system that breaks it is kept", kind))
	}
	if o := services.OnePassword; o != nil && o.Enable && !onepassword {
		missing(probe.KindOnePassword)
	}
	if h := services.HerculesCI; h != nil && h.Enable && !hercules {
		missing(probe.KindHercules)
	}
	return all
}

// selfDeployment is for hosts that run what deploys them.
func (a agreement) selfDeployment() []event.Finding {
	agent := a.expected.Services.HerculesCI
	if agent == nil || agent.Enable {
		return nil
	}
	var all []event.Finding
	if a.host.Mode == hosts.ModeSelf && !a.host.Local {
		all = append(all, warning("confirm mode", `confirm_mode = "auto"  # or enable services.hercules-ci-agent`,
			`confirm_mode is "self", and the configuration enables no Hercules CI agent that could deploy this host: it decides without being reached from anywhere`))
	}
	if a.host.RestartAgent == restartLast {
		all = append(all, warning("restart_agent", `restart_agent = "switch"  # or enable services.hercules-ci-agent`,
			`restart_agent is "last", and the configuration enables no Hercules CI agent`))
	}
	return all
}

const restartLast = "last"

// agentRestart compares who restarts the agent of Hercules CI.
func (a agreement) agentRestart() []event.Finding {
	agent, restarts := a.expected.Services.HerculesCI, a.declared.HerculesRestarts
	if agent == nil || !agent.Enable || restarts == nil {
		return nil
	}
	const option = "systemd.services.hercules-ci-agent.restartIfChanged"
	last := a.host.RestartAgent == restartLast
	switch {
	case last && *restarts:
		return []event.Finding{warning("restart_agent", option+" = false  # as services.ci.herculesCI.restartLast does", `restart_agent is "last", but %s is true: the activation restarts the agent, and what it runs is killed before anything is judged`, option)}
	case !last && !*restarts:
		return []event.Finding{warning("restart_agent", `restart_agent = "last"  # in [hosts.`+a.host.Name+`] of deploy.toml`,
			`%s is false, and restart_agent is not "last": nobody restarts the agent, and a new one runs from the next boot on`, option)}
	}
	return nil
}

// configurations are in the flake, hosts in deploy.toml.
func (a agreement) configurations() []event.Finding {
	var all []event.Finding
	own, named := nix.ConfigurationOf(a.host.Attribute), []string{}
	for _, h := range a.known {
		named = append(named, nix.ConfigurationOf(h.Attribute))
	}
	if own != "" && own != a.host.Name && slices.Contains(a.declared.Configurations, a.host.Name) {
		all = append(all, warning("attribute", "take attribute out of [hosts."+a.host.Name+"], or name the host after "+own,
			"deploy.toml deploys nixosConfigurations.%s to this host, although the flake has nixosConfigurations.%s", own, a.host.Name))
	}
	var unnamed []string
	for _, name := range a.declared.Configurations {
		if !slices.Contains(named, name) {
			unnamed = append(unnamed, name)
		}
	}
	if len(a.known) > 0 && len(unnamed) > 0 {
		all = append(all, remark("inventory", "", "no host of deploy.toml has these nixosConfigurations of the flake: %s", strings.Join(unnamed, ", ")))
	}
	return all
}

// address warns of one that was copied from another host.
func (a agreement) address() []event.Finding {
	if a.host.Local || net.ParseIP(a.host.Address) != nil || sameName(a.host.Address, a.host.Name) || sameName(a.host.Address, nix.ConfigurationOf(a.host.Attribute)) {
		return nil
	}
	for _, other := range a.known {
		if other.Name != a.host.Name && sameName(other.Name, a.host.Address) {
			return []event.Finding{warning("address", "correct the address of "+a.host.Name+" in deploy.toml",
				"its address %s is called like another host of deploy.toml, %s", a.host.Address, other.Name)}
		}
	}
	return nil
}

// sshd must listen where the new system is looked for.
func (a agreement) sshd() []event.Finding {
	sshd := a.declared.SSHD
	if sshd == nil {
		return nil
	}
	if !sshd.Enable {
		return []event.Finding{warning("sshd", "services.openssh.enable = true", "the configuration does not enable services.openssh: unless something else lets in, nothing confirms the new system, and it is taken back")}
	}
	port, user, where := a.host.Port, a.host.User, "port"
	if confirm := a.host.Confirm; confirm != nil {
		where = "confirm.port"
		if confirm.Port != 0 {
			port = confirm.Port
		}
		if confirm.User != "" {
			user = confirm.User
		}
	}
	var all []event.Finding
	if len(sshd.Ports) > 0 && port != 0 && !slices.Contains(sshd.Ports, port) {
		ports := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(sshd.Ports)), ", "), "[]")
		all = append(all, warning("ssh port", fmt.Sprintf("services.openssh.ports = [ %d ]; or %s in [hosts.%s] of deploy.toml", port, where, a.host.Name),
			"deploy.toml looks for the new system at port %d, its sshd listens on %s: unless the port is forwarded, nothing confirms it, and it is taken back", port, ports))
	}
	if user == "root" && sshd.RootLogin == "no" {
		all = append(all, warning("login", `services.openssh.settings.PermitRootLogin = "prohibit-password"; or another user in deploy.toml`,
			`root logs in, and services.openssh.settings.PermitRootLogin is "no"`))
	}
	return all
}

// login is about who logs in. Users and keys may be there that nobody declared.
func (a agreement) login() []event.Finding {
	d, user := a.declared, a.host.User
	switch {
	case d.Users != nil && !slices.Contains(d.Users, user):
		return []event.Finding{warning("login", "declare users.users."+user+", or correct user in deploy.toml",
			"%s logs in, and the configuration declares no such user", user)}
	case d.LoginKeys != nil && *d.LoginKeys == 0 && !a.keysFromOpNix():
		return []event.Finding{remark("login", "users.users."+user+".openssh.authorizedKeys.keys = [ ... ]",
			"the configuration declares no key for %s: whatever is on the host lets in", user)}
	}
	return nil
}

// keysFromOpNix says that another finding tells where the keys are from.
func (a agreement) keysFromOpNix() bool {
	d := declaration{expected: a.expected, declared: a.declared}
	return d.opnix() && len(d.login()) > 0
}

// fixedAgent compares `agent` with hdeploy's module.
func (a agreement) fixedAgent() []event.Finding {
	module, h := a.declared.Agent, a.host
	if module == nil {
		return nil
	}
	listed := slices.Contains(module.Users, h.User)
	switch {
	case h.Agent == fixedAgent && !module.Enable:
		return []event.Finding{warning("agent", "services.hdeploy.enable = true; or take agent out of deploy.toml",
			"agent is %s, and the configuration does not enable services.hdeploy, which puts it there: the new system could neither be confirmed nor deployed again", h.Agent)}
	case h.Agent == "" && listed:
		return []event.Finding{remark("agent", fmt.Sprintf("agent = %q  # in [hosts.%s] of deploy.toml", fixedAgent, h.Name),
			"services.hdeploy.users lets %s run the fixed agent, and deploy.toml does not name it: what is uploaded instead needs more of sudo", h.User)}
	case h.Agent == fixedAgent && h.User != "root" && len(module.Users) > 0 && !listed:
		return []event.Finding{warning("agent", fmt.Sprintf("services.hdeploy.users = [ %q ]", h.User),
			"%s runs the fixed agent as root, and services.hdeploy.users allows it to %s only", h.User, strings.Join(module.Users, ", "))}
	case h.Agent == fixedAgent && listed && module.RequirePassword && len(h.Elevation) > 0 && !anyPassword(h.Password):
		return []event.Finding{warning("elevation", `elevation_password = "ask"`,
			"services.hdeploy.requirePassword is set, and deploy.toml has no elevation_password")}
	}
	return nil
}

func anyPassword(p hosts.Password) bool { return p.Ask || p.File != "" || len(p.Command) > 0 }

// elevation needs its program.
func (a agreement) elevation() []event.Finding {
	if len(a.host.Elevation) == 0 {
		return nil
	}
	word := a.host.Elevation[0]
	has := map[string]*bool{"sudo": a.declared.Sudo, "doas": a.declared.Doas}[word]
	if has == nil || *has {
		return nil
	}
	return []event.Finding{warning("elevation", "security."+word+".enable = true; or another elevation in deploy.toml",
		"%s becomes root with %s, which the configuration does not enable", a.host.User, word)}
}
