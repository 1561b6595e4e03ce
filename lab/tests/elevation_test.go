//go:build lab

package tests

import (
	"fmt"
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
	word: "sudo", refusal: "password is required",
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
			if e.prepare != "" {
				s.on(e.prepare)
			}
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
