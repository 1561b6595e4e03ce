//go:build lab

package tests

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// rootPassword is the login user's, by which it becomes root. It is looked for
// everywhere afterwards.
const rootPassword = "Tr0ub4dor&3 with a 'quote'"

// newPasswordSite is a host whose login user becomes root only with its password,
// which the deployer has in a file.
func newPasswordSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	if err := s.host.WriteFile(t.Context(), "/root/password", []byte("admin:"+rootPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.on("/usr/sbin/chpasswd </root/password && rm /root/password")
	s.on("echo 'admin ALL=(ALL:ALL) PASSWD: ALL' >/etc/sudoers.d/zz-password && chmod 440 /etc/sudoers.d/zz-password")
	s.write("password", rootPassword+"\n")
	s.inventory.Lines = fmt.Sprintf("user = \"admin\"\nelevation_password = { file = %q }", s.dir+"/password")
	return s
}

// elevations are the ways to become root, each with what a host must have for it.
var elevations = []struct {
	word, prepare, refusal string
}{{
	// It asks once, and then for nobody's password for a while.
	word:    "sudo",
	prepare: "echo 'Defaults timestamp_type=global' >/etc/sudoers.d/zz-cached && chmod 440 /etc/sudoers.d/zz-cached",
	refusal: "password is required",
}, {
	word:    "doas",
	prepare: "ln -s /usr/bin/doas /run/wrappers/bin/ && echo 'permit admin as root' >/etc/doas.conf && chmod 400 /etc/doas.conf",
	refusal: "Authentication required",
}, {
	word: "run0",
	prepare: "ln -s /usr/bin/run0 /run/wrappers/bin/ && " +
		`echo 'polkit.addAdminRule(function() { return ["unix-user:admin"]; });' >/etc/polkit-1/rules.d/10-lab.rules && systemctl start polkit`,
	refusal: "uthentication required",
}}

func TestElevationWithAPassword(t *testing.T) {
	for _, e := range elevations {
		t.Run(e.word, func(t *testing.T) {
			s := newPasswordSite(t)
			s.on(e.prepare)
			with := s.inventory.Lines + fmt.Sprintf("\nelevation = %q", e.word)
			before := s.snapshot()
			s.configure(settings{"revision": "with a password"})

			s.inventory.Lines = fmt.Sprintf("user = \"admin\"\nelevation = %q", e.word)
			none := s.deploy().require("refused", 5).requireFailure("password", e.refusal, "elevation_password")
			requireUntouched(t, before, s.snapshot())

			s.inventory.Lines = with
			s.write("password", "not the one\n")
			wrong := s.deploy().require("refused", 5).requireFailure("not accepted", "not tried again")
			requireUntouched(t, before, s.snapshot())
			s.write("password", rootPassword+"\n")

			r := s.deploy().require("committed", 0)
			after := s.snapshot()
			requireRuns(t, after, r.Outcome.Closure)
			requireNothingLeft(t, after)
			s.faulty("locked out", settings{"firewallDropSsh": true})
			back := s.deploy().require("rolled-back", 7)
			requireRestored(t, after, s.snapshot())
			s.requireSecret(none, wrong, r, back)
		})
	}
}

// requireSecret looks for the password wherever a host or the deployer keeps text.
func (s *site) requireSecret(runs ...*run) {
	s.t.Helper()
	needle := rootPassword[:11]
	for _, r := range runs {
		if strings.Contains(r.story(), needle) {
			s.t.Errorf("the password is in what hdeploy printed")
		}
	}
	if found := s.on("journalctl -o export --no-pager | grep -acF '" + needle + "' || true"); found != "0" {
		s.t.Errorf("the password is in the host's journal, %s times", found)
	}
	if found := s.on("grep -rlF '" + needle + "' /var/lib/hdeploy /run/hdeploy /var/log /home /tmp 2>/dev/null || true"); found != "" {
		s.t.Errorf("the password is on the host in %s", found)
	}
	if found := inShell(s.t, workstation, "grep -rlF '"+needle+"' "+s.dir+"/state /tmp 2>/dev/null || true"); found != "" {
		s.t.Errorf("the password is at the deployer in %s", found)
	}
}

// fixedAgent is where the host of the tests has its own agent.
const fixedAgent = "/usr/local/bin/hdeploy-agent"

// documented returns the blocks of a language in docs/security.md.
func documented(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("docs/security.md has no %s block", language)
	}
	return blocks
}

