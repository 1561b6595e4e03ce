//go:build lab

package tests

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// newBastion makes one more host, for connections to pass through.
func newBastion(t *testing.T) *lab.Host {
	t.Helper()
	host, err := world.NewHost(t.Context(), fmt.Sprintf("host%d", hostCount.Add(1)), lab.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if host.Running() {
			if err := host.PowerCut(ctx); err != nil {
				t.Errorf("switch %s off: %v", host.Name, err)
			}
		}
	})
	return host
}

// ownHome gives the deployer a home of its own for one test, with no key in it.
func (s *site) ownHome() []string {
	s.t.Helper()
	inShell(s.t, workstation, "mkdir -p -m 700 "+s.dir+"/.ssh")
	return []string{"HOME=" + s.dir}
}

// with runs hdeploy with an environment to its end.
func (s *site) with(env []string, args ...string) *run {
	s.t.Helper()
	return s.startSwitch(command{args: args, env: env}).wait()
}

// hdeploy runs a command that tells an answer and no events, and returns what it
// printed.
func (s *site) hdeploy(env []string, code int, args ...string) string {
	s.t.Helper()
	s.write("deploy.toml", s.inventory.String())
	line := "cd " + s.dir + " && env XDG_STATE_HOME=" + s.dir + "/state " + strings.Join(env, " ") + " /hdeploy/hdeploy " + strings.Join(args, " ") + " 2>&1"
	said := inShell(s.t, workstation, line+`; echo "code $?"`)
	if !strings.HasSuffix(said, fmt.Sprintf("code %d", code)) {
		s.t.Fatalf("hdeploy %q did not end with code %d:\n%s", args, code, said)
	}
	return said
}

