package nix

import "fmt"

// Declared is what a configuration says about things that must fit together. A list
// or a pointer is nil where the configuration has no such option, so that nothing can be
// said.
type Declared struct {
	// Users and Groups are the names of those that exist.
	Users  []string `json:"users"`
	Groups []string `json:"groups"`
	// Relations are those of the services that have to do with secrets.
	Relations []Relations `json:"relations"`
	// Units are the names and aliases of all units that the configuration defines.
	// Those that systemd or a package brings along are not among them.
	Units []string `json:"units"`
	// OpNix is nil where there is no unit opnix-secrets.
	OpNix *OpNix `json:"opnix"`
	// LoginKeys counts the declared keys of who logs in, whose home is Home; nil
	// where that is not known.
	LoginKeys *int   `json:"loginKeys"`
	Home      string `json:"home"`
	// Configurations are the names of the flake's nixosConfigurations.
	Configurations []string `json:"configurations"`
	// SSHD is services.openssh, Agent is services.hdeploy.
	SSHD  *SSHD  `json:"sshd"`
	Agent *Agent `json:"agent"`
	// Sudo and Doas say whether there is such a program.
	Sudo *bool `json:"sudo"`
	Doas *bool `json:"doas"`
	// HerculesRestarts says whether an activation restarts the changed unit of the Hercules CI
	// agent.
	HerculesRestarts *bool `json:"herculesRestarts"`
}

// SSHD is how the configuration has sshd. Of a disabled one nothing else is known.
type SSHD struct {
	Enable bool `json:"enable"`
	// Ports are those that it may listen on, perhaps at some addresses only.
	Ports []int `json:"ports"`
	// RootLogin is PermitRootLogin, empty where it is not set.
	RootLogin string `json:"rootLogin"`
}

// Agent is how the configuration has hdeploy's module. Of a disabled one nothing else is
// known.
type Agent struct {
	Enable bool `json:"enable"`
	// Users may run the agent as root, with their password where RequirePassword is set.
	Users           []string `json:"users"`
	RequirePassword bool     `json:"requirePassword"`
}

// Relations are the units that a unit names, with their suffixes.
type Relations struct {
	Unit string `json:"unit"`
	// Orders are those of After=, Wants those of Wants=, Needs those of Requires=,
	// BindsTo= and Requisite=.
	Orders []string `json:"orders"`
	Wants  []string `json:"wants"`
	Needs  []string `json:"needs"`
}

// OpNix is what is known of the OpNix that would run.
type OpNix struct {
	// Version is empty where it cannot be read.
	Version string `json:"version"`
	// GivesUp says that its unit is that of 0.10.1 or later, which does not wait for
	// the services that wait for it.
	GivesUp bool `json:"givesUp"`
}

// Old says whether it waits for the restart of services that wait for it.
func (o OpNix) Old() bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(o.Version, "%d.%d.%d", &major, &minor, &patch); n == 3 {
		return major == 0 && (minor < 10 || minor == 10 && patch < 1)
	}
	return !o.GivesUp
}
