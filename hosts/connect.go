package hosts

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// Sayings are what is settled of a host or jump host before ssh_config is asked, by
// flags, the environment or deploy.toml.
type Sayings struct {
	// Said reports whether a key, as it is called in deploy.toml, has been set: port,
	// user, identity_files, jump, elevation and timeouts.connect matter.
	Said func(key string) bool
	// Options come before the files.
	Options []sshconfig.Option
}

// OpenSSHConfig reads the ssh_config that deploy.toml chooses: none at all, the file at
// path instead of all others, or the user's and the system's. Its errors are of type
// [*sshconfig.Error].
func OpenSSHConfig(none bool, path string) (*sshconfig.Config, error) {
	switch {
	case none:
		return sshconfig.Load("", "") // options still mean something
	case path != "":
		return sshconfig.LoadOnly(path)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return sshconfig.Load("", sshconfig.SystemFile)
	}
	return sshconfig.Load(filepath.Join(home, ".ssh", "config"), sshconfig.SystemFile)
}

// longestConnect is the most that timeouts.connect may be.
const longestConnect = 10 * time.Minute

// Connect completes how the host is reached by what ssh_config says of its address, as
// ssh would understand it on a command line. What is said already stays, except that
// HostName says what the address means. named returns the way to and through a machine
// that deploy.toml describes, which holds where ProxyJump names it; nil for others.
func (h *Host) Connect(config *sshconfig.Config, says Sayings, named func(string) (way []Jump)) error {
	if h.Local {
		return nil
	}
	query := says.query(h.Address, h.User, h.Port)
	if says.Said("jump") {
		// What comes first holds, of ProxyJump and ProxyCommand together.
		query.Options = append([]sshconfig.Option{{Directive: "ProxyCommand", Value: "none"}}, query.Options...)
	}
	settings, err := config.Lookup(query)
	if err != nil {
		return err
	}
	hops, err := config.Hops(settings)
	if err != nil {
		return err
	}
	h.noteSSHConfig(settings, says)
	if !says.Said("jump") {
		h.Jump = jumpsOf(config, hops, len(settings.ProxyJump), h.Name, named)
	}
	says.settle(&settings, &h.Address, &h.Port, &h.User, &h.IdentityFiles)
	h.SSH = settings
	if settings.ConnectTimeout > 0 && !says.Said("timeouts.connect") {
		h.Timeouts.Connect = min(time.Duration(settings.ConnectTimeout)*time.Second, longestConnect)
	}
	if !says.Said("elevation") {
		h.Elevation = DefaultElevation(h.User)
	}
	return nil
}

// noteSSHConfig records what ssh_config has settled.
func (h *Host) noteSSHConfig(settings sshconfig.Settings, says Sayings) {
	// What is said already is asked of the map as it was.
	h.Origins = maps.Clone(h.Origins)
	for _, of := range []struct{ key, directive string }{
		{"address", "HostName"}, {"port", "Port"}, {"user", "User"}, {"identity_files", "IdentityFile"},
		{"jump", "ProxyJump"}, {"timeouts.connect", "ConnectTimeout"},
	} {
		source, found := settings.Sources[of.directive]
		if found && (of.key == "address" || !says.Said(of.key)) {
			h.Origins.Say(of.key, Origin{Level: LevelSSHConfig, File: source.File, Line: source.Line})
		}
	}
}

// Connect is that of a jump host. It returns the way to it that ssh_config describes,
// nearest hop first, which counts where the jump host is the first one.
func (j *Jump) Connect(config *sshconfig.Config, says Sayings) ([]Jump, error) {
	settings, err := config.Lookup(says.query(j.Address, j.User, j.Port))
	if err != nil {
		return nil, err
	}
	hops, err := config.Hops(settings)
	if err != nil {
		return nil, err
	}
	way := jumpsOf(config, hops, len(settings.ProxyJump), j.Name, func(string) []Jump { return nil })
	says.settle(&settings, &j.Address, &j.Port, &j.User, &j.IdentityFiles)
	j.SSH = settings
	return way, nil
}

// query asks for an address as ssh would be asked, with -l and -p for what is said.
func (s Sayings) query(address, user string, port int) sshconfig.Query {
	q := sshconfig.Query{Host: address, DefaultUser: user, Options: s.Options}
	if s.Said("user") {
		q.User = user
	}
	if s.Said("port") {
		q.Port = port
	}
	return q
}

