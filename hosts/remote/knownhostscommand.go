package remote

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// askCommand adds what KnownHostsCommand prints to what is known. OpenSSH calls it
// with two reasons: before the host has shown a key, to learn which types to ask for,
// and with the key.
func (p *hostKeyPolicy) askCommand(ctx context.Context, reason string, key ssh.PublicKey) error {
	argv := p.target.SSH.KnownHostsCommand
	if len(argv) == 0 || p.pinned || argv[0] == "none" {
		return nil
	}
	out, err := p.runCommand(ctx, expandKeyTokens(argv, p.names.exact, reason, key))
	var found knownHost
	if err == nil {
		found, err = readKnownHosts(bytes.NewReader(out), "KnownHostsCommand", p.names.exact)
	}
	if err != nil {
		line, _ := Quote(argv)
		return p.target.fail(KnownHostsUnreadable, "see what it prints, or pin the key: host_keys in deploy.toml\n    "+printable(line), "ask KnownHostsCommand: %s", plain(err))
	}
	for _, key := range found.keys {
		if _, ok := has(p.host.keys, key); !ok {
			p.host.keys = append(p.host.keys, key)
		}
	}
	p.host.add(knownHost{authorities: found.authorities, revoked: found.revoked})
	return nil
}

// runCommand runs a program without a shell, as OpenSSH does, until ctx ends.
func (p *hostKeyPolicy) runCommand(ctx context.Context, argv []string) ([]byte, error) {
	words := &lastWords{}
	out := &capped{most: mostKnownHosts + 1} // readKnownHosts refuses what is more
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdout, command.Stderr = out, words
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("no answer within " + p.target.ConnectTimeout.String())
	case err != nil && words.String() != "":
		return nil, errors.New(plain(err) + ": " + words.String())
	}
	return out.kept.Bytes(), err
}

// expandKeyTokens fills in the tokens that are only known now: %H, the name that is
// looked for, %I, the reason, and of the key %t, its type, %f, its fingerprint, and
// %K, the key itself. Without a key they are NONE. %% is a percent sign.
func expandKeyTokens(argv []string, name, reason string, key ssh.PublicKey) []string {
	keyType, fingerprint, blob := "NONE", "NONE", "NONE"
	if key != nil {
		keyType, fingerprint = key.Type(), ssh.FingerprintSHA256(key)
		blob = base64.StdEncoding.EncodeToString(key.Marshal())
	}
	tokens := strings.NewReplacer("%%", "%", "%H", name, "%I", reason, "%t", keyType, "%f", fingerprint, "%K", blob)
	expanded := make([]string, len(argv))
	for i, word := range argv {
		expanded[i] = tokens.Replace(word)
	}
	return expanded
}
