package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// trusting is a host whose key nobody knows, and a person before a terminal.
type trusting struct {
	t           *testing.T
	server      *remotetest.Server
	s           streams
	out, errOut *bytes.Buffer
	home        string
	machine     string // a file with the host's machine-id
}

func newTrusting(t *testing.T) *trusting {
	t.Helper()
	identity, public := remotetest.NewIdentity(t)
	tr := &trusting{t: t, home: t.TempDir()}
	tr.machine = filepath.Join(tr.home, "machine-id")
	tr.become("0123456789abcdef0123456789abcdef")
	// What the host runs is the one question for its machine-id.
	shell := filepath.Join(tr.home, "shell")
	tr.write(shell, "#!/bin/sh\necho a greeting\ncat "+tr.machine+"\n", 0o700)
	tr.server = remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{public}, Shell: shell})
	t.Setenv("HOME", tr.home)
	t.Setenv("SSH_AUTH_SOCK", "")
	tr.s, tr.out, tr.errOut = testStreams(t)
	tr.s.InTTY, tr.s.ErrTTY = true, true
	tr.s.Env = func(name string) (string, bool) { return tr.home, name == "HOME" }
	tr.write(filepath.Join(tr.s.Dir, "deploy.toml"),
		fmt.Sprintf("[hosts.web1]\naddress = \"127.0.0.1\"\nport = %d\nidentity_files = [%q]\n", tr.server.Port(), identity), 0o600)
	return tr
}

func (tr *trusting) write(path, text string, mode os.FileMode) {
	tr.t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *trusting) become(id string) { tr.write(tr.machine, id+"\n", 0o600) }

// run runs hdeploy trust with an answer, and wants a code and words.
func (tr *trusting) run(answer string, code int, args []string, words ...string) {
	tr.t.Helper()
	tr.out.Reset()
	tr.errOut.Reset()
	tr.s.In = strings.NewReader(answer)
	if got := Main(context.Background(), append([]string{"trust", "web1"}, args...), tr.s); got != code {
		tr.t.Errorf("%q: code %d, want %d", args, got, code)
	}
	said := tr.errOut.String() + tr.out.String()
	for _, word := range words {
		if !strings.Contains(said, word) {
			tr.t.Errorf("%q: %q is missing in:\n%s", args, word, said)
		}
	}
}

func (tr *trusting) knownHosts() string {
	text, _ := os.ReadFile(filepath.Join(tr.home, ".ssh", "known_hosts"))
	return string(text)
}

func (tr *trusting) recorded() string {
	inventory, err := loadInventory(commonOptions{}, tr.s)
	if err != nil {
		tr.t.Fatal(err)
	}
	return inventory.Hosts[0].MachineID
}

func TestTrustAsksAndRecords(t *testing.T) {
	tr := newTrusting(t)
	fingerprint, line := ssh.FingerprintSHA256(tr.server.HostKeys[0].PublicKey()), tr.server.HostKeyLines()[0]
	tr.run("n\n", 5, nil, "web1 (127.0.0.1:", "shows a key that is not known", fingerprint, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", ".ssh/known_hosts", "[y/N]", "the answer was not yes")
	if tr.knownHosts() != "" || tr.recorded() != "" {
		t.Error("something was recorded after a no")
	}
	tr.run("yes\n", 0, nil, "web1: trusted: "+fingerprint, "machine-id is recorded: 0123456789abcdef0123456789abcdef",
		`host_keys  = ["`+line+`"]`, `machine_id = "0123456789abcdef0123456789abcdef"`)
	if !strings.Contains(tr.knownHosts(), line) || tr.recorded() != "0123456789abcdef0123456789abcdef" {
		t.Errorf("known_hosts is %q, the machine %q", tr.knownHosts(), tr.recorded())
	}
	tr.run("", 0, nil, "its key was known already")

	tr.become("ffffffffffffffffffffffffffffffff")
	tr.run("", 5, nil, "IT IS ANOTHER MACHINE", "ffffffffffffffffffffffffffffffff", "machines/web1@127.0.0.1", "hdeploy trust web1 --replace")
	tr.run("", 0, []string{"--replace"}, "its key was known already")
	if got := tr.recorded(); got != "ffffffffffffffffffffffffffffffff" {
		t.Errorf("the machine is %q", got)
	}
}

func TestTrustOfAChangedKey(t *testing.T) {
	tr := newTrusting(t)
	old := remotetest.Line(remotetest.NewKey(t).PublicKey())
	if err := os.Mkdir(filepath.Join(tr.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	known := fmt.Sprintf("[127.0.0.1]:%d %s\n", tr.server.Port(), old)
	tr.write(filepath.Join(tr.home, ".ssh", "known_hosts"), known, 0o600)
	tr.run("yes\n", 5, nil, "IS NOT THE KNOWN ONE", "known_hosts:1", "hdeploy trust web1 --replace")
	if tr.knownHosts() != known {
		t.Errorf("known_hosts became %q", tr.knownHosts())
	}
	tr.run("yes\n", 0, []string{"--replace"}, "THE KEY IS NOT THE KNOWN ONE", "instead of SHA256:", "web1: trusted")
	if text := tr.knownHosts(); strings.Contains(text, old) || !strings.Contains(text, tr.server.HostKeyLines()[0]) {
		t.Errorf("known_hosts became %q", text)
	}
}

func TestTrustWithoutATerminal(t *testing.T) {
	tr := newTrusting(t)
	fingerprint := ssh.FingerprintSHA256(tr.server.HostKeys[0].PublicKey())
	tr.s.InTTY = false
	tr.run("yes\n", 2, nil, "no terminal to ask on", "--yes --fingerprint SHA256:...")
	tr.run("yes\n", 2, []string{"--yes"}, "no key is trusted unseen")
	tr.run("", 2, []string{"--yes", "--fingerprint", "MD5:00"}, "begins with SHA256:")
	tr.run("", 5, []string{"--yes", "--fingerprint", "SHA256:else"}, "it is not SHA256:else, which was expected", fingerprint)
	if tr.knownHosts() != "" {
		t.Error("a key was written")
	}
	tr.run("", 0, []string{"--yes", "--json", "--fingerprint", fingerprint}, `"type":"trust","host":"web1","added":[{"host":"web1","fingerprint":"`+fingerprint,
		`"machine_id":"0123456789abcdef0123456789abcdef"`)
	if !strings.Contains(tr.knownHosts(), tr.server.HostKeyLines()[0]) {
		t.Error("the key was not written")
	}
}
