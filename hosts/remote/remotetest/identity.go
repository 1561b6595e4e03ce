package remotetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// NewIdentity writes a new private key into a directory of the test's own. It
// returns the file and the key that a server must authorize.
func NewIdentity(t testing.TB) (file string, key ssh.PublicKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil { //nolint:forbidigo // a directory of the test's own, which no reboot meets
		t.Fatal(err)
	}
	return file, public
}
