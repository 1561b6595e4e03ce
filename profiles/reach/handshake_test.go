package reach

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestWhatSshSaysOfAKnock(t *testing.T) {
	k := Knock{Address: "192.0.2.20", Port: 22}
	for _, c := range []struct {
		name, said    string
		ended         bool
		well, hostKey bool
	}{
		{"no method is left", "root@192.0.2.20: Permission denied (publickey).\r\n", false, true, false},
		{"several methods", "root@192.0.2.20: Permission denied (publickey,keyboard-interactive).\r\n", false, true, false},
		{"nothing was asked for", "", true, true, false},
		{"another key", "No ED25519 host key is known for hdeploy and you have requested strict checking.\r\nHost key verification failed.\r\n", false, false, true},
		{"a changed key", "@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key for hdeploy has changed and you have requested strict checking.\r\nHost key verification failed.\r\n", false, false, true},
		{"nobody", "ssh: connect to host 192.0.2.20 port 22: Connection refused\r\n", false, false, false},
		{"no answer", "ssh: connect to host 192.0.2.20 port 22: Connection timed out\r\n", false, false, false},
		{"a penalty", "Not allowed at this time\r\nkex_exchange_identification: read: Connection reset by peer\r\n", false, false, false},
		{"closed", "Connection closed by 192.0.2.20 port 22\r\n", false, false, false},
		{"a file", "/root/x: Permission denied\r\n", false, false, false},
		{"nothing said", "", false, false, false},
	} {
		err := k.heard(c.ended, c.said)
		if (err == nil) != c.well || errors.Is(err, ErrHostKey) != c.hostKey {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A sshd that never answers the host itself is no reason to go back.
func TestAHandshakeThatFailedBeforeProvesNothing(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key.pub"), []byte(keyOne+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := daemon{global: Settings{"listenaddress": {listener.Addr().String()}, "hostkey": {filepath.Join(dir, "key")}}}
	for says, want := range map[string]bool{"x: Permission denied (publickey).": false, "ssh: Connection timed out": true} {
		script := "#!/bin/sh\necho '" + says + "' >&2\nexit 255\n"
		if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		unread := false
		Host{Programs: []systemd.Manager{{Bin: dir}}, Dir: dir}.surveyHandshake(t.Context(), d, Question{}, func(_ error, looks ...string) {
			unread = unread || slices.Contains(looks, Handshake)
		})
		if unread != want {
			t.Errorf("ssh says %q: unread is %v", says, unread)
		}
	}
}

func TestKnocksAreNothingThatSshTakesForAnother(t *testing.T) {
	good := Knock{Address: "192.0.2.20", Port: 22, User: "root", HostKeys: []string{keyOne}}
	change := func(change func(*Knock)) Knock {
		k := good
		change(&k)
		return k
	}
	for _, k := range []Knock{
		good, change(func(k *Knock) { k.Address = "2001:db8::1" }), change(func(k *Knock) { k.Address = "web2.example.org" }),
	} {
		if err := k.Validate(); err != nil {
			t.Errorf("%+v: %v", k, err)
		}
	}
	for _, k := range []Knock{
		{}, change(func(k *Knock) { k.Address = "-oProxyCommand=x" }), change(func(k *Knock) { k.Address = "a b" }), change(func(k *Knock) { k.Address = "a\nb" }),
		change(func(k *Knock) { k.Address = "" }), change(func(k *Knock) { k.Port = 0 }), change(func(k *Knock) { k.User = "-x" }), change(func(k *Knock) { k.User = "" }),
		change(func(k *Knock) { k.HostKeys = nil }), change(func(k *Knock) { k.HostKeys = []string{"x"} }),
		change(func(k *Knock) { k.HostKeys = []string{keyOne + "\n@cert-authority * " + keyOne} }),
		change(func(k *Knock) { k.HostKeys = []string{keyOne + " somebody"} }), change(func(k *Knock) { k.HostKeys = slices.Repeat([]string{keyOne}, 33) }),
	} {
		if err := k.Validate(); err == nil {
			t.Errorf("%+v is knocked with", k)
		}
	}
	if args := strings.Join(good.arguments("/k"), " "); !strings.Contains(args, "StrictHostKeyChecking=yes") || !strings.HasSuffix(args, "-- 192.0.2.20 true") {
		t.Error(args)
	}
}
