//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// oddity is a host that is not as one expects, and on which everything works all the
// same.
type oddity struct {
	name string
	// change is what the host's configuration says of it, spoil what somebody did
	// there by hand to the login $user, and mend undoes that.
	change      settings
	spoil, mend string
	// is shows, logged in over ssh, that the host is odd.
	is func(*testing.T, *site, string)
}

// saysBefore demands that a command prints something before its own output.
func saysBefore(noise string) func(*testing.T, *site, string) {
	return func(t *testing.T, s *site, user string) {
		t.Helper()
		if got := overSSH(t, s, user, "/bin/echo said 2>&1"); !strings.Contains(got, noise) || !strings.HasSuffix(got, "said") {
			t.Errorf("ssh says %q, and not %q before it", got, noise)
		}
	}
}

// overSSH runs a command as OpenSSH does.
func overSSH(t *testing.T, s *site, user, command string) string {
	t.Helper()
	return inShell(t, workstation, fmt.Sprintf("ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null %s@%s %q 2>&1 || true",
		user, s.host.Address, command))
}

func oddities(t *testing.T) []oddity {
	noise := `printf '%s' 'echo "Welcome to this host"; printf "no newline"' > "$home/.bashrc"`
	shell := func(path string) string { return "usermod -s " + path + ` "$user"` }
	runs := func(program string) func(*testing.T, *site, string) {
		return func(t *testing.T, s *site, user string) {
			t.Helper()
			if got := s.on("getent passwd " + user); !strings.HasSuffix(got, program) {
				t.Errorf("the login shell is that of %s", got)
			}
		}
	}
	list := []oddity{{
		name:   "streamlocal forwarding off",
		change: settings{"sshd": []string{"AllowStreamLocalForwarding no"}},
		is: func(t *testing.T, s *site, _ string) {
			if got := s.on("sshd -T | grep -i allowstreamlocal"); !strings.HasSuffix(got, " no") {
				t.Error(got)
			}
		},
	}, {
		name:   "no forwarding at all, and SFTP off",
		change: settings{"sshd": []string{"DisableForwarding yes"}, "sftp": false},
		is: func(t *testing.T, s *site, user string) {
			got := inShell(t, workstation, "echo pwd | sftp -b - -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "+user+"@"+s.host.Address+" 2>&1 || true")
			if !strings.Contains(got, "subsystem request failed") && !strings.Contains(got, "Connection closed") {
				t.Errorf("SFTP works: %s", got)
			}
		},
	}, {
		name:   "a banner at login",
		change: settings{"sshd": []string{"Banner /etc/os-release"}},
		is:     saysBefore("NixOS"),
	}, {
		name:  "/tmp and the home directory noexec",
		spoil: `mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp; mount --bind "$home" "$home"; mount -o remount,bind,noexec "$home"`,
		mend:  `umount -l /tmp "$home"`,
		is: func(t *testing.T, s *site, user string) {
			script := "cp /bin/true ~/program && ~/program; cp /bin/true /tmp/program && /tmp/program"
			if got := overSSH(t, s, user, script); strings.Count(got, "Permission denied") != 2 {
				t.Error(got)
			}
		},
	}, {
		name:  "no home directory",
		spoil: `sed -i "s#:$home:#:/no/such/home:#" /etc/passwd`,
		mend:  `sed -i "s#:/no/such/home:#:$home:#" /etc/passwd`,
		is:    saysBefore("Could not chdir to home directory"),
	}, {
		name:  "a home directory and /tmp that are read-only",
		spoil: `mount -t tmpfs -o ro tmpfs /tmp; mount --bind "$home" "$home"; mount -o remount,bind,ro "$home"`,
		mend:  `umount -l /tmp "$home"`,
		is: func(t *testing.T, s *site, user string) {
			if got := overSSH(t, s, user, "touch ~/file; touch /tmp/file"); strings.Count(got, "Read-only") != 2 {
				t.Error(got)
			}
		},
	}, {
		name:  "bash that prints",
		spoil: noise,
		mend:  `rm -f "$home/.bashrc"`,
		is:    saysBefore("Welcome to this host\nno newline"),
	}, {
		name:  "fish that prints",
		spoil: shell("/usr/bin/fish") + `; mkdir -p /etc/fish/conf.d; printf 'echo "Welcome to fish"; printf "no newline"\n' > /etc/fish/conf.d/noise.fish`,
		mend:  "rm /etc/fish/conf.d/noise.fish; " + shell("/bin/bash"),
		is: func(t *testing.T, s *site, user string) {
			runs("/fish")(t, s, user)
			saysBefore("Welcome to fish\nno newline")(t, s, user)
		},
	}}
	if nu := nushell(t); nu != nil {
		list = append(list, oddity{
			name:  "nushell that prints",
			spoil: shell("/usr/bin/nu") + `; mkdir -p "$home/.config/nushell"; echo 'print "Welcome to nu"' > "$home/.config/nushell/env.nu"; chown -R "$user" "$home/.config"`,
			mend:  `rm -rf "$home/.config"; ` + shell("/bin/bash"),
			is:    runs("/nu"),
		})
	}
	return list
}

