package remote_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// throughOpenSSH is a ProxyCommand that many people have: the installed ssh, through
// a bastion.
func throughOpenSSH(t *testing.T, bastion *remotetest.Server, identity string, target remote.Target) string {
	t.Helper()
	known := writeText(t, "known_hosts", fmt.Sprintf("[%s]:%d %s\n", bastion.Address(), bastion.Port(), bastion.HostKeyLines()[0]))
	return fmt.Sprintf("ssh -F none -o BatchMode=yes -o UserKnownHostsFile=%s -o IdentitiesOnly=yes -i %s -p %d -W '[%s]:%d' root@%s",
		known, identity, bastion.Port(), target.Address, target.Port, bastion.Address())
}

func TestProxyCommand(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	identity := target.IdentityFiles[0]
	bastion := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{publicOfFile(t, identity)}})
	target.SSH.ProxyCommand = throughOpenSSH(t, bastion, identity, target)
	t.Run("the installed ssh", func(t *testing.T) {
		conn := dial(t, target)
		result, err := conn.Run(deadline(t), []string{"echo", "there"}, nil)
		if err != nil || string(result.Stdout) != "there\n" {
			t.Errorf("got %q, %v", result.Stdout, err)
		}
		wantLogins(t, bastion, 1)
		wantLogins(t, server, 1)
	})
	t.Run("before a jump host", func(t *testing.T) {
		jump := targetOf(t, bastion, identity)
		jump.Host, jump.SSH.ProxyCommand = "bastion", throughOpenSSH(t, bastion, identity, jump)
		target := target
		target.Jump = []remote.Target{jump}
		target.SSH.ProxyCommand = "exit 1" // the way to the host is the jump host
		dial(t, target)
	})
	t.Run("that fails", func(t *testing.T) {
		target := target
		target.SSH.ProxyCommand = "sh -c 'echo first; echo no way to\x1b[2J the bastion >&2; exit 3'"
		fault := wantError(t, dialError(t, target), remote.Unreachable, "web1: connect through ProxyCommand: it ended with code 3: no way to?[2J the bastion", "sh -c 'echo first")
		if !fault.Transient {
			t.Error("it will not be tried again")
		}
	})
	t.Run("that is not there", func(t *testing.T) {
		target := target
		target.SSH.ProxyCommand = "/nonexistent/proxy %"
		wantError(t, dialError(t, target), remote.Unreachable, "it ended with code 127", "/nonexistent/proxy")
	})
	t.Run("that is silent", func(t *testing.T) {
		target := target
		pids := filepath.Join(t.TempDir(), "pids")
		target.ConnectTimeout = 2 * time.Second
		target.SSH.ProxyCommand = "sh -c 'trap \"\" HUP; echo asking the bastion >&2; sleep 1000 & echo $$ $! > " + pids + "; wait'"
		wantError(t, dialError(t, target), remote.Unreachable, "connect through ProxyCommand: no answer within 2s: it printed asking the bastion")
		requireGone(t, pids)
	})
	t.Run("ends with the connection", func(t *testing.T) {
		target := target
		pids := filepath.Join(t.TempDir(), "pids")
		target.SSH.ProxyCommand = "sh -c 'echo $$ > " + pids + "; exec " + strings.ReplaceAll(target.SSH.ProxyCommand, "'", "") + "'"
		conn := dial(t, target)
		conn.Close()
		requireGone(t, pids)
	})
	t.Run("none", func(t *testing.T) {
		target := target
		target.SSH.ProxyCommand = "none"
		dial(t, target)
	})
	t.Run("that dies", func(t *testing.T) {
		target := target
		pids := filepath.Join(t.TempDir(), "pids")
		target.SSH.ProxyCommand = "sh -c 'echo $$ > " + pids + "; exec " + strings.ReplaceAll(target.SSH.ProxyCommand, "'", "") + "'"
		conn := dial(t, target)
		syscall.Kill(readPIDs(t, pids)[0], syscall.SIGKILL)
		select {
		case <-conn.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the end of the proxy was not noticed")
		}
		wantError(t, conn.Err(), remote.Lost, "web1: the connection ended")
	})
}

func readPIDs(t *testing.T, file string) []int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// requireGone wants that none of the processes whose ids stand in a file is left.
func requireGone(t *testing.T, file string) {
	t.Helper()
	for _, pid := range readPIDs(t, file) {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(state), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %d is still there: %s", pid, state)
			}
		}
	}
}

