package remote_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

func TestTrust(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	line := server.HostKeyLines()[0]
	name := "[127.0.0.1]:" + portText(server)
	target.HostKeys = nil
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	target.KnownHostsFiles = []string{file}
	var shown []remote.ShownKey
	accept := func(_ context.Context, key remote.ShownKey) error {
		shown = append(shown, key)
		return nil
	}

	conn, err := remote.DialTrusting(deadline(t), target, true, accept)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if len(shown) != 1 {
		t.Fatalf("%d keys were shown", len(shown))
	}
	wantLogins(t, server, 1)
	if key, fingerprint := conn.HostKey(); key != line || fingerprint != shown[0].Fingerprint {
		t.Errorf("the connection's key is %s %s", key, fingerprint)
	}
	want := remote.ShownKey{Host: "web1", Address: "127.0.0.1:" + portText(server), Type: "ssh-ed25519", Line: line, File: file,
		Fingerprint: ssh.FingerprintSHA256(server.HostKeys[0].PublicKey()), Console: "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"}
	if got := shown[0]; fmt.Sprint(got.Host, got.Address, got.Type, got.Fingerprint, got.Line, got.Console, got.Known, got.File) !=
		fmt.Sprint(want.Host, want.Address, want.Type, want.Fingerprint, want.Line, want.Console, want.Known, want.File) {
		t.Errorf("shown is %+v", got)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the key was written before anybody said so")
	}
	if err := shown[0].Write(); err != nil {
		t.Fatal(err)
	}
	requireFile(t, file, name+" "+line+"\n")
	dial(t, target)

	shown = nil
	conn, err = remote.DialTrusting(deadline(t), target, true, accept)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if len(shown) > 0 {
		t.Error("a known key was shown")
	}
}

func requireFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is %q, %v; want %q", path, got, err, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTrustAsksForAChangedKeyAndReplacesIt(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	line, old := server.HostKeyLines()[0], remotetest.Line(remotetest.NewKey(t).PublicKey())
	other := remotetest.Line(ecdsaKey(t).PublicKey())
	name := "[127.0.0.1]:" + portText(server)
	target.HostKeys = nil
	hashed := writeText(t, "hashed", name+" "+old+"\n")
	openSSH(t, nil, "ssh-keygen", "-q", "-H", "-f", hashed)
	hashedLine, err := os.ReadFile(hashed)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, before, after, fault string }{
		{"a line of its own", "# mine\n" + name + " " + old + " note\nweb2 " + old + "\n", "# mine\nweb2 " + old + "\n" + name + " " + line + "\n", ""},
		{"with other names", "web2," + name + ",web3 " + old + " note\n", "web2,web3 " + old + " note\n" + name + " " + line + "\n", ""},
		{"keys of two types", name + " " + old + "\n" + name + " " + other, name + " " + line + "\n", ""},
		{"hashed", string(hashedLine), name + " " + line + "\n", ""},
		{"by a pattern", "[127.0.0.1]:* " + old + "\n", "", "changed by hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := target
			target.KnownHostsFiles = []string{writeText(t, "known_hosts", c.before)}
			var key remote.ShownKey
			conn, err := remote.DialTrusting(deadline(t), target, true, func(_ context.Context, shown remote.ShownKey) error {
				key = shown
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if len(key.Known) == 0 || !strings.Contains(key.Known[0], target.KnownHostsFiles[0]+":") {
				t.Errorf("known is %q", key.Known)
			}
			err = key.Write()
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("got %v", err)
				}
				requireFile(t, target.KnownHostsFiles[0], c.before)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			requireFile(t, target.KnownHostsFiles[0], c.after)
			dial(t, target)
		})
	}
	t.Run("in a file that is not the user's", func(t *testing.T) {
		target := target
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", ""), writeText(t, "ssh_known_hosts", name+" "+old+"\n")}
		var fault error
		conn, err := remote.DialTrusting(deadline(t), target, true, func(_ context.Context, shown remote.ShownKey) error {
			fault = shown.Write()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if fault == nil || !strings.Contains(fault.Error(), target.KnownHostsFiles[1]+":1") {
			t.Errorf("got %v", fault)
		}
	})
}

func TestTrustIsRefused(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	line := server.HostKeyLines()[0]
	asked := 0
	no := func(context.Context, remote.ShownKey) error {
		asked++
		return errors.New("the answer was not yes")
	}
	yes := func(context.Context, remote.ShownKey) error { asked++; return nil }
	trust := func(t *testing.T, change func(*remote.Target), accept func(context.Context, remote.ShownKey) error) error {
		t.Helper()
		target := target
		target.HostKeys = nil
		change(&target)
		conn, err := remote.DialTrusting(deadline(t), target, true, accept)
		if err == nil {
			conn.Close()
			t.Fatal("trusted")
		}
		return err
	}
	wantError(t, trust(t, func(*remote.Target) {}, no), remote.HostKeyUnknown, "the answer was not yes", ssh.FingerprintSHA256(server.HostKeys[0].PublicKey()))
	if asked != 1 || server.Logins.Load() != 0 {
		t.Errorf("asked %d times, %d logins", asked, server.Logins.Load())
	}
	wantError(t, trust(t, func(target *remote.Target) {
		target.KnownHostsFiles = []string{writeText(t, "known_hosts", "@revoked * "+line+"\n")}
	}, yes), remote.HostKeyChanged, "is revoked")
	wantError(t, trust(t, func(target *remote.Target) {
		target.HostKeys = []string{remotetest.Line(remotetest.NewKey(t).PublicKey())}
	}, yes), remote.HostKeyChanged, "host_keys in deploy.toml says")
	unlike := target
	unlike.HostKeys, unlike.KnownHostsFiles = nil, []string{knownHosts(t, server, remotetest.NewKey(t).PublicKey())}
	_, err := remote.DialTrusting(deadline(t), unlike, false, yes)
	wantError(t, err, remote.HostKeyChanged, "IS NOT THE KNOWN ONE", "hdeploy trust web1 --replace")
	if asked != 1 {
		t.Error("asked about a key that nobody may accept")
	}
}

// A placeholder in deploy.toml is filled in by hand: no file is written.
func TestTrustShowsWhatAPlaceholderStandsFor(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.HostKeys = []string{"ssh-ed25519 AAAA..."}
	var key remote.ShownKey
	conn, err := remote.DialTrusting(deadline(t), target, true, func(_ context.Context, shown remote.ShownKey) error { key = shown; return nil })
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if key.File != "" || key.Line != server.HostKeyLines()[0] || key.Write() != nil {
		t.Errorf("got %+v", key)
	}
}

// Comparing fingerprints takes longer than a connection may, and each hop is asked for.
func TestTrustOnTheWay(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	bastion := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{publicOfFile(t, target.IdentityFiles[0])}})
	jump := targetOf(t, bastion, target.IdentityFiles[0])
	jump.Host = "bastion"
	jump.HostKeys, target.HostKeys = nil, nil
	target.Jump, target.ConnectTimeout = []remote.Target{jump}, 2*time.Second
	var hosts []string
	conn, err := remote.DialTrusting(deadline(t), target, true, func(_ context.Context, shown remote.ShownKey) error {
		hosts = append(hosts, shown.Host)
		time.Sleep(1200 * time.Millisecond) // two of these are longer than the connection may take
		if len(hosts) == 2 {
			server.Cut() // its patience is over: the next try knows the answer
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if fmt.Sprint(hosts) != "[bastion web1]" {
		t.Errorf("asked for %v", hosts)
	}
	wantError(t, dialError(t, target), remote.HostKeyUnknown, "bastion: check host key", "hdeploy trust web1", "[jumps.bastion]")
}

// UserKnownHostsFile /dev/null is a widespread habit, and root would replace the device.
func TestTrustWritesToNoDevice(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	key := trustIn(t, target, os.DevNull)
	if key.File != "" || key.Write() != nil {
		t.Errorf("written to %q", key.File)
	}
	key.File = pipe
	if err := key.Write(); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("got %v", err)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode().IsRegular() {
		t.Error("the pipe was replaced")
	}
}

// trustIn is the key of a host of which a file says nothing yet.
func trustIn(t *testing.T, target remote.Target, file string) (key remote.ShownKey) {
	t.Helper()
	target.HostKeys, target.KnownHostsFiles = nil, []string{file}
	conn, err := remote.DialTrusting(deadline(t), target, true, func(_ context.Context, shown remote.ShownKey) error {
		key = shown
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	return key
}

// A line that stands for more hosts than the one that was looked at would trust the key
// of them all.
func TestTrustWritesNoPattern(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	for _, alias := range []string{"*", "web?", "!web1", "web1,web2", "web1 ssh-ed25519", "@cert-authority", "#web1", "|1|a|b"} {
		target.SSH.HostKeyAlias = alias
		file := writeText(t, "known_hosts", "")
		if err := trustIn(t, target, file).Write(); err == nil {
			t.Errorf("%q became a name of known_hosts", alias)
		}
		requireFile(t, file, "")
	}
}

// The system's file is everybody's, and stays so.
func TestTrustKeepsWhoMayRead(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	file := writeText(t, "known_hosts", "")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := trustIn(t, target, file).Write(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A key that is revoked beyond what is read would be accepted, and what is not read
// would be gone after a trust.
func TestKnownHostsIsReadToItsEnd(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	line := server.HostKeyLines()[0]
	text := "[127.0.0.1]:" + portText(server) + " " + line + "\n" + strings.Repeat(strings.Repeat("#", 60_000)+"\n", 560) + "@revoked * " + line + "\n"
	target.HostKeys, target.KnownHostsFiles = nil, []string{writeText(t, "known_hosts", text)}
	wantError(t, dialError(t, target), remote.KnownHostsUnreadable, "larger than")
	empty := writeText(t, "other", "")
	key := trustIn(t, target, empty)
	key.File = target.KnownHostsFiles[0]
	if err := key.Write(); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}
