// Package hosts reads deploy.toml: which hosts there are, how each is reached,
// and which probes judge it.
//
// It keeps one promise: an [Inventory] that [Load] returned is complete and
// valid. Every name resolves, every value is in its range and every default is
// filled in, so that nothing after it has to ask twice. What is wrong with a
// file is reported all at once, each fault with its line and column.
package hosts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// Inventory is the content of one deploy.toml.
type Inventory struct {
	// Path is the absolute path of the file.
	Path string
	// Flake is the flake reference as Nix takes it; relative paths are made
	// absolute against the folder of the file.
	Flake string
	// SSHConfig is the absolute path of the ssh_config to read instead of the user's
	// and the system's, empty for these, or [NoSSHConfig].
	SSHConfig string
	// Origins are where Flake and SSHConfig, "flake" and "ssh_config", were said.
	Origins Origins
	// Hosts are in the order in which they stand in the file.
	Hosts []Host
	// Questions are what ssh_config was asked about the hosts, by their names.
	Questions map[string]Question
	// Probes are the probes the file defines, by name, used or not.
	Probes map[string]Probe
}

// Host is one machine and how it is deployed.
type Host struct {
	Name string
	// Address is a host name or IP address, without user and port.
	Address string
	Port    int
	User    string
	// HostKeys are the public keys that identify the host, in the format of
	// authorized_keys without options and comment. Empty means that
	// known_hosts decides. The base64 part of a placeholder is "AAAA...": it
	// matches no key, so that the refused connection can show the real one.
	HostKeys []string
	// IdentityFiles are absolute paths of private keys.
	IdentityFiles []string
	// Jump is the way to the host, nearest hop first.
	Jump []Jump
	// Elevation is the argv prefix that makes a command run as root.
	Elevation []string
	Tags      []string
	// Attribute is the path of the system's toplevel within the flake.
	Attribute string
	Probes    []Probe
	Timeouts  Timeouts
	// OrBoot allows that a system which cannot be switched to while the host runs
	// is booted instead.
	OrBoot bool
	// LastResort is what the host does where going back did not help: "none" or
	// "reboot".
	LastResort string

	// Local says that the host is the machine hdeploy runs on, and that no SSH is
	// needed.
	Local bool
	// SSHOptions are directives that come before those of ssh_config, in the order in
	// which they were read; SSH is what both add to the above. Its HostName, Port, User and
	// ProxyJump are empty, since Address, Port, User and Jump say it; its IdentityFiles are
	// empty, not nil, where no key is to be offered but those of the agent.
	SSHOptions []SSHOption
	SSH        sshconfig.Settings
	// Password is where the password for Elevation comes from.
	Password Password
	// Agent is the fixed path of the agent on the host, which the rules of sudo name;
	// empty where hdeploy uploads its own.
	Agent string
	// TempDir is a folder of the login user on the host, for uploads and for the pipes of
	// an elevation on a terminal; empty for the home directory, and /tmp.
	TempDir string
	// Build is where the closure is built: BuildLocal, BuildHost for the host itself,
	// or the name of another host of the inventory.
	Build string
	// Substitute lets the host fetch from its own caches what they have.
	Substitute bool
	// Confirm is where the new system answers, where the change moves that; nil for
	// the same place as before.
	Confirm *Endpoint
	// AutoRollback takes a system back that failed its trial. MagicRollback demands
	// that the confirmation comes over a new connection.
	AutoRollback, MagicRollback bool
	// Mode is who confirms a new system: the deployer over a new connection, or the host
	// itself, where it deploys itself. The rest of these is for the host itself.
	Mode ConfirmMode
	// Witness is another host of the inventory, which dials in from outside; empty for
	// none. Outward are URLs (https) that the new system must reach. OnUnknown is what becomes
	// of one that was not proven to let traffic in: OnUnknownChanged to go back where
	// something changed that decides over it, OnUnknownRollback or OnUnknownCommit.
	Witness   string
	Outward   []string
	OnUnknown string
	// RestartAgent is when the agent of Hercules CI is restarted: RestartBySwitch, as
	// the activation does it, or RestartLast, after everything else was judged.
	RestartAgent string
	// Drain is how long the host's own CI agent may go on with what it builds, before
	// the change; zero to go on at once.
	Drain time.Duration
	// MachineID is the machine-id that the host must have, empty where none is pinned.
	MachineID string
	// Profiles are deployed in this order. There is at least one.
	Profiles []Profile
	// Origins are where the settings were said; see [Effective].
	Origins Origins
}

