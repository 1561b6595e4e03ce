package deploy

import (
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// privateKey is a key that is made for one test.
func privateKey(t testing.TB, passphrase string) (private, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

func secretsFile(t testing.TB, data map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"ssh":         map[string]any{"kind": "Secret", "data": data, "condition": true},
		"hercules-ci": map[string]any{"data": map[string]any{"token": "hidden"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseEffectSecret(t *testing.T) {
	private, public := privateKey(t, "")
	locked, _ := privateKey(t, "opens it")
	_, other := privateKey(t, "")
	for _, c := range []struct {
		name string
		data map[string]any
		want string // of the error
	}{
		{"a key", map[string]any{"privateKey": private}, ""},
		{"without its last newline", map[string]any{"privateKey": strings.TrimSpace(private)}, ""},
		{"with the newlines of a form", map[string]any{"privateKey": strings.ReplaceAll(private, "\n", "\r\n")}, ""},
		{"with its public key", map[string]any{"privateKey": private, "publicKey": public, "other": map[string]any{"a": 1}}, ""},
		{"with a passphrase", map[string]any{"privateKey": locked, "passphrase": "opens it", "knownHosts": "web1 " + public}, ""},
		{"without one", map[string]any{"privateKey": locked}, "is protected: put its passphrase into data.passphrase"},
		{"with a wrong one", map[string]any{"privateKey": locked, "passphrase": "hidden"}, "its passphrase is not the right one"},
		{"with another public key", map[string]any{"privateKey": private, "publicKey": other}, "its public key is another one"},
		{"with no public key", map[string]any{"privateKey": private, "publicKey": "hidden"}, "its public key cannot be read"},
		{"a public key", map[string]any{"privateKey": public}, "it is a public key"},
		{"a number", map[string]any{"privateKey": 12}, "data.privateKey is not a text"},
		{"nothing", map[string]any{"publicKey": public}, "has no data.privateKey"},
		{"rubbish", map[string]any{"privateKey": "hidden words"}, "it is no private key"},
	} {
		secret, err := ParseEffectSecret(secretsFile(t, c.data), "ssh")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && len(secret.Sealed.Identities) != 1:
			t.Errorf("%s: no key", c.name)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hidden"):
			t.Errorf("%s: a secret is in the error: %v", c.name, err)
		}
		if told := fmt.Sprintf("%v %+v %#v", secret, secret, secret); told != "a secret a secret a secret" {
			t.Errorf("%s: it prints %s", c.name, told)
		}
	}
}

func TestEffectSecretsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "it is not JSON of the form",
		"null":                                   "it is not JSON of the form",
		`{"ssh":"hidden"}`:                       "secret ssh is not of the form",
		`{"ssh":{"data":["hidden"]}}`:            "secret ssh is not of the form",
		`{"ssh":{"kind":"Git\u001b","data":{}}}`: "secret ssh is a Git?, which",
		`{"other":{},"b\u001b[31m":{}}`:          `there is no secret "ssh", only b?[31m, other`,
		`{}`:                                     "only none at all",
		`{"hidden`:                               "it is not JSON of the form",
	} {
		if _, err := ParseEffectSecret([]byte(text), "ssh"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", text, err)
		}
	}
	folder := t.TempDir()
	if _, err := ReadEffectSecret(folder, "ssh"); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
	large := filepath.Join(folder, "large")
	if err := os.WriteFile(large, make([]byte, mostSecretsBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEffectSecret(large, "ssh"); err == nil || !strings.Contains(err.Error(), "larger than 4096 KiB") {
		t.Errorf("a large file: %v", err)
	}
}

// An effect asks nobody: what deploy.toml would ask for is in the secret, or the
// question is a refusal that names where it belongs.
func TestEffectAnswersForThePerson(t *testing.T) {
	private, _ := privateKey(t, "")
	for password, want := range map[string]string{"": "data.sudoPassword", "of root": ""} {
		secret, err := ParseEffectSecret(secretsFile(t, map[string]any{"privateKey": private, "sudoPassword": password}), "ssh")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := secret.Secrets("ssh").passwords.ask(t.Context(), "Password:")
		if answer != password || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, %v", answer, err)
		}
		if secret.Secrets("ssh").keys() != nil {
			t.Error("somebody would be asked for a passphrase")
		}
	}
}

func FuzzEffectSecret(f *testing.F) {
	private, public := privateKey(f, "")
	f.Add(secretsFile(f, map[string]any{"privateKey": private, "publicKey": public, "knownHosts": "web1 " + public}), "ssh")
	f.Add([]byte(`{"ssh":{"kind":"Secret","data":{"privateKey":"x"}}}`), "ssh")
	f.Add([]byte(`{"a":null}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		secret, err := ParseEffectSecret(data, name)
		if (err == nil) != (len(secret.Sealed.Identities) == 1) {
			t.Errorf("%d keys, %v", len(secret.Sealed.Identities), err)
		}
	})
}