// settle takes over what nobody has said. What has a field of its own is not said a
// second time by the settings, except that there are no keys at all.
func (s Sayings) settle(settings *sshconfig.Settings, address *string, port *int, user *string, identityFiles *[]string) {
	if _, said := settings.Sources["HostName"]; said {
		*address = settings.HostName
	}
	if !s.Said("port") && settings.Port != 0 {
		*port = settings.Port
	}
	if !s.Said("user") && settings.User != "" {
		*user = settings.User
	}
	if !s.Said("identity_files") && settings.IdentityFiles != nil {
		*identityFiles = slices.Clone(settings.IdentityFiles)
	}
	if s.Said("identity_files") || len(settings.IdentityFiles) > 0 {
		settings.IdentityFiles = nil
	}
	settings.HostName, settings.Port, settings.User, settings.ProxyJump = "", 0, "", nil
}

// jumpsOf are the hops of a way, of which the last ones were named by ProxyJump and the
// others lead to the first of these. One without a user is, as in ssh, logged in to by
// the local one.
func jumpsOf(config *sshconfig.Config, hops []sshconfig.Hop, last int, to string, named func(string) []Jump) []Jump {
	var jumps []Jump
	for i, hop := range hops {
		if described := named(hop.Host); described != nil && hop.Host != to {
			if i == len(hops)-last {
				jumps = described // the way to it is its own
			} else {
				jump := described[len(described)-1]
				jump.SSH.ProxyCommand = "" // the hop before it leads to it
				jumps = append(jumps, jump)
			}
			continue
		}
		jump := Jump{Name: hop.Host, Address: hop.Host, Port: 22, User: config.User()}
		nothing := Sayings{Said: func(string) bool { return false }}
		nothing.settle(&hop.Settings, &jump.Address, &jump.Port, &jump.User, &jump.IdentityFiles)
		jump.SSH = hop.Settings
		jumps = append(jumps, jump)
	}
	return jumps
}

// connector completes the hosts of one file.
type connector struct {
	config *sshconfig.Config
	// hosts are completed in place; says are by their names.
	hosts []*Host
	says  map[string]Sayings
	// machines are what a way may lead through, as the file has them: jump hosts, and
	// hosts where no jump host has the name.
	machines map[string]machine
}

// machine is one to pass through.
type machine struct {
	Jump
	says Sayings
}

func newConnector(config *sshconfig.Config, hosts []*Host, says map[string]Sayings, jumps map[string]Jump, jumpSays map[string]Sayings) connector {
	c := connector{config: config, hosts: hosts, says: says, machines: map[string]machine{}}
	for _, host := range hosts {
		if !host.Local {
			c.machines[host.Name] = machine{host.asJump(), says[host.Name]}
		}
	}
	for name, jump := range jumps {
		c.machines[name] = machine{jump, jumpSays[name]}
	}
	return c
}

// connect applies ssh_config to all hosts of the file and returns what it was asked.
// Faults are reported once, where they stand.
func (d *decoder) connect(c connector) map[string]Question {
	questions := map[string]Question{}
	for _, host := range c.hosts {
		err := c.way(host)
		if err == nil {
			questions[host.Name] = Question{*host, c.config, c.says[host.Name], c.named}
			err = host.Connect(c.config, c.says[host.Name], c.named)
		}
		if err == nil {
			err = questions[host.Name].askConfirm(host, "", 0, "")
		}
		if err != nil {
			d.failSSH("host "+host.Name, err)
		}
	}
	return questions
}

// way completes the jump hosts that deploy.toml names for a host. Of the first one
// ssh_config may describe a way of its own; it has to reach the others.
func (c connector) way(host *Host) error {
	var way []Jump
	for i, jump := range host.Jump {
		before, err := jump.Connect(c.config, c.machines[jump.Name].says)
		if err != nil {
			return err
		}
		if i == 0 {
			way = before
		} else {
			jump.SSH.ProxyCommand = ""
		}
		way = append(way, jump)
	}
	host.Jump = way
	return nil
}

// named is the way to and through what the file describes by a name, or nil.
func (c connector) named(name string) []Jump {
	m, ok := c.machines[name]
	if !ok {
		return nil
	}
	way, err := m.Connect(c.config, m.says)
	if err != nil {
		return nil
	}
	return append(way, m.Jump)
}

// asJump is the host as a machine to pass through.
func (h *Host) asJump() Jump {
	return Jump{Name: h.Name, Address: h.Address, Port: h.Port, User: h.User, HostKeys: h.HostKeys, IdentityFiles: h.IdentityFiles}
}

// failSSH reports a fault of ssh_config, once for all hosts that have it.
func (d *decoder) failSSH(where string, err error) {
	var fault *sshconfig.Error
	if !errors.As(err, &fault) {
		fault = &sshconfig.Error{Source: sshconfig.Source{File: d.file}, Message: err.Error()}
	}
	for _, known := range d.faults {
		if known.File == fault.File && known.Line == fault.Line {
			return
		}
	}
	message := fault.Text()
	if where != "" {
		message = where + ": " + message
	}
	d.faults = append(d.faults, &ConfigError{File: fault.File, Line: fault.Line, Message: message, Suggestion: fault.Next})
}
