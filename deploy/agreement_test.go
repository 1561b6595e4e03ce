package deploy

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

func yes() *bool { value := true; return &value }
func no() *bool  { value := false; return &value }

func hostNamed(name string) hosts.Host {
	return hosts.Host{Name: name, Address: name + ".example.org", Port: 22, User: "deploy", Attribute: "nixosConfigurations." + name + ".config.system.build.toplevel",
		Elevation: []string{"sudo", "-n", "--"}, Agent: fixedAgent, RestartAgent: "switch", Mode: hosts.ModeAuto}
}

// agreeing is a host about which deploy.toml and the flake say the same.
func agreeing() agreement {
	host := hostNamed("web1")
	keys := 1
	a := agreement{
		host: host, known: []hosts.Host{host, hostNamed("web2")},
		probes: []probe.Spec{{Name: "secrets", Ask: &probe.OnePasswordSpec{}}, {Name: "ci", Ask: &probe.HerculesSpec{}}},
		declared: &nix.Declared{
			Users: []string{"root", "deploy"}, LoginKeys: &keys, Home: "/home/deploy", Configurations: []string{"web1", "web2"},
			SSHD:  &nix.SSHD{Enable: true, Ports: []int{22, 2222}, RootLogin: "no"},
			Agent: &nix.Agent{Enable: true, Users: []string{"deploy"}},
			Sudo:  yes(), Doas: no(), HerculesRestarts: yes(),
		},
	}
	a.expected = soundDeclaration().expected
	return a
}

func TestDisagreements(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*agreement)
		severity event.Severity
		finding  string
		words    string
	}{
		"nothing": {func(*agreement) {}, "", "", ""},
		"a configuration without any of the options": {func(a *agreement) {
			a.declared, a.expected = &nix.Declared{}, nix.Expectations{}
			a.host.Mode, a.host.RestartAgent, a.host.Agent = hosts.ModeSelf, "last", fixedAgent
		}, "", "", ""},
		"no configuration": {func(a *agreement) { a.declared, a.expected = nil, nix.Expectations{} }, "", "", ""},
		"this machine": {func(a *agreement) {
			a.host.Local, a.host.Address, a.host.Port, a.host.User, a.host.Agent = true, "local", 0, "root", ""
			a.host.Elevation, a.declared.SSHD.Enable = nil, false
		}, "", "", ""},
		"a host that is not deployed with it": {func(a *agreement) { a.declared.Configurations = append(a.declared.Configurations, "laptop") }, event.Remark, "inventory", "laptop"},
		"flakes for deploy-rs":                {func(a *agreement) { a.known, a.declared.Configurations = nil, []string{"web1", "laptop"} }, "", "", ""},
		"the system of another host": {func(a *agreement) { a.host.Attribute = hostNamed("web2").Attribute }, event.Warning, "attribute",
			"nixosConfigurations.web2 to this host, although"},
		"the address of another host":  {func(a *agreement) { a.host.Address = "web2.example.org" }, event.Warning, "address", "another host of deploy.toml, web2"},
		"an address that says nothing": {func(a *agreement) { a.host.Address = "10.0.0.1" }, "", "", ""},

		"another port":             {func(a *agreement) { a.host.Port = 22022 }, event.Warning, "ssh port", "at port 22022, its sshd listens on 22, 2222"},
		"another port from now on": {func(a *agreement) { a.host.Port, a.host.Confirm = 22022, &hosts.Endpoint{Port: 2222} }, "", "", ""},
		"no port from now on":      {func(a *agreement) { a.host.Confirm = &hosts.Endpoint{Port: 222} }, event.Warning, "ssh port", "at port 222,"},
		"no sshd":                  {func(a *agreement) { a.declared.SSHD = &nix.SSHD{} }, event.Warning, "sshd", "does not enable services.openssh"},
		"root is refused":          {func(a *agreement) { a.host.User = "root" }, event.Warning, "login", `PermitRootLogin is "no"`},
		"no such user":             {func(a *agreement) { a.host.User, a.declared.Agent.Users = "me", nil }, event.Warning, "login", "declares no such user"},
		"no key":                   {func(a *agreement) { *a.declared.LoginKeys = 0 }, event.Remark, "login", "no key for deploy"},
		"keys of OpNix": {func(a *agreement) {
			*a.declared.LoginKeys = 0
			a.expected.Services.OnePassword.Secrets["keys"] = nix.Secret{Path: "/home/deploy/.ssh/authorized_keys"}
		}, "", "", ""},

		"no module":                   {func(a *agreement) { a.declared.Agent = &nix.Agent{} }, event.Warning, "agent", "does not enable services.hdeploy"},
		"the agent is not named":      {func(a *agreement) { a.host.Agent = "" }, event.Remark, "agent", "deploy.toml does not name it"},
		"the agent is for others":     {func(a *agreement) { a.declared.Agent.Users = []string{"ci"} }, event.Warning, "agent", "allows it to ci only"},
		"the agent wants a password":  {func(a *agreement) { a.declared.Agent.RequirePassword = true }, event.Warning, "elevation", "requirePassword"},
		"and is given one":            {func(a *agreement) { a.declared.Agent.RequirePassword, a.host.Password.Ask = true, true }, "", "", ""},
		"an agent from somewhere":     {func(a *agreement) { a.host.Agent, a.declared.Agent = "/opt/agent", &nix.Agent{} }, "", "", ""},
		"no sudo":                     {func(a *agreement) { a.declared.Sudo = no() }, event.Warning, "elevation", "becomes root with sudo"},
		"no doas":                     {func(a *agreement) { a.host.Elevation = []string{"doas", "-n"} }, event.Warning, "elevation", "becomes root with doas"},
		"something else":              {func(a *agreement) { a.host.Elevation = []string{"run0"} }, "", "", ""},
		"nobody asks for the secrets": {func(a *agreement) { a.probes = a.probes[1:] }, event.Warning, "probes", "services.onepassword-secrets"},
		"nobody asks for the agent":   {func(a *agreement) { a.probes = a.probes[:1] }, event.Warning, "probes", "services.hercules-ci-agent"},

		"the agent is restarted twice": {func(a *agreement) { a.host.RestartAgent = "last" }, event.Warning, "restart_agent", "the activation restarts the agent"},
		"the agent is never restarted": {func(a *agreement) { a.declared.HerculesRestarts = no() }, event.Warning, "restart_agent", "nobody restarts the agent"},
		"the agent is restarted last":  {func(a *agreement) { a.declared.HerculesRestarts, a.host.RestartAgent = no(), "last" }, "", "", ""},
		"it deploys itself":            {func(a *agreement) { a.host.Mode = hosts.ModeSelf }, "", "", ""},
		"it cannot deploy itself": {func(a *agreement) { a.host.Mode, a.expected.Services.HerculesCI.Enable = hosts.ModeSelf, false },
			event.Warning, "confirm mode", "no Hercules CI agent"},
		"there is no agent to restart": {func(a *agreement) { a.host.RestartAgent, a.expected.Services.HerculesCI.Enable = "last", false },
			event.Warning, "restart_agent", "enables no Hercules CI agent"},
	} {
		t.Run(name, func(t *testing.T) {
			a := agreeing()
			c.change(&a)
			found := a.findings()
			if c.finding == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Severity != c.severity || found[0].Name != c.finding || !strings.Contains(found[0].Cause, c.words) {
				t.Fatalf("found %+v", found)
			}
			if found[0].Remedy == "" && c.severity != event.Remark {
				t.Error("there is no remedy")
			}
		})
	}
}
