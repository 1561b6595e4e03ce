//go:build lab

package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// withSecrets is a healthy host whose one secret is for its own service.
func withSecrets(changes settings) settings {
	all := settings{
		"opnix":      settings{"secrets": settings{"appSecret": settings{"value": "v", "services": []string{"app"}}}},
		"extraUnits": settings{"app.service": consumer("opnix-secrets.service")},
	}
	for key, value := range changes {
		all[key] = value
	}
	return all
}

func consumer(after string) string {
	return fmt.Sprintf("[Unit]\nDescription=Uses the secret\nAfter=%s\nWants=%s\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n", after, after)
}

// checked is `hdeploy check` with its outcome.
func (s *site) checked(args ...string) *run {
	s.t.Helper()
	return s.start("check", command{args: args}).wait()
}

// requireFinding wants a finding with all words in cause and remedy.
func (r *run) requireFinding(severity event.Severity, name string, words ...string) {
	r.t.Helper()
	for _, f := range r.Outcome.Findings {
		text := f.Cause + "\n" + f.Remedy
		if f.Severity == severity && f.Name == name && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
	}
	r.t.Errorf("no %s %q that says %q: %+v", severity, name, words, r.Outcome.Findings)
}

func (r *run) requireNone(severity event.Severity) {
	r.t.Helper()
	for _, f := range r.Outcome.Findings {
		if f.Severity == severity {
			r.t.Errorf("a %s: %+v", severity, f)
		}
	}
}

func TestCheckOfCleanHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["no-new-failed-units", "onepassword-secrets"]`
	s.configure(withSecrets(nil))
	s.deploy().require("committed", 0)
	before := s.snapshot()
	r := s.checked().require("ready", 0)
	r.requireNone(event.Obstacle)
	r.requireNone(event.Warning)
	if r.Outcome.Action != "check" {
		t.Errorf("the action is %q", r.Outcome.Action)
	}
	s.ask("check", hostName).says(t, 0, "ready", "0 failures, 0 warnings")

	// What was not built yet is said, and --build builds it.
	s.configure(withSecrets(settings{"revision": "2", "kernel": "6.12.31"}))
	s.checked().require("ready", 0).requireFinding(event.Remark, "build", "--build")
	s.checked("--build").require("ready", 0).requireFinding(event.Remark, "reboot", "another kernel")

	// What a switch would be refused for is found before it.
	s.ask("lock", hostName, "-m", "disk is being replaced").says(t, 0)
	s.checked().require("not-ready", 11).requireFinding(event.Obstacle, "freeze", "alice@", "disk is being replaced", "hdeploy unlock")
	s.ask("check", hostName).says(t, 11, "failure  freeze", "remedy:", "hdeploy unlock "+hostName)
	s.ask("unlock", hostName).says(t, 0)

	for _, c := range []struct{ break_, mend, says string }{
		{": >/etc/opnix-token", "echo ops_lab >/etc/opnix-token", "is empty"},
		{"mv /etc/opnix-token /etc/away", "mv /etc/away /etc/opnix-token", "does not exist"},
		{"chmod 644 /etc/opnix-token", "chmod 640 /etc/opnix-token", "open to others"},
	} {
		s.on(c.break_)
		s.checked().require("not-ready", 11).requireFinding(event.Obstacle, "token", c.says, "ssh root@")
		s.on(c.mend)
	}
	requireUntouched(t, before, s.snapshot())
}

func TestCheckOfConfigurations(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	check := func(host settings) *run {
		t.Helper()
		s.configure(host)
		return s.checked()
	}

	r := check(withSecrets(settings{"extraUnits": settings{"app.service": consumer("onepassword-secrets.service")}})).require("not-ready", 11)
	r.requireFinding(event.Obstacle, "dangling unit", "app.service", "onepassword-secrets.service", "opnix-secrets.service")
	r = check(withSecrets(settings{"extraUnits": settings{"app.service": consumer("opnix-secrets.service ghost.service")}})).require("ready", 0)
	r.requireFinding(event.Warning, "dangling unit", "ghost.service", "--build")

	r = check(settings{"opnix": settings{"unknownOwner": true}}).require("not-ready", 11)
	r.requireFinding(event.Obstacle, "owner", "nosuchuser", "orphanSecret", "DynamicUser")

	r = check(withSecrets(settings{"extraUnits": settings{}})).require("not-ready", 11)
	r.requireFinding(event.Obstacle, "consumer", "app.service", "appSecret")

	check(settings{"hostName": "somebody"}).require("not-ready", 11).requireFinding(event.Obstacle, "identity", "somebody", "--force-identity")
	check(settings{}).require("ready", 0).requireNone(event.Obstacle)

	// What deploy.toml says and the flake does not, and the reverse.
	r = check(withSecrets(settings{"sshdPort": 2222})).require("ready", 0)
	r.requireFinding(event.Warning, "ssh port", "at port 22, its sshd listens on 2222")
	r.requireFinding(event.Warning, "probes", "onepassword-secrets", "extend")
	r.requireFinding(event.Remark, "inventory", "factory-grub")
	check(settings{"expectations": false, "sshdPort": 2222}).require("ready", 0).requireNone(event.Warning)

	s.inventory.Probes = `["onepassword-secrets"]`
	check(settings{}).require("ready", 0).requireFinding(event.Warning, "probes", "services.onepassword-secrets")
	s.inventory.Probes = ""

	r = check(settings{"hercules": settings{"badCaches": "missing"}})
	r.requireFinding(event.Warning, "agent files", "binaryCachesPath")
	r.requireFinding(event.Remark, "agent files", "secrets.json")

	old := withSecrets(nil)
	old["opnix"].(settings)["version"] = "0.8.0"
	check(old).require("not-ready", 11).requireFinding(event.Obstacle, "opnix version", "appSecret", "0.10.1")
	check(settings{"opnix": settings{"version": "0.8.0"}}).require("ready", 0)

	s.inWorkstation("echo '{ }: 1 +' >flake/lib/default.nix")
	s.checked().require("not-ready", 11).requireFinding(event.Obstacle, "evaluate")
}

// inWorkstation runs a script in the deployer's directory.
func (s *site) inWorkstation(script string) {
	s.t.Helper()
	inShell(s.t, workstation, "cd "+s.dir+" && "+script)
}

func TestCheckFindsInputThatIsNotLocked(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(nil)
	s.inWorkstation(`mkdir -p locked unlocked
		for name in locked unlocked; do echo '{ outputs = { self }: { value = 1; }; }' >$name/flake.nix; done
		sed -i "s|^  outputs =|  inputs.locked.url = \"path:$PWD/locked\";\n  outputs =|; s|{ self }:|{ self, ... }:|" flake/flake.nix
		nix --extra-experimental-features 'nix-command flakes' flake lock ./flake`)
	s.checked().require("ready", 0).requireNone(event.Obstacle)

	s.inWorkstation(`sed -i "s|^  outputs =|  inputs.unlocked.url = \"path:$PWD/unlocked\";\n  outputs =|" flake/flake.nix; cp flake/flake.lock before.lock`)
	r := s.checked().require("not-ready", 11)
	r.requireFinding(event.Obstacle, "lock file", "unlocked", "nix flake lock")
	s.inWorkstation("cmp flake/flake.lock before.lock") // a check writes nothing

	s.inWorkstation("rm flake/flake.lock")
	s.checked().require("not-ready", 11).requireFinding(event.Obstacle, "lock file", "no flake.lock", "unlocked")
}

// What can be known without a host is told where it is not reached.
func TestCheckOfHostThatIsNotReached(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"opnix": settings{"unknownOwner": true}})
	s.inventory.Address = "10.44.255.254"
	s.inventory.Timeouts = `{ connect = "2s" }`
	r := s.checked().require("unreachable", 6)
	r.requireFinding(event.Obstacle, "owner", "nosuchuser")
	s.ask("check", hostName).says(t, 6, "unreachable", "nosuchuser", "next:")
}
