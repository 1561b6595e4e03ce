// Package sshconfig reads the user's and the system's ssh_config the way OpenSSH
// does: which directives hold for a host, after all Host and Match blocks.
//
// It keeps one promise: a directive that is honoured means what it means to
// `ssh -G` of OpenSSH, and one that hdeploy cannot honour and that would change
// where a connection goes, or who is trusted, is refused by name with its place,
// never passed over. The source of the format is ssh_config(5).
package sshconfig

// Settings are what holds for one destination. A zero value means that nothing
// was said, and that OpenSSH's default, or hdeploy's own setting, holds.
type Settings struct {
	// HostName is the address to connect to, Port and User as in ssh_config.
	HostName string
	Port     int
	User     string
	// IdentityFiles and CertificateFiles are absolute paths, tokens expanded.
	IdentityFiles    []string
	CertificateFiles []string
	// IdentitiesOnly offers no key of the agent but those that IdentityFiles name.
	IdentitiesOnly bool
	// IdentityAgent is the socket of an agent, or "none".
	IdentityAgent string
	// ProxyJump are the hops, nearest first, as they are written: [user@]host[:port]
	// or an ssh:// URI. Each is itself looked up in ssh_config.
	ProxyJump []string
	// ProxyCommand is a line for the user's shell, tokens expanded; its standard
	// streams are the connection.
	ProxyCommand string
	// HostKeyAlias is the name under which known_hosts knows the host.
	HostKeyAlias string
	// HostKeyAlgorithms are the signature algorithms to ask the host for, best first.
	HostKeyAlgorithms []string
	// KnownHostsFiles are UserKnownHostsFile and GlobalKnownHostsFile, in this order;
	// nil means OpenSSH's own.
	KnownHostsFiles []string
	// KnownHostsCommand is an argv, tokens not expanded that are only known when the
	// host has shown its key.
	KnownHostsCommand []string
	// AddressFamily is "inet", "inet6", or empty for any. BindAddress is the local
	// address of the connection.
	AddressFamily string
	BindAddress   string
	// ConnectTimeout is in seconds, zero for none said.
	ConnectTimeout int
}
