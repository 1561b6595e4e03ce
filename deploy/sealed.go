package deploy

import (
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

// Sealed is how hosts are reached where nothing of the user's own ssh may count: no key
// of a file or an agent, and no known_hosts but what deploy.toml names itself.
type Sealed struct {
	Identities []remote.Identity
	// KnownHosts are lines of known_hosts, which count beside host_keys of deploy.toml.
	KnownHosts []byte
}

// seal makes a target one that is reached so.
func (s *Secrets) seal(t remote.Target, options []hosts.SSHOption) remote.Target {
	if s == nil || s.Sealed == nil {
		return t
	}
	t.Identities = s.Sealed.Identities
	t.KnownHosts = append([]byte{}, s.Sealed.KnownHosts...)
	t.SSH.KnownHostsCommand = nil
	named := func(o hosts.SSHOption) bool {
		return strings.EqualFold(o.Directive, "UserKnownHostsFile") || strings.EqualFold(o.Directive, "GlobalKnownHostsFile")
	}
	if slices.ContainsFunc(options, named) {
		t.KnownHostsFiles = t.SSH.KnownHostsFiles
	}
	return t
}
