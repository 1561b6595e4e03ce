package hosts

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	keyOne = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMtRPiZ4cdGlxKpv8zm3RMGy0Krw/Wm+Tc1E8sH6yQvH"
	keyTwo = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmBWnGvRUqw1iqSTYn5qQ1CZyx8HYp1GPKxEkZFWvNB"
)

func write(t *testing.T, document string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, document string) *Inventory {
	t.Helper()
	inv, err := Load(write(t, document), testKinds())
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func only(t *testing.T, document string) Host {
	t.Helper()
	inv := load(t, document)
	if len(inv.Hosts) != 1 {
		t.Fatalf("%d hosts", len(inv.Hosts))
	}
	return inv.Hosts[0]
}

func TestDesignExample(t *testing.T) {
	inv := load(t, `
flake = "."

[hosts.hetzner-vps]
address   = "hetzner-vps.example.org"
host_keys = ["ssh-ed25519 AAAA..."]
tags      = ["server", "ci"]
probes    = ["onepassword-secrets", "hercules-ci-agent"]

[probes.site]
kind = "http"
url  = "https://example.org/health"
from = "deployer"
`)
	if inv.Flake != filepath.Dir(inv.Path) {
		t.Errorf("flake is %s, the file is %s", inv.Flake, inv.Path)
	}
	host := inv.Hosts[0]
	if host.Name != "hetzner-vps" || host.Address != "hetzner-vps.example.org" || host.HostKeys[0] != "ssh-ed25519 AAAA..." {
		t.Errorf("got %+v", host)
	}
	if len(host.Probes) != 2 || host.Probes[0].Kind != "onepassword-secrets" || host.Probes[1].Timing != (Timing{}) {
		t.Errorf("got %+v", host.Probes)
	}
	site := inv.Probes["site"]
	if site.Kind != "http" || site.Parameters["url"] != "https://example.org/health" || site.From != FromDeployer || site.OnFail != "" || site.Passes != nil {
		t.Errorf("got %+v", site)
	}
}

func TestAHostIsOneLine(t *testing.T) {
	if got, want := only(t, "[hosts.web1]"), NewHost("web1"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want := Timeouts{Activation: 300e9, Confirm: 60e9, Commit: 120e9, Rollback: 300e9, Grace: 15e9, Connect: 10e9, Reboot: 600e9}
	host := NewHost("web1")
	if host.Address != "web1" || host.Port != 22 || host.User != "root" || host.Elevation != nil || host.Timeouts != want ||
		host.Attribute != "nixosConfigurations.web1.config.system.build.toplevel" {
		t.Errorf("got %+v", host)
	}
}

func TestEverySetting(t *testing.T) {
	host := only(t, `
[hosts."web1.example.org"]
address = "2001:db8::1"
port = 2_222
user = "deploy"
host_keys = ["`+keyOne+` a comment"]
identity_files = ["/keys/one", "keys/two"]
elevation = ["doas", "-n"]
tags = ["a", "b"]
attribute = 'packages.x86_64-linux."web1".toplevel'
probes = ["web"]
jump = ["bastion"]
timeouts = { activation = "10m", confirm = "90s", commit = "1m", rollback = "1h", grace = "1s", connect = "500ms", reboot = "20m" }

[jumps.bastion]
address = "bastion.example.org"
port = 2200
user = "jump"
host_keys = ["`+keyTwo+`"]

[probes.web]
kind = "tcp"
address = "[::1]:443"
deadline = "2m"
interval = "500ms"
settle = "1s"
soak = "10s"
passes = 3
on_fail = "alert"
`)
	if host.Address != "2001:db8::1" || host.Port != 2222 || host.User != "deploy" || host.HostKeys[0] != keyOne {
		t.Errorf("got %+v", host)
	}
	if host.IdentityFiles[0] != "/keys/one" || !strings.HasSuffix(host.IdentityFiles[1], "/keys/two") || !filepath.IsAbs(host.IdentityFiles[1]) {
		t.Errorf("identity files: %v", host.IdentityFiles)
	}
	if strings.Join(host.Elevation, " ") != "doas -n" || host.Attribute != `packages.x86_64-linux."web1".toplevel` {
		t.Errorf("got %+v", host)
	}
	if want := (Timeouts{600e9, 90e9, 60e9, 3600e9, 1e9, 5e8, 1200e9}); host.Timeouts != want {
		t.Errorf("timeouts: %+v", host.Timeouts)
	}
	if want := (Jump{Name: "bastion", Address: "bastion.example.org", Port: 2200, User: "jump", HostKeys: []string{keyTwo}}); !reflect.DeepEqual(host.Jump, []Jump{want}) {
		t.Errorf("jump: %+v", host.Jump)
	}
	want := Probe{
		Name: "web", Kind: "tcp", From: FromHost, OnFail: "alert", Parameters: map[string]any{"address": "[::1]:443"},
		Timing: Timing{
			Deadline: new(2 * time.Minute), Interval: new(500 * time.Millisecond), Settle: new(time.Second), Soak: new(10 * time.Second), Passes: new(3),
		},
	}
	if !reflect.DeepEqual(host.Probes, []Probe{want}) {
		t.Errorf("probes: %+v", host.Probes)
	}
}

func TestDefaults(t *testing.T) {
	inv := load(t, `
[defaults]
user = "deploy"
tags = ["all"]
probes = ["hercules-ci-agent"]
jump = ["bastion"]
timeouts = { confirm = "2m" }

[hosts.bastion]
user = "root"

[hosts.web1]
timeouts = { commit = "1m" }

[hosts.web2]
tags = []
probes = []
jump = []
elevation = "none"
`)
	bastion, web1, web2 := inv.Hosts[0], inv.Hosts[1], inv.Hosts[2]
	if bastion.Jump != nil || bastion.Elevation != nil || bastion.Tags[0] != "all" {
		t.Errorf("bastion: %+v", bastion)
	}
	if web1.User != "deploy" || strings.Join(web1.Elevation, " ") != "sudo -n --" || web1.Jump[0].User != "root" || len(web1.Probes) != 1 ||
		web1.Timeouts.Confirm != 2*time.Minute || web1.Timeouts.Commit != time.Minute {
		t.Errorf("web1: %+v", web1)
	}
	if len(web2.Tags)+len(web2.Probes)+len(web2.Jump)+len(web2.Elevation) != 0 {
		t.Errorf("web2: %+v", web2)
	}
}

func TestElevation(t *testing.T) {
	for setting, want := range map[string]string{
		``: "", `user = "me"`: "sudo -n --", `elevation = "sudo"`: "sudo -n --", `elevation = "doas"`: "doas -n --",
		"user = \"me\"\nelevation = \"none\"": "", "user = \"me\"\nelevation = []": "", `elevation = ["run0", "--"]`: "run0 --", `elevation = "run0"`: "run0 --no-ask-password --",
	} {
		if got := strings.Join(only(t, "[hosts.web1]\n"+setting).Elevation, " "); got != want {
			t.Errorf("%s: got %q, want %q", setting, got, want)
		}
	}
}

func TestFlake(t *testing.T) {
	for _, test := range []struct{ flake, want string }{
		{".", "DIR"}, {"./nixos", "DIR/nixos"}, {"./nixos?ref=main", "DIR/nixos?ref=main"}, {"path:.", "path:DIR"}, {"path:./a?dir=b", "path:DIR/a?dir=b"},
		{"git+file:.", "git+file:DIR"}, {"/srv/flake", "/srv/flake"}, {"github:owner/repo", "github:owner/repo"}, {"nixpkgs", "nixpkgs"},
	} {
		inv := load(t, "flake = \""+test.flake+"\"\n[hosts.web1]")
		if want := strings.ReplaceAll(test.want, "DIR", filepath.Dir(inv.Path)); inv.Flake != want {
			t.Errorf("%s: got %s, want %s", test.flake, inv.Flake, want)
		}
	}
}

func TestAttributeQuotesWhatNixWouldSplit(t *testing.T) {
	for name, want := range map[string]string{"web_1-a": "web_1-a", "web1.example.org": `"web1.example.org"`, "0zone": `"0zone"`} {
		if got := NewHost(name).Attribute; got != "nixosConfigurations."+want+".config.system.build.toplevel" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestSelect(t *testing.T) {
	inv := load(t, `
[hosts.web1]
tags = ["web"]
[hosts.web2]
tags = ["web"]
[hosts.db]
`)
	for _, test := range []struct{ names, want string }{
		{"", "web1 web2 db"}, {"db web1", "db web1"}, {"web2 web2", "web2"}, {"web2 @web", "web2 web1"}, {"@web db", "web1 web2 db"},
	} {
		selected, err := inv.Select(strings.Fields(test.names))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, host := range selected {
			got = append(got, host.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q: got %v, want %s", test.names, got, test.want)
		}
	}
}

func TestSelectUnknown(t *testing.T) {
	inv := &Inventory{Path: "deploy.toml", Hosts: []Host{{Name: "hetzner-vps", Tags: []string{"server"}}, {Name: "db"}}}
	for _, test := range []struct{ name, want string }{
		{"hetzner-vsp", `find host "hetzner-vsp" in deploy.toml: not defined (did you mean "hetzner-vps"?)`},
		{"laptop", `find host "laptop" in deploy.toml: not defined (known: hetzner-vps, db)`},
		{"@servers", `find tag "@servers" in deploy.toml: not defined (did you mean "@server"?)`},
		{"\x1b[2J", `find host "?[2J" in deploy.toml: not defined (known: hetzner-vps, db)`},
	} {
		_, err := inv.Select([]string{"db", test.name})
		var unknown *UnknownHostError
		if !errors.As(err, &unknown) || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	_, err := inv.Select([]string{"one", "two"})
	if err == nil || strings.Count(err.Error(), "not defined") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	top := t.TempDir()
	below := filepath.Join(top, "a", "b")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Find(below)
	if !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), "\n    ") != 3 {
		t.Errorf("got %v", err)
	}
	example := err.Error()[strings.Index(err.Error(), "    ["):]
	if host := only(t, example); host.Address != "web1.example.org" {
		t.Errorf("the example gives %+v", host)
	}
	want := filepath.Join(top, FileName)
	if err := os.WriteFile(want, []byte("[hosts.web1]"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A folder of that name is no configuration.
	if err := os.Mkdir(filepath.Join(below, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(below); err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
}