// ConfirmMode is who confirms a new system.
type ConfirmMode string

// The modes. ModeAuto finds out whether the host deploys itself.
const (
	ModeAuto   ConfirmMode = "auto"
	ModeRemote ConfirmMode = "remote"
	ModeSelf   ConfirmMode = "self"
)

// Where a closure is built, beside another host.
const (
	BuildLocal = "local"
	BuildHost  = "host"
)

// The kinds of profiles.
const (
	// KindNixOS is a NixOS system and the system profile.
	KindNixOS = "nixos"
	// KindHomeManager is a home-manager generation of one user.
	KindHomeManager = "home-manager"
	// KindCustom is a closure with programs of its own for each step.
	KindCustom = "custom"
	// KindDeployRs is a closure that deploy-rs's activate functions made.
	KindDeployRs = "deploy-rs"
)

// Profile is one thing that is deployed on a host.
type Profile struct {
	// Name is unique within its host: "system" for the default one.
	Name string
	// Kind is one of the constants Kind….
	Kind string
	// User owns the profile and activates it.
	User string
	// Attribute is the path of the profile's derivation within the flake.
	Attribute string
	// Path is the link of the profile on the host; empty for that of its kind, user
	// and name.
	Path string
	// Activate, Rollback and Check are argv of a custom profile, the first word
	// relative to the closure; an empty Rollback means Activate of the previous
	// closure, an empty Check that none is made.
	Activate, Rollback, Check []string
	// Probes judge the profile in addition to the host's, Timeouts are the host's
	// where nothing else is said.
	Probes   []Probe
	Timeouts Timeouts
}

// Endpoint is where a host answers after the change. An empty field is as before.
type Endpoint struct {
	Address  string
	Port     int
	User     string
	HostKeys []string
	// Way is how ssh_config leads there; nil where nobody asked it.
	Way *Way
}

// Way is what ssh_config says of how a host is reached, beside address, port and user.
type Way struct {
	IdentityFiles []string
	Jump          []Jump
	SSH           sshconfig.Settings
}

// Password is where a password for elevation comes from. All empty means that none
// is needed. Hosts with an equal Password share one answer within a run.
type Password struct {
	// Ask asks the person, or the program in $SUDO_ASKPASS or $SSH_ASKPASS.
	Ask bool
	// File is an absolute path here, Command an argv here that prints it.
	File    string
	Command []string
}

// Jump is a host that a connection passes through. It is never deployed to by
// being one.
type Jump struct {
	Name, Address string
	Port          int
	User          string
	HostKeys      []string
	IdentityFiles []string
	SSH           sshconfig.Settings
}

// Timeouts are the longest waits of one deployment.
type Timeouts struct {
	// Activation is the time the trial may take, Confirm how long the host
	// then waits for the deployer, Commit and Rollback what these may take,
	// and Grace what the dead-man's switch adds to their sum.
	Activation, Confirm, Commit, Rollback, Grace time.Duration
	// Connect covers TCP, handshake and login of one connection.
	Connect time.Duration
	// Reboot is the time from a reboot until the host answers again.
	Reboot time.Duration
}

// NewHost returns a host for which nothing but the name is known: everything
// else has its default.
func NewHost(name string) Host {
	h := Host{
		Name:       name,
		Address:    name,
		Port:       22,
		User:       "root",
		Attribute:  defaultAttribute(name),
		LastResort: "none",
		Build:      BuildLocal, AutoRollback: true, MagicRollback: true,
		Mode: ModeAuto, OnUnknown: OnUnknownChanged, RestartAgent: RestartBySwitch,
		Timeouts: Timeouts{
			Activation: 300 * time.Second,
			Confirm:    60 * time.Second,
			Commit:     120 * time.Second,
			Rollback:   300 * time.Second,
			Grace:      15 * time.Second,
			Connect:    10 * time.Second,
			Reboot:     10 * time.Minute,
		},
	}
	h.Profiles = []Profile{h.system()}
	return h
}

