package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

func dialError(t *testing.T, target remote.Target) error {
	t.Helper()
	conn, err := remote.Dial(deadline(t), target)
	if err == nil {
		conn.Close()
		t.Fatal("the login succeeded")
	}
	return err
}

func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestUnreachable(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	t.Run("closed port", func(t *testing.T) {
		target := target
		target.Port = closedPort(t)
		wantError(t, dialError(t, target), remote.Unreachable, "web1: connect to 127.0.0.1:", "connection refused", "systemctl status sshd")
	})
	t.Run("no such name", func(t *testing.T) {
		target := target
		target.Address = "web1.invalid"
		wantError(t, dialError(t, target), remote.Unreachable, "resolve web1.invalid", "[hosts.web1]", "getent hosts web1.invalid")
	})
	t.Run("silent", func(t *testing.T) {
		target := target
		target.Port = peer(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		target.ConnectTimeout = 50 * time.Millisecond
		wantError(t, dialError(t, target), remote.Unreachable, "no answer within 50ms", "ssh -p")
	})
	t.Run("closes at once", func(t *testing.T) {
		target := target
		target.Port = peer(t, func(net.Conn) {})
		wantError(t, dialError(t, target), remote.Unreachable, "closed the connection before the handshake", "PerSourcePenalties")
	})
	t.Run("not SSH", func(t *testing.T) {
		target := target
		target.Port = peer(t, func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\x1b[2J"+strings.Repeat("x", 70000))
		})
		wantError(t, dialError(t, target), remote.Unreachable, "no SSH server that can be understood")
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := remote.Dial(ctx, target)
		wantError(t, err, remote.Canceled, "web1: connect")
	})
}

// A listener whose queue is full answers no SYN: a black hole on loopback.
func TestBlackHole(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	target.Port = blackHole(t)
	target.ConnectTimeout = 100 * time.Millisecond
	start := time.Now()
	wantError(t, dialError(t, target), remote.Unreachable, "web1: connect to 127.0.0.1:", "no answer within 100ms", "firewall")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// peer accepts connections, does what is asked and closes them.
func peer(t *testing.T, do func(net.Conn)) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				do(conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestPinnedHostKeys(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	shown := server.HostKeys[0].PublicKey()
	other := remotetest.NewKey(t).PublicKey()
	t.Run("one of several", func(t *testing.T) {
		target := target
		target.HostKeys = []string{remotetest.Line(other), remotetest.Line(shown)}
		dial(t, target)
	})
	t.Run("wrong", func(t *testing.T) {
		target := target
		target.HostKeys = []string{remotetest.Line(other)}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "IS NOT THE KNOWN ONE", ssh.FingerprintSHA256(shown), ssh.FingerprintSHA256(other),
			"host_keys in deploy.toml", `host_keys = ["`+remotetest.Line(shown)+`"]`, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
	})
	t.Run("placeholder", func(t *testing.T) {
		target := target
		target.HostKeys = []string{"ssh-ed25519 AAAA..."}
		wantError(t, dialError(t, target), remote.HostKeyUnknown, `host_keys = ["`+remotetest.Line(shown)+`"]`)
	})
	t.Run("other type", func(t *testing.T) {
		target := target
		target.HostKeys = []string{remotetest.Line(ecdsaKey(t).PublicKey())}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "no key of the types", "ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-keyscan -p")
	})
	t.Run("unreadable", func(t *testing.T) {
		target := target
		target.HostKeys = []string{"ssh-ed25519 garbage"}
		wantError(t, dialError(t, target), remote.KnownHostsUnreadable, "ssh-ed25519 garbage")
	})
	wantLogins(t, server, 1) // only the one with the right key
}

func ecdsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// A host with several keys must show the pinned one, not its favourite.
func TestHostKeyAlgorithmFollowsThePin(t *testing.T) {
	second := ecdsaKey(t)
	server, target := setup(t, remotetest.Options{HostKeys: []ssh.Signer{remotetest.NewKey(t), second}})
	target.HostKeys = []string{remotetest.Line(second.PublicKey())}
	dial(t, target)
	target.HostKeys = nil
	target.KnownHostsFiles = []string{knownHosts(t, server, second.PublicKey())}
	dial(t, target)
}

func knownHosts(t *testing.T, server *remotetest.Server, keys ...ssh.PublicKey) string {
	t.Helper()
	address := net.JoinHostPort(server.Address(), portText(server))
	var lines []string
	for _, key := range keys {
		lines = append(lines, knownhosts.Line([]string{address}, key))
	}
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKnownHosts(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.HostKeys = nil
	shown := server.HostKeys[0].PublicKey()
	pin := `host_keys = ["` + remotetest.Line(shown) + `"]`
	t.Run("known", func(t *testing.T) {
		target := target
		target.KnownHostsFiles = []string{"/nonexistent/known_hosts", knownHosts(t, server, shown)}
		dial(t, target)
	})
	t.Run("unknown", func(t *testing.T) {
		fault := wantError(t, dialError(t, target), remote.HostKeyUnknown, "web1: check host key", ssh.FingerprintSHA256(shown), "[hosts.web1]", pin)
		if !strings.HasSuffix(fault.Hint, "\n    "+pin) {
			t.Errorf("the line to add does not stand alone:\n%s", fault.Hint)
		}
	})
	t.Run("unknown, dotted name", func(t *testing.T) {
		target := target
		target.Host = "web1.example.org"
		wantError(t, dialError(t, target), remote.HostKeyUnknown, `[hosts."web1.example.org"]`)
	})
	t.Run("changed", func(t *testing.T) {
		target := target
		path := knownHosts(t, server, remotetest.NewKey(t).PublicKey())
		target.KnownHostsFiles = []string{path}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "IS NOT THE KNOWN ONE", path+":1",
			"hdeploy trust web1 --replace", pin)
	})
	t.Run("revoked", func(t *testing.T) {
		target := target
		path := filepath.Join(t.TempDir(), "known_hosts")
		os.WriteFile(path, []byte("@revoked * "+remotetest.Line(shown)+"\n"), 0o600)
		target.KnownHostsFiles = []string{path}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "revoked", path+":1")
	})
	t.Run("malformed", func(t *testing.T) {
		target := target
		path := filepath.Join(t.TempDir(), "known_hosts")
		os.WriteFile(path, []byte("other ssh-ed25519 ???\n[127.0.0.1]:"+portText(server)+" ssh-ed25519 ???\n"), 0o600)
		target.KnownHostsFiles = []string{path}
		wantError(t, dialError(t, target), remote.KnownHostsUnreadable, path+":2", "host_keys in deploy.toml")
	})
}

func portText(server *remotetest.Server) string {
	return strconv.Itoa(server.Port())
}

func TestLoginRefusedNamesTheKeysTried(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	held := newPrivate(t)
	target.AgentSocket = startAgent(t, held)
	wrong, wrongKey := keyFile(t, "id_wrong")
	locked, _ := lockedKeyFile(t)
	target.IdentityFiles = []string{wrong, locked, "/nonexistent/id"}
	wantError(t, dialError(t, target), remote.LoginRefused, "web1: log in as root", wrong+" "+ssh.FingerprintSHA256(wrongKey),
		"agent: me@laptop "+ssh.FingerprintSHA256(publicOf(t, held)), locked+" (protected by a passphrase", "/nonexistent/id (no such file",
		"users.users.root.openssh.authorizedKeys.keys", "ssh -p "+portText(server)+" root@127.0.0.1")
}

func TestLoginWithoutPublicKeys(t *testing.T) {
	_, target := setup(t, remotetest.Options{NoPublicKeys: true})
	wantError(t, dialError(t, target), remote.LoginRefused, "accepts no public keys", "PubkeyAuthentication")
}

// OpenSSH hangs up after six attempts: a full agent must not use them all up
// before the key that the user named.
func TestAtMostFiveKeysNamedOnesFirst(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	named := target.IdentityFiles
	target.AgentSocket = startAgent(t, newPrivate(t), newPrivate(t), newPrivate(t), newPrivate(t), newPrivate(t), newPrivate(t))
	dial(t, target)
	target.IdentityFiles = nil
	target.DefaultIdentityFiles = named
	wantError(t, dialError(t, target), remote.LoginRefused, named[0]+" (only 5 keys are offered)")
	wantLogins(t, server, 1)
}

func TestAgent(t *testing.T) {
	key := newPrivate(t)
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{publicOf(t, key)}})
	target := targetOf(t, server, "")
	target.IdentityFiles = nil
	t.Run("given socket", func(t *testing.T) {
		target := target
		target.AgentSocket = startAgent(t, key)
		dial(t, target)
	})
	t.Run("environment", func(t *testing.T) {
		t.Setenv("SSH_AUTH_SOCK", startAgent(t, key))
		dial(t, target)
	})
	t.Run("silent", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "agent")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		target := target
		target.AgentSocket = path
		target.ConnectTimeout = 50 * time.Millisecond
		wantError(t, dialError(t, target), remote.NoKeys, "the SSH agent does not answer")
	})
}

