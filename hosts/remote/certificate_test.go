package remote_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

func TestUserCertificates(t *testing.T) {
	authority := newKeyPair(t, "authority")
	server := remotetest.Start(t, remotetest.Options{UserAuthority: readPublic(t, authority+".pub")})
	certified := func(t *testing.T, options ...string) string {
		t.Helper()
		key := newKeyPair(t, "id_user")
		certify(t, authority, key, append([]string{"-n", "root"}, options...)...)
		return key
	}
	t.Run("beside the key", func(t *testing.T) { dial(t, targetOf(t, server, certified(t))) })
	t.Run("RSA", func(t *testing.T) {
		key := newKeyPair(t, "id_rsa", "-t", "rsa", "-b", "2048")
		certify(t, authority, key, "-n", "root")
		dial(t, targetOf(t, server, key))
	})
	t.Run("named elsewhere", func(t *testing.T) {
		target := targetOf(t, server, certified(t))
		moved := filepath.Join(t.TempDir(), "certificate")
		if err := os.Rename(target.IdentityFiles[0]+"-cert.pub", moved); err != nil {
			t.Fatal(err)
		}
		target.SSH.CertificateFiles = []string{moved}
		dial(t, target)
	})
	t.Run("with its key in the agent", func(t *testing.T) {
		target := targetOf(t, server, "")
		key := newKeyPair(t, "id_user")
		target.AgentSocket = realAgent(t, key)
		target.IdentityFiles, target.SSH.CertificateFiles = nil, []string{certify(t, authority, key, "-n", "root")}
		target.SSH.IdentitiesOnly = true
		dial(t, target)
	})
	t.Run("in the agent", func(t *testing.T) {
		target := targetOf(t, server, "")
		target.AgentSocket, target.IdentityFiles = realAgent(t, certified(t)), nil
		dial(t, target)
	})
	t.Run("in the agent, of a named key", func(t *testing.T) {
		target := targetOf(t, server, "")
		key := certified(t)
		target.AgentSocket, target.IdentityFiles = realAgent(t, key), []string{key}
		target.SSH.IdentitiesOnly = true
		if err := os.Remove(key + "-cert.pub"); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(key); err != nil { // the public file alone finds it
			t.Fatal(err)
		}
		dial(t, target)
	})
	t.Run("expired", func(t *testing.T) {
		key := certified(t, "-V", "20200101Z:20200102Z")
		wantError(t, dialError(t, targetOf(t, server, key)), remote.LoginRefused, key+"-cert.pub (expired at 2020-01-02T00:00:00Z)")
	})
	t.Run("of another key", func(t *testing.T) {
		key := certified(t)
		target := targetOf(t, server, newKeyPair(t, "id_other"))
		target.SSH.CertificateFiles = []string{key + "-cert.pub"}
		wantError(t, dialError(t, target), remote.LoginRefused, key+"-cert.pub (its key is neither in the agent nor among the identity files)")
	})
	t.Run("of a host", func(t *testing.T) {
		key := certified(t, "-h")
		wantError(t, dialError(t, targetOf(t, server, key)), remote.LoginRefused, "a certificate of a host, not of a user")
	})
}