// newFixedSite is a host whose login user may run the agent at its path as root, and
// nothing else: by the rule of docs/security.md, with this tag.
func newFixedSite(t *testing.T, tag string) *site {
	t.Helper()
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.configure(settings{"revision": "first"})
	s.deploy().require("committed", 0)
	s.on("chmod 755 /nix/var/nix/daemon-socket") // as on NixOS; Debian has a group for it
	s.on("install -m 755 /var/lib/hdeploy/agent/hdeploy-agent-* " + fixedAgent + " && rm -r /var/lib/hdeploy/agent")
	rule := strings.NewReplacer("deploy ALL=(root) ", "admin ALL=(root) !ALL, ", "NOPASSWD: ", tag, "/run/current-system/sw/bin/hdeploy-agent", fixedAgent).
		Replace(documented(t, "sudoers")[0])
	if !strings.Contains(rule, "admin") || !strings.Contains(rule, fixedAgent+" serve") {
		t.Fatalf("docs/security.md has another rule: %s", rule)
	}
	s.on("cat >/etc/sudoers.d/zz-agent <<'EOF'\n" + rule + "EOF\nchmod 440 /etc/sudoers.d/zz-agent && /usr/sbin/visudo -cf /etc/sudoers.d/zz-agent >&2")
	s.inventory.Lines = fmt.Sprintf("user = \"admin\"\nagent = %q", fixedAgent)
	return s
}

// daemonSettings adds lines to the Nix configuration of the host's daemon, whatever a
// switch makes of its file.
func (s *site) daemonSettings(lines string) {
	s.t.Helper()
	s.on("mkdir -p /run/systemd/system/nix-daemon.service.d && cat >/run/systemd/system/nix-daemon.service.d/lab.conf <<'EOF'\n[Service]\nEnvironment=\"NIX_CONFIG=" +
		strings.ReplaceAll(lines, "\n", `\n`) + "\"\nEOF\nsystemctl daemon-reload && systemctl restart nix-daemon.service")
}

func TestLoginUserThatMayRunTheAgentAlone(t *testing.T) {
	s := newFixedSite(t, "NOPASSWD: ")
	before := s.snapshot()

	s.configure(settings{"revision": "unsigned"})
	s.daemonSettings("allowed-users = root")
	s.deploy().require("failed", 4).requireFailure("admin", "nix.settings.allowed-users")
	s.daemonSettings("allowed-users = *")
	r := s.deploy().require("failed", 4).requireFailure("lacks a signature by a trusted key", `nix.settings.trusted-users = [ "admin" ]`,
		"nix key generate-secret", "secret-key-files", "nix.settings.trusted-public-keys", "or sign what is built here")
	requireUntouched(t, before, s.snapshot())

	// The second remedy, as docs/security.md has it, with other places of the files.
	here := strings.NewReplacer("/etc/nix/", s.dir+"/", "./result", r.Outcome.Closure, "\n", " &&\n")
	keys := documented(t, "sh")
	public := inShell(t, workstation, here.Replace(strings.TrimSpace(keys[0])))
	s.daemonSettings("trusted-public-keys = " + public)
	s.deploy().require("failed", 4).requireFailure("lacks a signature by a trusted key")
	inShell(t, workstation, here.Replace(strings.TrimSpace(keys[1])))
	s.deploy().require("committed", 0)
	signed := s.snapshot()
	requireRuns(t, signed, r.Outcome.Closure)
	requireNothingLeft(t, signed)

	// The first one.
	s.daemonSettings("trusted-users = root admin")
	s.configure(settings{"revision": "trusted"})
	r = s.deploy().require("committed", 0)
	trusted := s.snapshot()
	requireRuns(t, trusted, r.Outcome.Closure)
	s.faulty("locked out", settings{"firewallDropSsh": true})
	s.deploy().require("rolled-back", 7)
	requireRestored(t, trusted, s.snapshot())

	if ran := s.on("journalctl -b -t sudo --no-pager -o cat | grep COMMAND= | sed 's/.*COMMAND=//' | sort -u"); ran != fixedAgent+" serve" {
		t.Errorf("as root ran %s", ran)
	}
	if uploaded := s.on("ls /var/lib/hdeploy/agent 2>/dev/null || true"); uploaded != "" {
		t.Errorf("uploaded was %s", uploaded)
	}
}

