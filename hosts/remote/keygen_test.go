package remote_test

import (
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// openSSH runs a program of OpenSSH and returns what it printed.
func openSSH(t testing.TB, environment []string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Env = append(os.Environ(), environment...)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

// newKeyPair makes a key with ssh-keygen and returns its file.
func newKeyPair(t testing.TB, name string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	argv := []string{"ssh-keygen", "-q", "-C", name, "-f", path}
	if len(options) == 0 {
		options = []string{"-t", "ed25519"}
	}
	if !slices.Contains(options, "-N") {
		options = append(options, "-N", "")
	}
	options = append(options, "-a", "1") // one round: a passphrase is checked fast
	openSSH(t, nil, append(argv, options...)...)
	return path
}

// certify signs a key with an authority, both made by newKeyPair, and returns the
// certificate's file.
func certify(t testing.TB, authority, key string, options ...string) string {
	t.Helper()
	argv := append([]string{"ssh-keygen", "-q", "-s", authority, "-I", "test"}, options...)
	openSSH(t, nil, append(argv, key+".pub")...)
	return key + "-cert.pub"
}

// readPublic reads the public key, or certificate, of a file.
func readPublic(t testing.TB, path string) ssh.PublicKey {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(content)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// certifiedSigners are a host key and its certificate, both of which sshd offers.
func certifiedSigners(t testing.TB, key, certificate string) []ssh.Signer {
	t.Helper()
	content, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ssh.ParsePrivateKey(content)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(readPublic(t, certificate).(*ssh.Certificate), plain)
	if err != nil {
		t.Fatal(err)
	}
	return []ssh.Signer{plain, signer}
}

// realAgent starts ssh-agent and adds keys to it.
func realAgent(t testing.TB, keys ...string) string {
	t.Helper()
	// Not the test's own folder: the path of a socket may have 108 bytes.
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "ssh-agent", "-D", "-a", socket)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // it was killed
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("ssh-agent does not start")
		}
	}
	for _, key := range keys {
		openSSH(t, []string{"SSH_AUTH_SOCK=" + socket}, "ssh-add", "-q", key)
	}
	return socket
}

func writeText(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writePEM(t testing.TB, name, kind string, content []byte) string {
	t.Helper()
	return writeText(t, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})))
}
