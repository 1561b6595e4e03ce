// Package sshconfig reads the user's and the system's ssh_config the way OpenSSH
// does: which directives hold for a host, after all Host and Match blocks.
//
// It keeps one promise: a directive that is honoured means what it means to
// `ssh -G` of OpenSSH, and one that hdeploy cannot honour and that would change
// where a connection goes, or who is trusted, is refused by name with its place,
// never passed over. The source of the format is ssh_config(5). No library of the
// field has Match, the final pass and OpenSSH's quotes at once, so this is a parser
// of its own, compared with the installed ssh in its tests.
package sshconfig

// Settings are what holds for one destination. A zero value means that nothing
// was said, and that OpenSSH's default, or hdeploy's own setting, holds.
type Settings struct {
	// HostName is the address to connect to: that of the directive, or the name that
	// was asked for, in lower case and an IP address in its usual form. It is never
	// empty in what [Config.Lookup] returns.
	HostName string
	// Port and User are as in ssh_config.
	Port int
	User string
	// IdentityFiles and CertificateFiles are absolute paths, tokens expanded. Nil
	// means that nothing was said, empty that IdentityFile is none.
	IdentityFiles    []string
	CertificateFiles []string
	// IdentitiesOnly offers no key of the agent but those that IdentityFiles name.
	IdentitiesOnly bool
	// IdentityAgent is the socket of an agent, or "none".
	IdentityAgent string
	// ProxyJump are the hops, nearest first, as they are written: [user@]host[:port]
	// or an ssh:// URI. Each is itself looked up in ssh_config; [Config.Hops] does it.
	ProxyJump []string
	// ProxyCommand is a line for the user's shell, tokens expanded; its standard
	// streams are the connection.
	ProxyCommand string
	// HostKeyAlias is the name under which known_hosts knows the host.
	HostKeyAlias string
	// HostKeyAlgorithms are the signature algorithms to ask the host for, best first.
	HostKeyAlgorithms []string
	// CASignatureAlgorithms are those by which a host's certificate may be signed.
	CASignatureAlgorithms []string
	// RequiredRSASize is the least size in bits of an RSA key of a host or a user.
	RequiredRSASize int
	// KnownHostsFiles are UserKnownHostsFile and GlobalKnownHostsFile, in this order;
	// nil means OpenSSH's own.
	KnownHostsFiles []string
	// KnownHostsCommand is an argv with an absolute path. Of its tokens are left those
	// that are only known when the host has shown its key: %H, %I, %K, %f, %t, and %%.
	KnownHostsCommand []string
	// AddressFamily is "inet", "inet6", or empty for any. BindAddress is the local
	// address of the connection.
	AddressFamily string
	BindAddress   string
	// ConnectTimeout is in seconds, zero for none said.
	ConnectTimeout int

	// Sources says where a directive, by its name in ssh_config(5), was first said.
	Sources map[string]Source
	// Ignored are directives that ask for less caution than hdeploy has.
	Ignored []Ignored
}

// Source is a line of a file. A line of 0 stands for what is no file, such as flags.
type Source struct {
	File string
	Line int
}

// Ignored is a directive that holds for a host and that hdeploy does not follow.
type Ignored struct {
	Directive, Value string
	Source           Source
	// Why says what hdeploy does instead.
	Why string
}
