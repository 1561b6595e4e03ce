package remote_test

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// inMemory is a new private key in no file.
func inMemory(t *testing.T) (remote.Identity, ssh.PublicKey) {
	t.Helper()
	private := newPrivate(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := remote.ParseIdentity("secret ssh", pem.EncodeToMemory(block), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return identity, publicOf(t, private)
}

// A key in memory is the only one that is offered, whatever files and agents have.
func TestIdentityInMemory(t *testing.T) {
	identity, public := inMemory(t)
	server, target := setup(t, remotetest.Options{Authorized: []ssh.PublicKey{public}})
	target.AgentSocket = startAgent(t, newPrivate(t), newPrivate(t))
	target.Identities = []remote.Identity{identity}
	dial(t, target)
	if n := server.Offered.Load(); n > 2 { // asked about, and signed with
		t.Errorf("%d keys were offered", n)
	}
	other, _ := inMemory(t)
	target.Identities = []remote.Identity{other}
	wantError(t, dialError(t, target), remote.LoginRefused, "none of these keys: secret ssh "+other.Fingerprint())
}

// Known hosts in memory count in the place of the user's own.
func TestKnownHostsInMemory(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	key := server.HostKeyLines()[0]
	name := fmt.Sprintf("[%s]:%d", server.Address(), server.Port())
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh/known_hosts"), []byte(name+" "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	target.HostKeys, target.KnownHostsFiles = nil, nil
	dial(t, target)

	target.KnownHosts = []byte{}
	fault := wantError(t, dialError(t, target), remote.HostKeyUnknown, "SHA256:", "add this to [hosts.web1] in deploy.toml", fmt.Sprintf("host_keys = [%q]", key))
	if strings.Contains(fault.Hint, "known_hosts") {
		t.Errorf("a file is named that does not count: %s", fault.Hint)
	}
	target.KnownHosts = []byte("# a comment\n" + name + " " + key)
	dial(t, target)
	target.KnownHosts = []byte(name + " " + remotetest.Line(remotetest.NewKey(t).PublicKey()))
	wantError(t, dialError(t, target), remote.HostKeyChanged, "IS NOT THE KNOWN ONE", "the known hosts that were given:1 says", "pin the new one in [hosts.web1] of deploy.toml")
	target.KnownHosts = []byte(name + " ssh-ed25519 rubbish")
	wantError(t, dialError(t, target), remote.KnownHostsUnreadable, "the known hosts that were given:1")

	target.KnownHosts, target.KnownHostsFiles = []byte{}, []string{filepath.Join(home, ".ssh/known_hosts")}
	dial(t, target)
}

func TestIdentityWithItsCertificate(t *testing.T) {
	authority := remotetest.NewKey(t)
	_, target := setup(t, remotetest.Options{UserAuthority: authority.PublicKey()})
	private := newPrivate(t)
	certificate := &ssh.Certificate{Key: publicOf(t, private), CertType: ssh.UserCert, ValidPrincipals: []string{"root"}, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(strings.NewReader(strings.Repeat("x", 256)), authority); err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := remote.ParseIdentity("secret ssh", pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(certificate), nil)
	if err != nil {
		t.Fatal(err)
	}
	target.Identities = []remote.Identity{identity}
	dial(t, target)
}