func TestNoKeys(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	target.IdentityFiles = nil
	target.DefaultIdentityFiles = []string{"/nonexistent/id_ed25519"}
	wantError(t, dialError(t, target), remote.NoKeys, "web1: read keys", "no SSH agent runs", "/nonexistent/id_ed25519", "ssh-keygen -t ed25519", "ssh-add")
	target.AgentSocket = startAgent(t)
	wantError(t, dialError(t, target), remote.NoKeys, "the SSH agent holds no key")
}

func TestLockedKey(t *testing.T) {
	locked, private := lockedKeyFile(t)
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{publicOf(t, private)}})
	target := targetOf(t, server, locked)
	wantError(t, dialError(t, target), remote.KeyUnreadable, locked+" (protected by a passphrase and not in the agent)", `eval "$(ssh-agent)" && ssh-add `+locked)
	target.AgentSocket = startAgent(t)
	fault := wantError(t, dialError(t, target), remote.KeyUnreadable)
	if fault.Hint != "ssh-add "+locked {
		t.Errorf("hint is %q", fault.Hint)
	}
	target.AgentSocket = startAgent(t, newPrivate(t), newPrivate(t), newPrivate(t), newPrivate(t), newPrivate(t), private)
	dial(t, target) // as the first of six, because it was named
}

