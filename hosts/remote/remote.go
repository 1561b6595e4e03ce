// Package remote is the one SSH connection per host: login once, then
// commands and sockets ride on it side by side.
//
// It keeps three promises. No connection is used whose host key was not known
// beforehand. Every wait ends: with an answer, with the caller's context, or
// because the keepalive found the host gone. And every failure is an [Error]
// that names the host, the cause and what to do next.
package remote

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// Target is a host and how to log in to it. Only Host is required.
type Target struct {
	// Host names the machine in messages and in the lines they tell to add to
	// deploy.toml.
	Host string
	// Address is a host name or IP address (Host), Port its port (22), User
	// the account (root).
	Address string
	Port    int
	User    string
	// HostKeys pins the host's public keys, in the format of authorized_keys.
	// When there are any, known_hosts is not asked.
	HostKeys []string
	// KnownHosts are lines of known_hosts that are in memory alone; nil where there are
	// none. Where they are set, even to nothing, no file is asked but KnownHostsFiles.
	KnownHosts []byte
	// Identities are private keys that are in memory alone. Where there are any, no
	// other one is offered, of whatever file or agent.
	Identities []Identity
	// IdentityFiles are private keys offered before those of the agent.
	IdentityFiles []string
	// DefaultIdentityFiles are offered after those of the agent where IdentityFiles is
	// empty (OpenSSH's own in ~/.ssh); those that do not exist are passed over.
	DefaultIdentityFiles []string
	// KnownHostsFiles are asked when HostKeys is empty (those of SSH, or OpenSSH's own).
	// The first is the one that [ShownKey.Write] adds to.
	KnownHostsFiles []string
	// AgentSocket is the socket of an SSH agent (SSH.IdentityAgent, or $SSH_AUTH_SOCK).
	AgentSocket string
	// Jump is the way to the host, nearest hop first. The hops' own Jump,
	// ConnectTimeout and Keepalive are not used.
	Jump []Target
	// SSH is what ssh_config says beyond Address, Port, User and IdentityFiles.
	SSH sshconfig.Settings
	// Local runs everything on this machine, without SSH.
	Local bool
	// Elevation is the argv prefix that makes a command run as root.
	Elevation []string
	// Password hands the password of the elevation to use, which answers with
	// [ErrPassword] where the host did not accept it; nil where there is none. It is
	// called each time that the host asks for one, also by several goroutines.
	Password func(ctx context.Context, use func(password string) error) error
	// TempDir is a folder of the login user on the host, for uploads and for the pipes of
	// an elevation on a terminal; empty for the home directory, and /tmp.
	TempDir string
	// ConnectTimeout covers TCP, handshake and login of all hops together
	// (SSH.ConnectTimeout, or 10 s).
	ConnectTimeout time.Duration
	// Passphrases opens protected keys that no agent holds; nil where nobody can be
	// asked.
	Passphrases *Passphrases
	// Keepalive is the pause between two signs of life that the host is asked
	// for (3 s). After four without an answer the connection is given up.
	Keepalive time.Duration

	hop bool // it is only passed through
	// destination is the host at the end of the way.
	destination string
	// accept asks about a key that is not known; nil refuses it. replace asks about
	// one that contradicts a known one, too.
	accept  func(context.Context, ShownKey) error
	replace bool
}

// missedKeepalives is how many unanswered requests end a connection. The first goes out
// up to one pause after the last byte, so that a stall is noticed within 15 s.
const missedKeepalives = 4

// withDefaults fills in what is empty.
func (t Target) withDefaults() Target {
	if t.Address == "" {
		t.Address = t.Host
	}
	if t.Port == 0 {
		t.Port = 22
	}
	if t.User == "" {
		t.User = "root"
	}
	t.Address = unbracketed(t.Address)
	if t.ConnectTimeout <= 0 {
		t.ConnectTimeout = cmp.Or(time.Duration(t.SSH.ConnectTimeout)*time.Second, 10*time.Second)
	}
	if t.Keepalive <= 0 {
		t.Keepalive = 3 * time.Second
	}
	if t.KnownHosts != nil && t.KnownHostsFiles == nil {
		t.KnownHostsFiles = []string{}
	}
	if t.KnownHostsFiles == nil {
		t.KnownHostsFiles = t.SSH.KnownHostsFiles
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return t
	}
	if t.KnownHostsFiles == nil {
		for _, name := range []string{"known_hosts", "known_hosts2"} {
			t.KnownHostsFiles = append(t.KnownHostsFiles, filepath.Join(home, ".ssh", name))
		}
		t.KnownHostsFiles = append(t.KnownHostsFiles, "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
	}
	if t.DefaultIdentityFiles == nil {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"} {
			t.DefaultIdentityFiles = append(t.DefaultIdentityFiles, filepath.Join(home, ".ssh", name))
		}
	}
	return t
}

func (t Target) endpoint() string {
	return net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
}

// unbracketed is an IPv6 address as net takes it.
func unbracketed(address string) string {
	if inner, ok := strings.CutPrefix(address, "["); ok {
		return strings.TrimSuffix(inner, "]")
	}
	return address
}

// table names the place in deploy.toml where this host is described.
func (t Target) table() string {
	name := t.Host
	if strings.Contains(name, ".") {
		name = strconv.Quote(name)
	}
	if t.hop {
		return "[jumps." + name + "] (or [hosts." + name + "])"
	}
	return "[hosts." + name + "]"
}

// sshCommand is what a person types to see the same failure.
func (t Target) sshCommand() string {
	argv := []string{"ssh"}
	if t.Port != 22 {
		argv = append(argv, "-p", strconv.Itoa(t.Port))
	}
	if len(t.Jump) > 0 {
		argv = append(argv, "-J", jumpList(t.Jump))
	}
	line, err := Quote(append(argv, t.User+"@"+t.Address))
	if err != nil {
		return "ssh"
	}
	return line
}

func jumpList(hops []Target) string {
	list := ""
	for i, hop := range hops {
		if i > 0 {
			list += ","
		}
		hop = hop.withDefaults()
		list += hop.User + "@" + hop.endpoint()
	}
	return list
}
