package remote

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Whatever stands in known_hosts: the one key that is not in it is never accepted,
// and nothing is while the key that is shown is revoked.
func FuzzHostKeyPolicy(f *testing.F) {
	stranger := fixedKey(f, 1)
	known := fixedKey(f, 2)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(known)))
	for _, text := range []string{
		"web1 " + line, "* " + line, "@revoked * " + line + "\n* " + line, "@cert-authority * " + line, "[web1]:2222 " + line, "web1 ssh-ed25519 ???", "!web1,* " + line,
	} {
		f.Add(text, "", 22)
		f.Add(text, "web1", 2222)
	}
	f.Fuzz(func(t *testing.T, text, alias string, port int) {
		target := Target{Host: "web1", Port: port, KnownHostsFiles: []string{writeKnown(t, text)}}.withDefaults()
		target.SSH.HostKeyAlias = alias
		_, b, release := withBudget(t.Context(), time.Minute)
		defer release()
		p, err := newHostKeyPolicy(t.Context(), target, b)
		if err != nil {
			return
		}
		blob := strings.Fields(string(ssh.MarshalAuthorizedKey(stranger)))[1]
		if p.judge(t.Context(), stranger) == nil && !strings.Contains(text, blob) {
			t.Errorf("accepts a key that does not stand in %q", text)
		}
		err = p.judge(context.Background(), known)
		if _, revoked := has(p.host.revoked, known); revoked && err == nil {
			t.Errorf("accepts a revoked key of %q", text)
		}
		if err == nil && !strings.Contains(text, strings.Fields(line)[1]) {
			t.Errorf("accepts a key that does not stand in %q", text)
		}
	})
}

func fixedKey(f *testing.F, seed byte) ssh.PublicKey {
	f.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		f.Fatal(err)
	}
	return public
}
