package deployrs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/hosts"
)

// ssh_config says what the flake leaves open, and sshOpts come before it, as on the
// command line of ssh. deploy-rs's sshUser comes before both.
func TestConnectionsAreThoseOfSSH(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	files := map[string]string{
		".ssh/config": "Host web1.example.org\n  HostName 192.0.2.1\n  User configured\n  Port 2200\n  IdentityFile ~/.ssh/web\n  ProxyJump me@bastion:2022\n",
		"other":       "Host *\n  Port 2300\n",
		"boss":        "Host *\n  User root\n",
	}
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		top  set
		want func(hosts.Host) bool
	}{
		{"ssh_config", set{}, func(h hosts.Host) bool {
			return h.Address == "192.0.2.1" && h.User == "configured" && h.Port == 2200 && strings.HasSuffix(strings.Join(h.IdentityFiles, " "), "/.ssh/web") &&
				len(h.Jump) == 1 && h.Jump[0].Address == "bastion" && h.Jump[0].User == "me" && h.Jump[0].Port == 2022
		}},
		{"sshUser", set{"sshUser": "said", "sshOpts": []string{"-l", "optional"}}, func(h hosts.Host) bool { return h.User == "said" }},
		{"-l", set{"sshOpts": []string{"-l", "optional"}}, func(h hosts.Host) bool { return h.User == "optional" }},
		{"-p", set{"sshOpts": []string{"-p", "22"}}, func(h hosts.Host) bool { return h.Port == 22 && h.User == "configured" }},
		{"-J", set{"sshOpts": []string{"-J", "a,b"}}, func(h hosts.Host) bool { return len(h.Jump) == 2 && h.Jump[0].Address == "a" }},
		{"-i", set{"sshOpts": []string{"-i", "~/a b"}}, func(h hosts.Host) bool { return h.IdentityFiles[0] == filepath.Join(home, "a b") }},
		{"-F", set{"sshOpts": []string{"-F", "~/other"}}, func(h hosts.Host) bool {
			return h.Port == 2300 && h.User == "me" && h.Address == "web1.example.org"
		}},
		{"root by ssh_config needs no prefix", set{"sudo": "doas -u", "sshOpts": []string{"-F", filepath.Join(home, "boss")}}, func(h hosts.Host) bool { return h.User == "root" && h.Elevation == nil }},
		{"-o", set{"sshOpts": []string{"-o", "HostKeyAlias=web", "-o", "ConnectTimeout 7"}}, func(h hosts.Host) bool {
			return h.SSH.HostKeyAlias == "web" && h.Timeouts.Connect.Seconds() == 7
		}},
	} {
		got, err := Read(answer(test.top, nodeOf("web1", set{}, profileOf("system", set{"user": "root"}))), Source{Flake: "/infra", User: "me", Kinds: kinds})
		if err != nil || !test.want(got.Inventory.Hosts[0]) {
			t.Errorf("%s: %v, %+v", test.name, err, got.Inventory)
		}
	}
}

func TestConnectionsThatAreRefused(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for option, says := range map[string]string{
		"-oPubkeyAuthentication=no": "deploy.nodes.web1.sshOpts: PubkeyAuthentication", "-oNoSuchThing=1": "no directive of ssh_config",
		"-oPort=x": "Port", "-F/nowhere/config": "/nowhere/config",
	} {
		_, err := Read(answer(set{"sshOpts": []string{option}}, nodeOf("web1", set{}, profileOf("system", set{"user": "root"}))), Source{Flake: "/infra", User: "me", Kinds: kinds})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", option, err, says)
		}
	}
	got, err := Read(answer(set{"sshOpts": []string{"-oStrictHostKeyChecking=no"}}, nodeOf("web1", set{}, profileOf("system", set{"user": "root"}))), Source{Flake: "/infra", User: "me", Kinds: kinds})
	if err != nil || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "hdeploy trust web1") {
		t.Errorf("%v %q", err, got.Notes)
	}
}