func TestHostCertificates(t *testing.T) {
	authority := newKeyPair(t, "authority", "-t", "rsa", "-b", "2048") // of another type than the host's key
	line := func(marker, names, path string) string {
		return marker + " " + names + " " + remotetest.Line(readPublic(t, path)) + "\n"
	}
	start := func(t *testing.T, options ...string) (*remotetest.Server, remote.Target, string) {
		t.Helper()
		key := newKeyPair(t, "host")
		certificate := certify(t, authority, key, append([]string{"-h"}, options...)...)
		server, target := setup(t, remotetest.Options{HostKeys: certifiedSigners(t, key, certificate)})
		target.HostKeys = nil
		return server, target, key
	}
	trusted := line("@cert-authority", "127.0.0.*,[127.0.0.1]:*", authority+".pub")
	t.Run("trusted", func(t *testing.T) {
		_, target, _ := start(t, "-n", "127.0.0.1,web1")
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted)}
		dial(t, target)
	})
	t.Run("for every host", func(t *testing.T) {
		_, target, _ := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted)}
		dial(t, target)
	})
	t.Run("by a pattern, under an alias", func(t *testing.T) {
		_, target, _ := start(t, "-n", "*.example.org")
		target.SSH.HostKeyAlias = "web1.example.org"
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", line("@cert-authority", "*.example.org", authority+".pub"))}
		dial(t, target)
	})
	t.Run("of a host that has moved from a port of its own", func(t *testing.T) {
		_, target, _ := start(t, "-n", "web1.example.org")
		target.SSH.HostKeyAlias = "[web1.example.org]:2222"
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", line("@cert-authority", "[web1.example.org]:2222", authority+".pub"))}
		dial(t, target)
	})
	for _, c := range []struct {
		name, options, message string
	}{
		{"for another host", "-nweb2", "principal"},
		{"expired", "-V20200101Z:20200102Z", "expired at 2020-01-02T00:00:00Z"},
		{"with an option nobody knows", "-Ocritical:no-such-thing", "no-such-thing"},
		{"signed with SHA-1", "-tssh-rsa", "SHA-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, target, _ := start(t, c.options)
			target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted)}
			wantError(t, dialError(t, target), remote.HostKeyUnknown, "web1: check host key: the certificate of 127.0.0.1", c.message, "ssh-keygen -Lf")
			if server.Logins.Load() != 0 {
				t.Error("logged in")
			}
		})
	}
	t.Run("signed with an algorithm that is not allowed", func(t *testing.T) {
		_, target, _ := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted)}
		target.SSH.CASignatureAlgorithms = []string{"ssh-ed25519"}
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "rsa-sha2-512", "CASignatureAlgorithms")
		target.SSH.CASignatureAlgorithms = []string{"rsa-sha2-512"}
		dial(t, target)
	})
	t.Run("by an authority that is not trusted, for a key that is known", func(t *testing.T) {
		_, target, key := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", line("", "[127.0.0.1]:*", key+".pub"))}
		dial(t, target)
	})
	t.Run("by an authority for other hosts", func(t *testing.T) {
		_, target, _ := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", line("@cert-authority", "*.example.org", authority+".pub"))}
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "is not known")
	})
	t.Run("by an authority that is revoked", func(t *testing.T) {
		_, target, _ := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted+line("@revoked", "*", authority+".pub"))}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "is revoked in", "known_hosts:2")
	})
	t.Run("for a key that is revoked", func(t *testing.T) {
		_, target, key := start(t)
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", trusted+line("@revoked", "*", key+".pub"))}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "is revoked in")
	})
	t.Run("expected, but the host has none", func(t *testing.T) {
		_, target := setup(t, remotetest.Options{})
		target.HostKeys, target.KnownHostsFiles = nil, []string{writeText(t, "known_hosts", trusted)}
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "is not known", "without a certificate by", "known_hosts:1")
	})
}

// A host counts each key that it is asked about, also the same one for the second time.
func TestRSACertificatesAreOfferedOnce(t *testing.T) {
	authority := newKeyPair(t, "authority")
	server := remotetest.Start(t, remotetest.Options{UserAuthority: readPublic(t, authority+".pub")})
	var keys []string
	for _, name := range []string{"id_one", "id_two"} {
		key := newKeyPair(t, name, "-t", "rsa", "-b", "2048")
		certify(t, authority, key, "-n", "somebody-else")
		keys = append(keys, key)
	}
	target := targetOf(t, server, "")
	target.IdentityFiles = keys
	wantError(t, dialError(t, target), remote.LoginRefused, "id_one", "id_two")
	if got := server.Offered.Load(); got != 4 {
		t.Errorf("%d keys were offered: two certificates and their keys are 4", got)
	}
}

func TestRequiredRSASize(t *testing.T) {
	key := newKeyPair(t, "id_rsa", "-t", "rsa", "-b", "2048")
	content, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(content)
	if err != nil {
		t.Fatal(err)
	}
	server := remotetest.Start(t, remotetest.Options{HostKeys: []ssh.Signer{signer}, Authorized: []ssh.PublicKey{signer.PublicKey()}})
	target := targetOf(t, server, key)
	target.SSH.RequiredRSASize = 2048
	dial(t, target)
	target.SSH.RequiredRSASize = 3072
	wantError(t, dialError(t, target), remote.KeyUnreadable, "id_rsa (an RSA key of 2048 bits, and RequiredRSASize is 3072)")
	target.IdentityFiles = []string{newKeyPair(t, "id_other")}
	wantError(t, dialError(t, target), remote.HostKeyUnknown, "check host key: it is an RSA key of 2048 bits")
}
