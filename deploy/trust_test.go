package deploy

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// A key that is known already is held against the fingerprint, too: it may be the one
// that somebody in between has shown before.
func TestTrustHoldsAKnownKeyAgainstTheFingerprint(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	login, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "id"), string(pem.EncodeToMemory(block)))
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{login}})
	host := hosts.NewHost("web1")
	host.Address, host.Port = server.Address(), server.Port()
	host.HostKeys, host.IdentityFiles = server.HostKeyLines(), []string{filepath.Join(dir, "id")}
	t.Setenv("SSH_AUTH_SOCK", "")
	_, err = Trust(t.Context(), TrustRequest{
		Host: host, StateDir: filepath.Join(dir, "state"), Fingerprint: "SHA256:of-another-key",
		Accept: func(context.Context, remote.ShownKey) error { t.Error("a known key was shown"); return nil },
	})
	refusal(t, err, "host key", "known already", "SHA256:of-another-key", ssh.FingerprintSHA256(server.HostKeys[0].PublicKey()))
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("something was recorded")
	}
}