func TestJumpHosts(t *testing.T) {
	last, target := setup(t, remotetest.Options{})
	identity := target.IdentityFiles[0]
	hop := func(t *testing.T, name string, options remotetest.Options) (*remotetest.Server, remote.Target) {
		options.Authorized = append(options.Authorized, publicOfFile(t, identity))
		server := remotetest.Start(t, options)
		jump := targetOf(t, server, identity)
		jump.Host = name
		return server, jump
	}
	first, one := hop(t, "bastion", remotetest.Options{})
	second, two := hop(t, "inner", remotetest.Options{})
	t.Run("two hops", func(t *testing.T) {
		target := target
		target.Jump = []remote.Target{one, two}
		target.Keepalive = 20 * time.Millisecond
		conn := dial(t, target)
		result, err := conn.Run(deadline(t), []string{"echo", "there"}, nil)
		if err != nil || string(result.Stdout) != "there\n" {
			t.Errorf("got %q, %v", result.Stdout, err)
		}
		for _, server := range []*remotetest.Server{first, second, last} {
			wantLogins(t, server, 1)
		}
		first.Stall()
		select {
		case <-conn.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the stalled hop was not noticed")
		}
		conn.Close()
	})
	t.Run("forwarding off", func(t *testing.T) {
		_, closed := hop(t, "closed", remotetest.Options{NoForwarding: true})
		target := target
		target.Jump = []remote.Target{closed}
		wantError(t, dialError(t, target), remote.ForwardingOff, "closed: connect to 127.0.0.1:", "refuses to forward", "AllowTcpForwarding")
	})
	t.Run("host down behind it", func(t *testing.T) {
		target := target
		target.Jump = []remote.Target{two}
		target.Port = closedPort(t)
		wantError(t, dialError(t, target), remote.Unreachable, "web1: connect to 127.0.0.1:", "from jump host inner")
	})
	t.Run("silent host behind it", func(t *testing.T) {
		target := target
		target.Jump = []remote.Target{two}
		target.Port = peer(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		target.ConnectTimeout = time.Second
		wantError(t, dialError(t, target), remote.Unreachable, "web1: connect", "no answer within 1s", "-J root@127.0.0.1:")
	})
	t.Run("wrong key of the jump host", func(t *testing.T) {
		target := target
		jump := two
		jump.HostKeys = []string{remotetest.Line(remotetest.NewKey(t).PublicKey())}
		target.Jump = []remote.Target{jump}
		wantError(t, dialError(t, target), remote.HostKeyChanged, "inner: check host key", "[jumps.inner]")
	})
}

// Every login costs its round trips; a connection that only proves that the
// host is reachable opens nothing on top.
func TestDialOpensNoChannel(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	dial(t, target)
	if n := server.Channels.Load(); n != 0 {
		t.Errorf("%d channels opened", n)
	}
}