// Each oddity is met twice: by the connection that confirms the system that brings
// it, and by a deployment with everything in it, from the upload of the agent on.
func TestOddHostsAreDeployedTo(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"root", "admin"} {
		t.Run(user, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			if nu := nushell(t); nu != nil {
				if err := s.host.WriteFile(t.Context(), "/usr/bin/nu", nu, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			s.inventory.Lines = fmt.Sprintf("user = %q", user)
			s.configure(settings{"revision": "0"})
			s.deploy().require("committed", 0)
			names := fmt.Sprintf("user=%s; home=$(getent passwd %s | cut -d: -f6); ", user, user)
			for i, odd := range oddities(t) {
				t.Logf("%s: %s", user, odd.name)
				revision := func(n int) {
					change := settings{"revision": fmt.Sprintf("%d.%d", i+1, n)}
					for key, value := range odd.change {
						change[key] = value
					}
					s.configure(change)
					s.deploy().require("committed", 0)
				}
				if odd.change != nil {
					revision(1)
				}
				mend := names + odd.mend
				if odd.spoil != "" {
					s.on(names + odd.spoil)
				}
				odd.is(t, s, user)
				s.on("rm -rf /var/lib/hdeploy/agent")
				revision(2)
				if odd.mend != "" {
					s.on(strings.Replace(mend, "$(getent passwd "+user+" | cut -d: -f6)", homeOf(user), 1))
				}
				if left := s.on("ls -A /tmp " + homeOf(user) + " | grep hdeploy || true"); left != "" {
					t.Errorf("%s: it left %s", odd.name, left)
				}
			}
		})
	}
}

func homeOf(user string) string {
	if user == "root" {
		return "/root"
	}
	return "/home/" + user
}

// A host that runs something else than what it is asked to is refused, with the
// settings that do that, and is not touched.
func TestHostsThatRunOnlyTheirOwnCommandsAreRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = `user = "admin"`
	s.configure(settings{"revision": "refused"})
	before := s.snapshot()
	keys := "/etc/ssh/authorized_keys.d/admin"
	for _, c := range []struct{ name, spoil, mend, said string }{
		{"ForceCommand", "printf 'ForceCommand echo backups only\n' > /run/sshd_config; cat /etc/ssh/sshd_config >> /run/sshd_config; " + restartSSH("/run/sshd_config"),
			restartSSH("/etc/ssh/sshd_config"), "backups only"},
		{"command=", "cp " + keys + " /run/keys; sed -i 's/^/command=\"echo for backups\" /' " + keys, "cp /run/keys " + keys, "for backups"},
		{"nologin", "usermod -s /usr/sbin/nologin admin", "usermod -s /bin/bash admin", "not available"},
		{"a startup file that runs something else", `printf 'exec cat\n' > /home/admin/.bashrc`, "rm /home/admin/.bashrc", ""},
	} {
		s.on(c.spoil)
		s.deploy().require("refused", 5).requireFailure("does not run the command", "ForceCommand", "command=", "login shell", c.said)
		s.on(c.mend)
		if c.name != "ForceCommand" { // another sshd runs since
			requireUntouched(t, before, s.snapshot())
		}
		before = s.snapshot()
	}
	s.deploy().require("committed", 0)
}

// restartSSH starts sshd anew with a configuration, in the unit that it has.
func restartSSH(config string) string {
	return "mkdir -p /run/systemd/system/sshd.service.d; printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/sshd -D -f " + config +
		"\\n' > /run/systemd/system/sshd.service.d/odd.conf; systemctl daemon-reload; systemctl restart sshd.service"
}