func TestIPv6(t *testing.T) {
	path, public := keyFile(t, "id_test")
	server := remotetest.Start(t, remotetest.Options{Listen: "[::1]:0", Authorized: []ssh.PublicKey{public}})
	for _, address := range []string{"::1", "[::1]"} {
		target := targetOf(t, server, path)
		target.Address, target.SSH.AddressFamily = address, "inet6"
		dial(t, target)
	}
	target := targetOf(t, server, path)
	target.HostKeys, target.KnownHostsFiles = nil, []string{writeText(t, "known_hosts", fmt.Sprintf("[::1]:%d %s\n", server.Port(), server.HostKeyLines()[0]))}
	dial(t, target)
	target.Jump = []remote.Target{targetOf(t, server, path)}
	dial(t, target)
	target.Jump, target.SSH.AddressFamily = nil, "inet"
	wantError(t, dialError(t, target), remote.Unreachable, "web1: connect to [::1]:")
}

// An address of one link carries the name of its interface.
func TestLinkLocalAddress(t *testing.T) {
	path, public := keyFile(t, "id_test")
	for _, address := range linkLocal(t) {
		server := remotetest.Start(t, remotetest.Options{Listen: "[" + address + "]:0", Authorized: []ssh.PublicKey{public}})
		target := targetOf(t, server, path)
		target.Address = address
		target.HostKeys, target.KnownHostsFiles = nil, []string{writeText(t, "known_hosts", fmt.Sprintf("[%s]:%d %s\n", address, server.Port(), server.HostKeyLines()[0]))}
		dial(t, target)
		target.Port = closedPort(t)
		wantError(t, dialError(t, target), remote.Unreachable, "connect to ["+address+"]:", "connection refused")
	}
}

// linkLocal are the addresses of this machine that need their interface's name; there
// may be none.
func linkLocal(t *testing.T) []string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && network.IP.To4() == nil && network.IP.IsLinkLocalUnicast() {
				found = append(found, network.IP.String()+"%"+i.Name)
			}
		}
	}
	return found
}

func TestBindAddress(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.SSH.BindAddress = "127.0.0.2"
	dial(t, target)
	wantLogins(t, server, 1)
	if peer := server.Peer.Load(); peer != "127.0.0.2" {
		t.Errorf("came from %v", peer)
	}
	target.SSH.BindAddress = "nowhere.invalid"
	wantError(t, dialError(t, target), remote.Unreachable, "web1: connect from BindAddress nowhere.invalid", "ssh_config")
}

func TestHostKeyAlias(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	line := server.HostKeyLines()[0]
	target.HostKeys, target.SSH.HostKeyAlias = nil, "Web1.internal"
	target.KnownHostsFiles = []string{writeText(t, "known_hosts", "web1.internal "+line+"\n")} // without a port, as for OpenSSH
	dial(t, target)
	target.KnownHostsFiles = []string{writeText(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", server.Port(), line))}
	wantError(t, dialError(t, target), remote.HostKeyUnknown, "is not known")
}

// A key that is known under the bare name is accepted at any port, but one that is
// not the same is unknown, and not changed.
func TestKeyKnownWithoutItsPort(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.HostKeys, target.KnownHostsFiles = nil, []string{writeText(t, "known_hosts", "127.0.0.1 "+server.HostKeyLines()[0]+"\n")}
	dial(t, target)
	target.KnownHostsFiles = []string{writeText(t, "known_hosts", "127.0.0.1 "+remotetest.Line(remotetest.NewKey(t).PublicKey())+"\n")}
	wantError(t, dialError(t, target), remote.HostKeyUnknown, "is not known")
}

func TestHashedKnownHosts(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	target.HostKeys, target.KnownHostsFiles = nil, []string{knownHosts(t, server, server.HostKeys[0].PublicKey())}
	openSSH(t, nil, "ssh-keygen", "-q", "-H", "-f", target.KnownHostsFiles[0])
	text, err := os.ReadFile(target.KnownHostsFiles[0])
	if err != nil || !strings.HasPrefix(string(text), "|1|") {
		t.Fatalf("not hashed: %s %v", text, err)
	}
	dial(t, target)
}

func TestHostKeyAlgorithms(t *testing.T) {
	second := ecdsaKey(t)
	server, target := setup(t, remotetest.Options{HostKeys: []ssh.Signer{remotetest.NewKey(t), second}})
	target.SSH.HostKeyAlgorithms = []string{"ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"}
	t.Run("of two known keys", func(t *testing.T) { dial(t, target) })
	t.Run("none of the known keys", func(t *testing.T) {
		target := target
		target.HostKeys = server.HostKeyLines()[:1]
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "ssh-ed25519", "HostKeyAlgorithms")
	})
	t.Run("of an unknown host", func(t *testing.T) {
		target := target
		target.HostKeys = nil
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "it shows ecdsa-sha2-nistp256")
	})
}

