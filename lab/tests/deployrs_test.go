//go:build lab

package tests

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// deployRs makes the site's flake one of those that were written for deploy-rs, and a
// home for a deployer who knows the host's key and has no deploy.toml.
func (s *site) deployRs(shape string) {
	s.t.Helper()
	for from, to := range map[string]string{shape + "/flake.nix": "flake/flake.nix", "lib.nix": "flake/deploy-rs.nix"} {
		text, err := os.ReadFile(path.Join("testdata/deployrs", from))
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(to, string(text))
	}
	where, err := json.Marshal(map[string]string{"hostname": s.host.Address})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("flake/where.json", string(where))
	inShell(s.t, workstation, "mkdir -p -m 700 "+s.dir+"/home/.ssh && cp /root/.ssh/id_ed25519 "+s.dir+"/home/.ssh/")
	s.write("home/.ssh/known_hosts", s.host.Address+" "+s.host.HostKey()+"\n")
}

// node configures the one system of the shapes.
func (s *site) node(changes settings) {
	s.t.Helper()
	all := settings{"loader": s.host.Loader()}
	for key, value := range changes {
		all[key] = value
	}
	if err := workstation.WriteHostConfig(s.t.Context(), s.dir+"/flake", "example-nixos-system", all); err != nil {
		s.t.Fatal(err)
	}
}

// inFlake runs hdeploy in the folder of the flake, as its deployer.
func (s *site) inFlake(args ...string) *run {
	s.t.Helper()
	return s.launch(s.dir+"/flake", command{
		args: append(args, "--output", "json"), env: []string{"HOME=" + s.dir + "/home", "USER=deployer"},
	})
}

// The system behind the wrapper is what the profile leads to, what is found again, and
// what a failed deployment comes back to, exactly.
func TestDeployRsSystem(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: "grub", HostName: "example-nixos-system"})
	s.deployRs("system")
	s.node(settings{"revision": "first"})
	first := s.inFlake("switch", ".#example.system").wait().require("committed", 0).Outcome.Closure
	if !strings.Contains(first, "-nixos-system-example-nixos-system-") {
		t.Errorf("deployed was %s", first)
	}
	if profile := s.on("readlink -f /nix/var/nix/profiles/system /run/current-system"); profile != first+"\n"+first {
		t.Errorf("the host has %s, not %s", profile, first)
	}
	s.inFlake("switch", "example.system").wait().require("unchanged", 0)
	s.inFlake("check", ".#example.system").wait().require("ready", 0)
	s.inFlake("dry-activate", "example.system").wait()

	s.node(settings{"revision": "second", "faults": settings{"activateExit": 1}})
	second := s.inFlake("switch", ".#example.system", "--confirm-timeout", "20s").wait().require("rolled-back", 7).Outcome
	if second.Running != first || second.Previous != first {
		t.Errorf("the host runs %s after the rollback, and ran %s", second.Running, second.Previous)
	}
	if profile := s.on("readlink -f /nix/var/nix/profiles/system"); profile != first {
		t.Errorf("the profile leads to %s, not %s", profile, first)
	}
}

// The guide in docs/from-deploy-rs.md is what its reader would type.
func TestDeployRsGuide(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: "systemd-boot", HostName: "example-nixos-system"})
	s.deployRs("system")
	s.node(settings{"revision": "first"})
	guide, err := os.ReadFile("../../docs/from-deploy-rs.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^ +\$ (hdeploy .*)$`).FindAllStringSubmatch(string(guide), -1)
	if len(commands) < 6 {
		t.Fatalf("the guide has %d commands", len(commands))
	}
	for _, command := range commands {
		said := inShell(t, workstation, "cd "+s.dir+"/flake && export HOME="+s.dir+"/home XDG_STATE_HOME="+s.dir+"/state USER=deployer && /hdeploy/"+command[1]+" 2>&1")
		if strings.TrimSpace(said) == "" {
			t.Errorf("%s says nothing", command[1])
		}
	}
	if profile := s.on("readlink -f /nix/var/nix/profiles/system"); !strings.Contains(profile, "-nixos-system-example-nixos-system-") {
		t.Errorf("after the guide the profile leads to %s", profile)
	}
}

// Everything else than a system that can be switched to is refused before the host
// is changed, with the words for it.
func TestDeployRsReadsEveryShape(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: "/root/deployrs-shapes"}
	for _, shape := range []string{"simple", "levels"} {
		if err := workstation.NewFlake(t.Context(), path.Join(s.dir, shape)); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{shape + "/flake.nix": "flake.nix", "lib.nix": "deploy-rs.nix"} {
			text, err := os.ReadFile(path.Join("testdata/deployrs", from))
			if err != nil {
				t.Fatal(err)
			}
			s.write(shape+"/"+to, string(text))
		}
	}
	for _, test := range []struct {
		name, dir string
		args      []string
		code      int
		says      []string
	}{
		{"a login of one's own name", "simple", []string{"hosts"}, 0, []string{"example  deployer@localhost", "the nodes of"}},
		{"a node that throws is told by name", "levels", []string{"hosts"}, 3, []string{"nobody asked for this node"}},
		{"only the named nodes are read", "levels", []string{"build", "web1", ".#\"db.example.org\".system"}, 0,
			[]string{"-nixos-system-web1-", "-nixos-system-aliased-"}},
		{"a system that no configuration tells", "levels", []string{"build", "hidden"}, 0, []string{"-nixos-system-elsewhere-"}},
		{"from elsewhere", ".", []string{"build", "./levels#web1.system"}, 0, []string{"-nixos-system-web1-"}},
		{"nix-darwin", "levels", []string{"build", "mac"}, 5, []string{"nix-darwin, for aarch64-darwin"}},
		{"a system that is not switched to", "levels", []string{"build", "noop"}, 5, []string{"was not made by deploy-rs's activate.nixos"}},
		{"a wrong node", "levels", []string{"build", "web2"}, 2, []string{`did you mean "web1"?`}},
		{"a wrong profile", "levels", []string{"build", ".#web1.sistem"}, 2, []string{`did you mean "system"?`}},
		{"too many names", "levels", []string{"build", ".#web1.system.path"}, 2, []string{"no third name"}},
		{"two flakes", ".", []string{"build", "./levels#web1", "./simple#example"}, 2, []string{"one run deploys from one flake"}},
		{"a flake for something else", "..", []string{"build", "/var/lib/lab/flake#web1"}, 2, []string{"no output deploy, only nixosConfigurations"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := `cd "$0" && XDG_STATE_HOME=` + s.dir + `/state USER=deployer exec /hdeploy/hdeploy "$@"`
			result, err := workstation.Exec(t.Context(), append([]string{"sh", "-c", script, path.Join(s.dir, test.dir)}, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if said := result.Stdout + result.Stderr; result.Code != test.code || !containsAll(said, test.says) {
				t.Errorf("exit code %d, not %d with %q: %s", result.Code, test.code, test.says, said)
			}
		})
	}
}

func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}