// system is the one profile of a host of which nothing else is said.
func (h Host) system() Profile {
	return Profile{Name: SystemProfile, Kind: KindNixOS, User: "root", Attribute: h.Attribute, Timeouts: h.Timeouts}
}

// DefaultElevation returns the argv prefix that makes commands of user run as
// root: none for root itself, otherwise sudo without a prompt.
func DefaultElevation(user string) []string {
	if user == "root" {
		return nil
	}
	return []string{"sudo", "-n", "--"}
}

func defaultAttribute(name string) string {
	return "nixosConfigurations." + quotedAttribute(name) + ".config.system.build.toplevel"
}

// quotedAttribute quotes a name that Nix would otherwise read as several attributes
// or as a number.
func quotedAttribute(name string) string {
	if plainAttribute.MatchString(name) {
		return name
	}
	return `"` + name + `"`
}

// Select returns the named hosts in the order given, each once. A name that
// starts with @ stands for all hosts with that tag. No names at all stand for
// every host. Each name that fits nothing is an [UnknownHostError].
func (inv *Inventory) Select(names []string) ([]Host, error) {
	if len(names) == 0 {
		return slices.Clone(inv.Hosts), nil
	}
	var selected []Host
	var faults []error
	taken := map[string]bool{}
	for _, name := range names {
		matches := inv.matching(name)
		if len(matches) == 0 {
			faults = append(faults, inv.unknown(name))
		}
		for _, host := range matches {
			if !taken[host.Name] {
				taken[host.Name] = true
				selected = append(selected, host)
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return selected, nil
}

func (inv *Inventory) matching(name string) []Host {
	tag, isTag := strings.CutPrefix(name, "@")
	var found []Host
	for _, host := range inv.Hosts {
		if host.Name == name || isTag && slices.Contains(host.Tags, tag) {
			found = append(found, host)
		}
	}
	if name == localHost && len(found) == 0 {
		return inv.here()
	}
	return found
}

func (inv *Inventory) unknown(name string) *UnknownHostError {
	known := inv.selectable(strings.HasPrefix(name, "@"))
	return &UnknownHostError{Name: printable(name), Path: inv.Path, Known: known, Suggestion: closest(name, known)}
}

// selectable lists what Select understands: host names, or tags with their @.
func (inv *Inventory) selectable(tags bool) []string {
	var names []string
	for _, host := range inv.Hosts {
		if !tags {
			names = append(names, host.Name)
			continue
		}
		for _, tag := range host.Tags {
			if !slices.Contains(names, "@"+tag) {
				names = append(names, "@"+tag)
			}
		}
	}
	return names
}

// UnknownHostError says that a name on the command line is no host, or no tag,
// of the inventory.
type UnknownHostError struct {
	// Name is what was asked for, Suggestion the known name most like it, or
	// empty.
	Name, Suggestion string
	// Path is the file searched, Known what it offers instead.
	Path  string
	Known []string
}

func (e *UnknownHostError) Error() string {
	what := "host"
	if strings.HasPrefix(e.Name, "@") {
		what = "tag"
	}
	message := fmt.Sprintf("find %s %q in %s: not defined", what, e.Name, e.Path)
	switch {
	case e.Suggestion != "":
		return message + fmt.Sprintf(" (did you mean %q?)", e.Suggestion)
	case len(e.Known) == 0:
		return message
	case len(e.Known) > listedNames:
		return message + fmt.Sprintf(" (known: %s and %d more)", strings.Join(e.Known[:listedNames], ", "), len(e.Known)-listedNames)
	}
	return message + fmt.Sprintf(" (known: %s)", strings.Join(e.Known, ", "))
}

// listedNames is how many known names fit into one readable line.
const listedNames = 8
