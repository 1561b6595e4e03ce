//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// refusal is one thing that is wrong before any change.
type refusal struct {
	name string
	// spoil makes it wrong on the deployer's side.
	spoil func(*site)
	env   []string
	word  string
	code  int
	step  string
	words []string
}

// requireRefusals deploys once for each refusal, to a host that must not notice.
func requireRefusals(t *testing.T, s *site, refusals []refusal) {
	t.Helper()
	before := s.snapshot()
	good := s.inventory
	for _, c := range refusals {
		s.configure(settings{"revision": "refused"})
		s.inventory = good
		c.spoil(s)
		r := s.startSwitch(command{env: c.env}).wait()
		if r.Outcome.Outcome != c.word || r.Code != c.code {
			t.Errorf("%s: outcome %s with exit code %d, not %s with %d; %s", c.name, r.Outcome.Outcome, r.Code, c.word, c.code, r.story())
			continue
		}
		t.Logf("%s: %s: %s", c.name, r.Outcome.Failure.Step, firstLine(r.Outcome.Failure.Cause))
		r.requireFailure(c.words...)
		if step := r.Outcome.Failure.Step; step != c.step {
			t.Errorf("%s: the step is %q, not %q", c.name, step, c.step)
		}
		requireUntouched(t, before, s.snapshot())
	}
	s.inventory = good
}

func TestWrongIdentityIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	inShell(t, workstation, "ssh-keygen -q -t ed25519 -N '' -f "+s.dir+"/stranger")
	stranger := inShell(t, workstation, "cut -d' ' -f1,2 "+s.dir+"/stranger.pub")
	requireRefusals(t, s, []refusal{{
		name:  "another host key",
		spoil: func(s *site) { s.inventory.HostKeys = fmt.Sprintf("[%q]", stranger) },
		word:  "refused", code: 5, step: "host key",
		words: []string{s.host.Address, "NOT THE KNOWN ONE", "ssh-keygen -lf", s.host.HostKey()},
	}, {
		name:  "unknown host key",
		spoil: func(s *site) { s.inventory.HostKeys = "" },
		word:  "refused", code: 5, step: "host key",
		words: []string{s.host.Address, "not known", "ssh-keygen -lf", s.host.HostKey()},
	}, {
		name:  "key that the host does not know",
		spoil: func(s *site) { s.inventory.Lines = fmt.Sprintf("identity_files = [%q]", s.dir+"/stranger") },
		env:   []string{"HOME=" + s.dir},
		word:  "refused", code: 5, step: "login",
		words: []string{"log in as root", "stranger", "authorizedKeys"},
	}, {
		name:  "unreachable address",
		spoil: func(s *site) { s.inventory.Address = "10.44.255.254" },
		word:  "unreachable", code: 6, step: "connect",
		words: []string{"10.44.255.254:22"},
	}, {
		name:  "closed port",
		spoil: func(s *site) { s.inventory.Lines = "port = 2222" },
		word:  "unreachable", code: 6, step: "connect",
		words: []string{s.host.Address + ":2222", "connection refused", "systemctl status sshd"},
	}})
}

func TestFlakeThatGivesNoSystemForTheHostIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	derive := inShell(t, workstation, "cat "+s.dir+"/flake/lib/derive.nix")
	foreign := strings.Replace(derive, `system = "x86_64-linux"`, `system = "aarch64-linux"`, 1)
	if foreign == derive {
		t.Fatal("the flake does not name its system any more")
	}
	requireRefusals(t, s, []refusal{{
		name:  "does not evaluate",
		spoil: func(s *site) { s.configure(settings{"revison": "misspelt"}) },
		word:  "failed", code: 3, step: "evaluate",
		words: []string{"unknown setting revison", "nix eval", "… while"},
	}, {
		name:  "is no flake",
		spoil: func(s *site) { s.write("flake/hosts/"+hostName+".json", "{") },
		word:  "failed", code: 3, step: "evaluate",
		words: []string{"parse error", "nix eval"},
	}, {
		name: "has no such attribute",
		spoil: func(s *site) {
			s.inventory.Lines = `attribute = "nixosConfigurations.hetzner.config.system.build.toplevel"`
		},
		word: "failed", code: 3, step: "evaluate",
		words: []string{"nixosConfigurations.hetzner", hostName, "nix flake show"},
	}, {
		name: "does not build",
		spoil: func(s *site) {
			s.configure(settings{"revision": "broken", "extraUnits": settings{"no/such/../../../../directory.service": "text"}})
		},
		word: "failed", code: 3, step: "build",
		words: []string{"can't create", "failed", "nix build --print-build-logs"},
	}, {
		name: "is no NixOS system",
		spoil: func(s *site) {
			s.inventory.Lines = `attribute = "nixosConfigurations.` + hostName + `.config.system.build.toplevel.drvPath"`
		},
		word: "failed", code: 3, step: "evaluate",
	}, {
		name:  "is for another architecture",
		spoil: func(s *site) { s.write("flake/lib/derive.nix", foreign) },
		word:  "refused", code: 5, step: "judge",
		words: []string{"aarch64-linux", "x86_64-linux", "hostPlatform"},
	}, {
		name:  "is for another architecture that can be built here",
		spoil: func(s *site) { s.write("flake/lib/derive.nix", foreign) },
		env:   []string{"NIX_CONFIG=extra-platforms = aarch64-linux"},
		word:  "refused", code: 5, step: "judge",
		words: []string{"aarch64-linux", "x86_64-linux", "hostPlatform"},
	}})
}

func TestHostThatIsNotNixOSIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{Plain: true})
	key := inShell(t, workstation, "cat /root/.ssh/id_ed25519.pub")
	if err := s.host.WriteFile(t.Context(), "/root/.ssh/authorized_keys", []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.snapshot()
	s.configure(settings{"loader": lab.GRUB})
	r := s.deploy().require("refused", 5).requireFailure("not a NixOS host", "debian", "deploy.toml")
	if r.Outcome.Failure.Step != "look" {
		t.Errorf("the step is %q", r.Outcome.Failure.Step)
	}
	requireUntouched(t, before, s.snapshot())
}

func TestFullDiskIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ place, size, words string }{
		{"/nix", "400M", "store"},
		{"/var", "96M", "/var/lib"},
		{"/boot", "4M", "/boot"},
	} {
		t.Run(c.place, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Disks: map[string]string{c.place: c.size}})
			before := s.snapshot()
			s.on("dd if=/dev/zero of=" + c.place + "/ballast bs=4k 2>/dev/null || sync")
			s.configure(settings{"revision": "no room"})
			r := s.deploy().require("refused", 5).requireFailure(c.words, "full")
			s.on("rm " + c.place + "/ballast")
			requireUntouched(t, before, s.snapshot())
			t.Log(r.Outcome.Failure.Cause)
			s.requireWorks()
		})
	}
}

func TestClosureThatDoesNotFitIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{Disks: map[string]string{"/nix": "400M"}})
	before := s.snapshot()
	free := s.on("df --output=avail -BM /nix | tail -n 1 | tr -dc 0-9")
	var mib int
	if _, err := fmt.Sscan(free, &mib); err != nil {
		t.Fatal(err)
	}
	s.configure(settings{"revision": "too large", "payloadMiB": mib})
	s.deploy().require("refused", 5).requireFailure("missing there", "nix-collect-garbage")
	requireUntouched(t, before, s.snapshot())
	s.requireWorks()
}

func TestHostThatDoesNotLetTheAgentRunIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.configure(settings{"revision": "refused"})

	s.on("mount --bind /var/lib /var/lib && mount -o remount,bind,noexec /var/lib")
	s.deploy().require("refused", 5).requireFailure("cannot be executed", "/var/lib/hdeploy", "noexec")
	s.on("umount /var/lib")
	requireUntouched(t, before, s.snapshot())

	s.requireWorks()
}

// spoilSSHD changes the host's own sshd_config.
func spoilSSHD(s *site, edit string) {
	s.t.Helper()
	s.on("cp --remove-destination $(readlink -f /etc/ssh/sshd_config) /etc/ssh/sshd_config && sed -i '" + edit + "' /etc/ssh/sshd_config && systemctl restart sshd")
}

func TestHostWithoutSocketForwardingIsDeployedTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	spoilSSHD(s, "1i AllowStreamLocalForwarding no")
	s.configure(settings{"revision": "no forwarding"})
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

func TestUserWithSudo(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	s.inventory.Lines = `user = "admin"`
	s.configure(settings{"revision": "by admin"})
	r := s.deploy().require("committed", 0)
	after := s.snapshot()
	requireRuns(t, after, r.Outcome.Closure)
	requireNothingLeft(t, after)
	s.deploy().require("unchanged", 0)
	requireUntouched(t, after, s.snapshot())

	s.faulty("by admin, locked out", settings{"firewallDropSsh": true})
	s.deploy().require("rolled-back", 7)
	before := s.snapshot()
	requireRestored(t, after, before)

	s.on("cp --remove-destination $(readlink -f /etc/sudoers.d/lab) /etc/sudoers.d/lab && sed -i s/NOPASSWD:// /etc/sudoers.d/lab")
	s.configure(settings{"revision": "refused"})
	s.deploy().require("refused", 5).requireFailure("password", "NOPASSWD", "admin")
	requireUntouched(t, before, s.snapshot())
}