// The rule with a password: the agent says itself that it runs, since no shell may.
func TestAgentAtAFixedPathWithAPassword(t *testing.T) {
	s := newFixedSite(t, "PASSWD: ")
	if err := s.host.WriteFile(t.Context(), "/root/password", []byte("admin:"+rootPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.on("/usr/sbin/chpasswd </root/password && rm /root/password")
	s.daemonSettings("trusted-users = root admin")
	s.write("password", rootPassword+"\nuser: admin\n")
	s.write("print", "#!/bin/sh\ncat "+s.dir+"/password\n")
	inShell(t, workstation, "chmod 700 "+s.dir+"/print")
	s.inventory.Lines += fmt.Sprintf("\nelevation_password = { command = [%q] }", s.dir+"/print")
	s.configure(settings{"revision": "one command, with a password"})
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	s.requireSecret(r)
}

func TestAgentAtAFixedPathIsOfAnotherVersion(t *testing.T) {
	s := newFixedSite(t, "NOPASSWD: ")
	s.daemonSettings("trusted-users = root admin")
	s.on("mv " + fixedAgent + " " + fixedAgent + ".real")
	before := s.snapshot()
	s.configure(settings{"revision": "by another version"})

	s.deploy().require("refused", 5).requireFailure("no agent at "+fixedAgent, "services.hdeploy.enable")
	requireUntouched(t, before, s.snapshot())

	s.speaks(3)
	s.deploy().require("refused", 5).requireFailure("protocol 1", "protocol 3", "hdeploy 9.9.9", "flake")
	requireUntouched(t, before, s.snapshot())

	s.speaks(2)
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

// speaks makes the host's agent say that it speaks a protocol, as one digit.
func (s *site) speaks(protocol int) {
	s.t.Helper()
	script := fmt.Sprintf(`#!/bin/bash
%s.real "$@" | /usr/bin/perl -e '
  while (sysread(STDIN, my $some, 65536)) {
    $some =~ s/"protocol":1,"program":"[0-9.]*"/"protocol":%d,"program":"9.9.9"/ unless $seen++;
    syswrite(STDOUT, $some);
  }'
`, fixedAgent, protocol)
	if err := s.host.WriteFile(s.t.Context(), fixedAgent, []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func TestPasswordIsAskedForOnceAndSeenNowhere(t *testing.T) {
	s := newPasswordSite(t)
	s.write("needle", rootPassword)
	if err := s.host.WriteFile(t.Context(), "/root/needle", []byte(rootPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("askpass", "#!/bin/sh\necho asked >>"+s.dir+"/asked\nprintf '%s\\n' \"$*\" >>"+s.dir+"/question\ncat "+s.dir+"/password\n")
	inShell(t, workstation, "chmod 700 "+s.dir+"/askpass")
	s.inventory.Lines = "user = \"admin\"\nelevation_password = \"ask\""

	watch := `while [ ! -e %[1]s/stop ]; do grep -laF -f %[1]s/needle /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; sleep 0.02; done >%[1]s/seen; touch %[1]s/stopped`
	s.on("setsid sh -c '" + fmt.Sprintf(watch, "/root") + "' >/dev/null 2>&1 </dev/null &")
	inShell(t, workstation, "setsid sh -c '"+fmt.Sprintf(watch, s.dir)+"' >/dev/null 2>&1 </dev/null &")

	s.configure(settings{"revision": "asked"})
	r := s.startSwitch(command{env: []string{"SUDO_ASKPASS=" + s.dir + "/askpass", "SSH_ASKPASS_REQUIRE=force"}}).wait().require("committed", 0)
	stop := "touch %[1]s/stop; while [ ! -e %[1]s/stopped ]; do sleep 0.1; done; cat %[1]s/seen"
	if seen := s.on(fmt.Sprintf(stop, "/root")); seen != "" {
		t.Errorf("the password was seen on the host in %s", seen)
	}
	if seen := inShell(t, workstation, fmt.Sprintf(stop, s.dir)); seen != "" {
		t.Errorf("the password was seen at the deployer in %s", seen)
	}
	if asked := inShell(t, workstation, "cat "+s.dir+"/asked"); asked != "asked" {
		t.Errorf("it was asked for more than once: %s", asked)
	}
	if question := inShell(t, workstation, "cat "+s.dir+"/question"); !strings.Contains(question, hostName) {
		t.Errorf("the question is %q", question)
	}
	s.on("rm /root/needle")
	s.requireSecret(r)
}

// during is a unit that is started with a system and stopped when that goes.
func during(start, stop string) string {
	return fmt.Sprintf("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '%s'\nExecStop=/bin/sh -c '%s'\n", start, stop)
}

func TestNewSystemThatDoesNotTakeThePassword(t *testing.T) {
	s := newPasswordSite(t)
	s.configure(settings{"revision": "first"})
	s.deploy().require("committed", 0)
	before := s.snapshot()

	s.configure(settings{"revision": "another password", "extraUnits": settings{"password.service": during(
		"/usr/bin/cp -p /etc/shadow /root/shadow && echo admin:changed | /usr/sbin/chpasswd", "/usr/bin/cp -p /root/shadow /etc/shadow")}})
	r := s.deploy().require("rolled-back", 7).requireFailure("not accepted")
	requireRestored(t, before, s.snapshot())
	if failures := s.on("journalctl -b --no-pager | grep -c 'sudo:auth): authentication failure'"); failures != "1" {
		t.Errorf("the new system was told a wrong password %s times", failures)
	}
	s.requireSecret(r)
	s.requireWorks()
}

func TestNewSystemWithoutTheAgentIsTakenBack(t *testing.T) {
	s := newFixedSite(t, "NOPASSWD: ")
	s.daemonSettings("trusted-users = root admin")
	before := s.snapshot()
	s.configure(settings{"revision": "no agent", "extraUnits": settings{"agent.service": during(
		"/usr/bin/mv "+fixedAgent+" "+fixedAgent+".away", "/usr/bin/mv "+fixedAgent+".away "+fixedAgent)}})
	s.deploy().require("rolled-back", 7).requireFailure("no agent at " + fixedAgent)
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}