func TestKnownHostsCommand(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	shown := server.HostKeys[0].PublicKey()
	line := remotetest.Line(shown)
	target.HostKeys = nil
	told := filepath.Join(t.TempDir(), "told")
	command := func(script string) []string {
		return []string{"/bin/sh", "-c", `echo "$@" >> ` + told + "; " + script, "command", "%I", "%H", "%t", "%f", "%K", "100%%"}
	}
	name := "[127.0.0.1]:" + portText(server)
	t.Run("knows the key", func(t *testing.T) {
		target := target
		target.SSH.KnownHostsCommand = command(`echo "` + name + " " + line + `"`)
		dial(t, target)
		text, err := os.ReadFile(told)
		blob := strings.Fields(line)[1]
		want := "ORDER " + name + " NONE NONE NONE 100%\nHOSTNAME " + name + " ssh-ed25519 " + ssh.FingerprintSHA256(shown) + " " + blob + " 100%\n"
		if err != nil || string(text) != want {
			t.Errorf("told %q, want %q", text, want)
		}
	})
	t.Run("knows it once it is shown", func(t *testing.T) {
		target := target
		target.SSH.KnownHostsCommand = command(`[ "$1" = ORDER ] || echo "$2 $3 $5"`)
		dial(t, target)
	})
	t.Run("knows another key", func(t *testing.T) {
		target := target
		target.SSH.KnownHostsCommand = command(`echo "` + name + " " + remotetest.Line(remotetest.NewKey(t).PublicKey()) + `"`)
		wantError(t, dialError(t, target), remote.HostKeyChanged, "IS NOT THE KNOWN ONE", "KnownHostsCommand:1 says")
	})
	t.Run("knows nothing", func(t *testing.T) {
		target := target
		target.SSH.KnownHostsCommand = command("true")
		wantError(t, dialError(t, target), remote.HostKeyUnknown, "is not known")
	})
	t.Run("fails", func(t *testing.T) {
		target := target
		target.SSH.KnownHostsCommand = command("echo the directory is down >&2; exit 4")
		wantError(t, dialError(t, target), remote.KnownHostsUnreadable, "ask KnownHostsCommand: exit status 4: the directory is down", "host_keys in deploy.toml")
	})
	t.Run("hangs", func(t *testing.T) {
		target := target
		target.ConnectTimeout = 300 * time.Millisecond
		target.SSH.KnownHostsCommand = command("sleep 1000")
		wantError(t, dialError(t, target), remote.KnownHostsUnreadable, "no answer within 300ms")
	})
	t.Run("is not asked for a pinned key", func(t *testing.T) {
		target := target
		target.HostKeys, target.SSH.KnownHostsCommand = server.HostKeyLines(), command("exit 1")
		dial(t, target)
	})
}

// What the passing of time may mend says so, and nothing else does.
func TestTransientFailures(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	stranger, _ := keyFile(t, "id_stranger")
	for _, c := range []struct {
		name      string
		change    func(*remote.Target)
		transient bool
	}{
		{"nobody listens", func(t *remote.Target) { t.Port = closedPortOf(server) }, true},
		{"the name is not known", func(t *remote.Target) { t.Address = "web1.invalid" }, false},
		{"the key is wrong", func(t *remote.Target) { t.HostKeys = []string{"ssh-ed25519 AAAA..."} }, false},
		{"the login is refused", func(t *remote.Target) { t.IdentityFiles = []string{stranger} }, false},
		{"the way to it is down", func(t *remote.Target) { t.Jump = []remote.Target{*t}; t.Port = closedPortOf(server) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := target
			c.change(&target)
			var fault *remote.Error
			if err := dialError(t, target); !errors.As(err, &fault) || fault.Transient != c.transient {
				t.Errorf("transient is not %v: %v", c.transient, err)
			}
		})
	}
}

// closedPortOf is a port beside the server's, on an address where only that listens.
func closedPortOf(server *remotetest.Server) int {
	if server.Port() == 1 {
		return 2
	}
	return 1
}