// The whole way is taken anew for the proof, and the host sees the last hop only.
func TestTwoJumpHosts(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	outer, inner := newBastion(t), newBastion(t)
	s.inventory.Lines = `jump = ["outer", "inner"]`
	s.inventory.Tables = fmt.Sprintf("[jumps.outer]\naddress = %q\nhost_keys = [%q]\n[jumps.inner]\naddress = %q\nhost_keys = [%q]\n",
		outer.Address, outer.HostKey(), inner.Address, inner.HostKey())
	seen := func(host *lab.Host, from string) int {
		t.Helper()
		text := inShell(t, host, "journalctl -b -o cat --no-pager | grep 'Accepted publickey for root from "+from+" ' | wc -l")
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := seen(s.host, workstation.Address)
	s.configure(settings{"revision": "through two hosts"})
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	if n := seen(s.host, workstation.Address); n != before {
		t.Errorf("%d logins came from the workstation itself", n-before)
	}
	if atHost, atInner := seen(s.host, inner.Address), seen(inner, outer.Address); atHost < 2 || atInner < 2 {
		t.Errorf("%d logins at the host, %d at the hop before: the proof is a login of its own", atHost, atInner)
	}
	good := s.inventory.Tables
	s.inventory.Tables = strings.Replace(good, inner.HostKey(), outer.HostKey(), 1)
	s.deploy().require("refused", 5).requireFailure("NOT THE KNOWN ONE", "[jumps.inner]")
	s.inventory.Tables = good
	if err := inner.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.deploy().require("unreachable", 6).requireFailure(inner.Address)
}

// A user's and the host's certificates take the place of every known key.
func TestCertificates(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "known by certificates"})
	s.deploy().require("committed", 0)
	env := s.ownHome()
	inShell(t, workstation, fmt.Sprintf(`cd %s && mkdir pki && cd pki
ssh-keygen -q -t ed25519 -N '' -f users; ssh-keygen -q -t ecdsa -N '' -f hosts; ssh-keygen -q -t ed25519 -N '' -f id
ssh-keygen -q -s users -I test -n root id.pub
echo '%s' >host.pub && ssh-keygen -q -s hosts -I host -h -n %s host.pub
echo "@cert-authority 10.* $(cut -d' ' -f1,2 hosts.pub)" >../.ssh/known_hosts`, s.dir, s.host.HostKey(), s.host.Address))
	for file, to := range map[string]string{"users.pub": "users.pub", "host-cert.pub": "ssh_host_ed25519_key-cert.pub"} {
		text := inShell(t, workstation, "cat "+path.Join(s.dir, "pki", file))
		if err := s.host.WriteFile(t.Context(), "/etc/ssh/"+to, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	spoilSSHD(s, "1i TrustedUserCAKeys /etc/ssh/users.pub\\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub")
	s.inventory.HostKeys = ""
	s.inventory.Lines = fmt.Sprintf("identity_files = [%q]", s.dir+"/pki/id")
	s.with(env).require("unchanged", 0)
	if text := s.on("journalctl -b -o cat --no-pager | grep -c 'Accepted publickey for root.*ID test'"); text == "0" {
		t.Error("the login was not by the certificate")
	}

	inShell(t, workstation, "cd "+s.dir+"/pki && ssh-keygen -q -s users -I test -n root -V 20200101Z:20200102Z id.pub")
	s.with(env).require("refused", 5).requireFailure("log in as root", "expired at 2020-01-02")
	inShell(t, workstation, fmt.Sprintf("cd %s/pki && ssh-keygen -q -s users -I test -n root id.pub && ssh-keygen -q -s hosts -I host -h -n elsewhere host.pub", s.dir))
	text := inShell(t, workstation, "cat "+s.dir+"/pki/host-cert.pub")
	if err := s.host.WriteFile(t.Context(), "/etc/ssh/ssh_host_ed25519_key-cert.pub", []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.on("systemctl restart sshd")
	s.with(env).require("refused", 5).requireFailure("the certificate of "+s.host.Address, "elsewhere", "ssh-keygen -Lf")
	mendSSHD(s)
}

// An agent with more keys than sshd hears: the one that is named comes first, and who
// offers the wrong ones is refused once, without being punished.
func TestAgentWithManyKeys(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "many keys"})
	s.deploy().require("committed", 0)
	socket := s.dir + "/agent"
	agent := inShell(t, workstation, fmt.Sprintf(`cd %s && eval "$(ssh-agent -a %s)" >/dev/null
for i in 1 2 3 4 5 6 7 8; do ssh-keygen -q -t ed25519 -N '' -C "key $i" -f key$i; ssh-add -q key$i; done
cp /root/.ssh/id_ed25519 named && ssh-add -q named && echo $SSH_AGENT_PID`, s.dir, socket))
	defer func() { inShell(t, workstation, "kill "+agent) }()
	env := append(s.ownHome(), "SSH_AUTH_SOCK="+socket)

	s.with(env).require("refused", 5).requireFailure("accepts none of these keys", "key 1", "key 5", "only 5 keys are offered")
	s.inventory.Lines = fmt.Sprintf("identity_files = [%q]", s.dir+"/named")
	s.with(env).require("unchanged", 0) // at once: the address is not punished
	spoilSSHD(s, "1i MaxAuthTries 3")
	s.with(env).require("unchanged", 0)
	s.inventory.Lines = ""
	s.with(env).require("refused", 5).requireFailure("MaxAuthTries", "key 1", "identity_files for "+hostName)
	mendSSHD(s)
}

// A key with a passphrase is asked for through the askpass program, once for all
// logins of the run.
func TestProtectedKey(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "behind a passphrase"})
	env := append(s.ownHome(), "SSH_ASKPASS="+s.dir+"/askpass", "SSH_ASKPASS_REQUIRE=force", "SSH_AUTH_SOCK=")
	s.write("askpass", "#!/bin/sh\necho \"$1\" >>"+s.dir+"/asked\necho open sesame\n")
	inShell(t, workstation, fmt.Sprintf(`cd %s && chmod 700 askpass && cp /root/.ssh/id_ed25519 locked && chmod 600 locked && ssh-keygen -q -p -N 'open sesame' -f locked`, s.dir))
	s.inventory.Lines = fmt.Sprintf("identity_files = [%q]", s.dir+"/locked")
	s.with(env).require("committed", 0)
	if asked := inShell(t, workstation, "cat "+s.dir+"/asked"); asked != "Passphrase for "+s.dir+"/locked:" {
		t.Errorf("asked %q", asked)
	}
	s.with(append(env, "CI=true")).require("refused", 5).requireFailure("protected by a passphrase", "ssh-add "+s.dir+"/locked")

	// On a terminal the live view makes room for the question.
	s.configure(settings{"revision": "typed"})
	inShell(t, workstation, fmt.Sprintf(`cd %s && : >typescript
(timeout 60 sh -c 'until grep -q Passphrase typescript; do sleep 0.1; done'; echo 'open sesame'; timeout 60 sh -c 'until grep -q committed typescript; do sleep 0.1; done') |
env HOME=%s XDG_STATE_HOME=%s/state TERM=xterm NO_COLOR=1 SSH_AUTH_SOCK= timeout 100 script -qefc '/hdeploy/hdeploy switch %s' typescript >/dev/null`, s.dir, s.dir, s.dir, hostName))
	screen := inShell(t, workstation, "cat "+s.dir+"/typescript")
	if strings.Count(screen, "Passphrase for") != 1 || !strings.Contains(screen, hostName+": committed") || strings.Contains(screen, "sesame") {
		t.Errorf("the terminal showed:\n%q", screen)
	}
}

// Trust is one login, after which the host is known by its key and its machine-id.
func TestTrust(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	env := s.ownHome()
	s.inventory.HostKeys = ""
	s.inventory.Lines = `identity_files = ["/root/.ssh/id_ed25519"]`
	s.configure(settings{"revision": "trusted"})
	s.with(env).require("refused", 5).requireFailure("is not known", "hdeploy trust "+hostName)

	fingerprint := strings.Fields(s.on("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"))[1]
	s.hdeploy(env, 5, "trust", hostName, "--yes", "--fingerprint", "SHA256:somethingelse")
	said := s.hdeploy(env, 0, "trust", hostName, "--yes", "--fingerprint", fingerprint)
	id := s.on("cat /etc/machine-id")
	for _, part := range []string{fingerprint + " was added to " + s.dir + "/.ssh/known_hosts", "recorded: " + id, fmt.Sprintf("host_keys  = [%q]", s.host.HostKey())} {
		if !strings.Contains(said, part) {
			t.Errorf("%q is missing in:\n%s", part, said)
		}
	}
	s.with(env).require("committed", 0)

	inShell(t, workstation, fmt.Sprintf("ssh-keygen -q -t ed25519 -N '' -f %s/other && echo \"%s $(cut -d' ' -f1,2 %s/other.pub)\" >%s/.ssh/known_hosts", s.dir, s.host.Address, s.dir, s.dir))
	said = s.hdeploy(env, 5, "trust", hostName, "--yes", "--fingerprint", fingerprint)
	if !strings.Contains(said, "NOT THE KNOWN ONE") {
		t.Errorf("a changed key is not refused loudly:\n%s", said)
	}
	s.hdeploy(env, 0, "trust", hostName, "--replace", "--yes", "--fingerprint", fingerprint)
	s.with(env).require("unchanged", 0)

	inShell(t, workstation, "sed -i s/"+id+"/ffffffffffffffffffffffffffffffff/ "+s.dir+"/state/hdeploy/machines/*")
	s.with(env).require("refused", 5).requireFailure("another machine", id, "hdeploy trust "+hostName)
}

// A link over which nothing comes any more is given up after four signs of life that
// were missed, and not when TCP notices.
func TestStalledLinkIsNoticed(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.faulty("hangs", settings{"activateHang": true})
	r := s.startSwitch(command{})
	r.await("the activation", func(e event.Event) bool { return e.Line != nil && strings.Contains(e.Line.Text, "activation hangs") })
	if err := s.host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	r.await("the first new login", func(e event.Event) bool {
		return e.Note != nil && strings.Contains(e.Note.Text, "not reached over a new connection yet")
	})
	// 15 s to notice, a pause of 2 s, and the 5 s of the login that finds nobody.
	if took := time.Since(cut); took > 35*time.Second {
		t.Errorf("the link was given up after %v", took)
	} else {
		t.Logf("the first new login failed after %v", took)
	}
	if err := s.host.RestoreNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wait().require("rolled-back", 7)
	requireRestored(t, before, s.snapshot())
}

// A host whose sshd is only starting is waited for.
func TestHostThatStartsIsWaitedFor(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "late"})
	s.inventory.Timeouts = strings.Replace(shortTimeouts, `connect = "5s"`, `connect = "30s"`, 1)
	s.on("systemctl stop sshd")
	r := s.startSwitch(command{})
	r.await("the first refusal", func(e event.Event) bool {
		return e.Note != nil && strings.Contains(e.Note.Text, "connection refused; trying again in 2s")
	})
	s.on("systemctl start sshd")
	r.wait().require("committed", 0)
}
