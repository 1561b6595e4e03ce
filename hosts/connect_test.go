package hosts

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// home makes one with an ssh_config and returns its path.
func home(t *testing.T, config string) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

// Each row says who decides when several have something to say.
func TestWhoDecidesHowAHostIsReached(t *testing.T) {
	const config = `
Host web1
  HostName web1.example.org
  User deploy
  Port 2222
  IdentityFile ~/.ssh/web
  ConnectTimeout 30
  HostKeyAlias web
Host 192.0.2.*
  User numbers
`
	for _, test := range []struct {
		name, document string
		check          func(h Host, home string) bool
	}{
		{"ssh_config, where nobody else does", "[hosts.web1]", func(h Host, home string) bool {
			return h.Address == "web1.example.org" && h.User == "deploy" && h.Port == 2222 && h.Timeouts.Connect == 30*time.Second &&
				reflect.DeepEqual(h.IdentityFiles, []string{home + "/.ssh/web"}) && h.SSH.HostKeyAlias == "web" &&
				reflect.DeepEqual(h.Elevation, []string{"sudo", "-n", "--"}) && h.SSH.Sources["User"].Line == 4
		}},
		{"deploy.toml before ssh_config", "[hosts.web1]\nuser = \"root\"\nport = 22\nidentity_files = [\"/k\"]\ntimeouts = { connect = \"1s\" }", func(h Host, _ string) bool {
			return h.Address == "web1.example.org" && h.User == "root" && h.Port == 22 && h.Timeouts.Connect == time.Second &&
				reflect.DeepEqual(h.IdentityFiles, []string{"/k"}) && h.Elevation == nil
		}},
		{"defaults before ssh_config", "[defaults]\nuser = \"root\"\n[hosts.web1]", func(h Host, _ string) bool { return h.User == "root" && h.Port == 2222 }},
		{"ssh_options before ssh_config", "[hosts.web1]\nssh_options = { User = \"option\", HostName = \"a.example.org\", Port = 2223 }", func(h Host, _ string) bool {
			return h.User == "option" && h.Port == 2223 && h.Address == "a.example.org" && h.SSH.HostKeyAlias == "web"
		}},
		{"deploy.toml before ssh_options", "[hosts.web1]\nuser = \"toml\"\nssh_options = { User = \"option\" }", func(h Host, _ string) bool { return h.User == "toml" }},
		{"the address is what ssh is asked for", "[hosts.web1]\naddress = \"192.0.2.7\"", func(h Host, _ string) bool {
			return h.Address == "192.0.2.7" && h.User == "numbers" && h.Port == 22 && h.SSH.HostKeyAlias == ""
		}},
		{"an address may be a name of ssh_config", "[hosts.other]\naddress = \"web1\"", func(h Host, _ string) bool { return h.Address == "web1.example.org" && h.Name == "other" }},
		{"elevation stays", "[hosts.web1]\nelevation = \"doas\"", func(h Host, _ string) bool { return h.Elevation[0] == "doas" }},
		{"no ssh_config", "ssh_config = false\n[hosts.web1]", func(h Host, _ string) bool { return reflect.DeepEqual(h, NewHost("web1")) }},
		{"no ssh_config, but options", "ssh_config = false\n[hosts.web1]\nssh_options = { HostName = \"a\" }", func(h Host, _ string) bool { return h.Address == "a" && h.User == "root" }},
		{"ssh_config in so many words", "ssh_config = true\n[hosts.web1]", func(h Host, _ string) bool { return h.User == "deploy" }},
		{"another ssh_config", "ssh_config = \"~/other\"\n[hosts.web1]", func(h Host, _ string) bool { return h.User == "other" && h.Port == 22 }},
		{"nobody", "[hosts.web9]", func(h Host, _ string) bool { return reflect.DeepEqual(h, NewHost("web9")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := home(t, config)
			if err := os.WriteFile(filepath.Join(home, "other"), []byte("User other\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if h := only(t, test.document); !test.check(h, home) {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestAHostWithoutUserIsRootsToMatch(t *testing.T) {
	home(t, "Match user root\n  Port 2222\nMatch user someone\n  Port 2223\n")
	if h := only(t, "[hosts.web1]"); h.Port != 2222 || h.User != "root" {
		t.Errorf("got %s and %d", h.User, h.Port)
	}
	if h := only(t, "[hosts.web1]\nuser = \"someone\""); h.Port != 2223 {
		t.Errorf("got %d", h.Port)
	}
}

func wayOf(h Host) []string {
	var way []string
	for _, j := range h.Jump {
		way = append(way, j.User+"@"+j.Address)
	}
	return way
}

func TestJumps(t *testing.T) {
	const config = `
Host db1 db2
  ProxyJump alice@first,second:2200
Host first
  HostName first.example.org
  ProxyJump zeroth
  IdentityFile ~/.ssh/first
Host zeroth
  User nought
Host second
  User bob
  ProxyJump never
Host named
  ProxyJump bastion
Host bastion
  User me
  ProxyJump zeroth
`
	const described = `
[jumps.bastion]
address = "bastion.example.org"
host_keys = ["` + keyOne + `"]
`
	for _, test := range []struct {
		name, document string
		want           []string
	}{
		{"of ssh_config", "[hosts.db1]", []string{"nought@zeroth", "alice@first.example.org", "bob@second"}},
		{"of deploy.toml", described + "[hosts.db1]\njump = [\"bastion\"]", []string{"root@bastion.example.org"}},
		{"of deploy.toml, which are none", "[hosts.db1]\njump = []", nil},
		{"of ssh_config, described in deploy.toml", described + "[hosts.named]", []string{"root@bastion.example.org"}},
		{"of deploy.toml, with a way of ssh_config to them", "[jumps.first]\n[hosts.db1]\njump = [\"first\"]", []string{"nought@zeroth", "root@first.example.org"}},
		{"of deploy.toml, the second with a way of its own", "[jumps.first]\n[jumps.zeroth]\n[hosts.db1]\njump = [\"zeroth\", \"first\"]", []string{"nought@zeroth", "root@first.example.org"}},
		{"through another host", "[hosts.second]\nuser = \"carol\"\n[hosts.db1]\njump = [\"second\"]", []string{"me@never", "carol@second"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			home(t, config+"Host never\n  User me\n")
			inv := load(t, test.document)
			h := inv.Hosts[len(inv.Hosts)-1]
			if got := wayOf(h); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if h.SSH.ProxyJump != nil {
				t.Errorf("the way is said twice: %v", h.SSH.ProxyJump)
			}
		})
	}
}

func TestAWayOfDeployTOMLNeedsNoProxyCommand(t *testing.T) {
	home(t, "Host db1\n  ProxyCommand nc %h %p\nHost bastion\n  ProxyCommand nc bastion 22\n")
	h := only(t, "[jumps.bastion]\n[hosts.db1]\njump = [\"bastion\"]")
	if h.SSH.ProxyCommand != "" || h.Jump[0].SSH.ProxyCommand != "nc bastion 22" {
		t.Errorf("got %q and %q", h.SSH.ProxyCommand, h.Jump[0].SSH.ProxyCommand)
	}
	if h := only(t, "[hosts.db1]"); h.SSH.ProxyCommand != "nc db1 22" {
		t.Errorf("got %q", h.SSH.ProxyCommand)
	}
}

func TestADescribedJumpKeepsItsKeys(t *testing.T) {
	home(t, "Host db1\n  ProxyJump bastion\n")
	h := only(t, "[jumps.bastion]\nhost_keys = [\""+keyOne+"\"]\n[hosts.db1]")
	if len(h.Jump) != 1 || !slices.Equal(h.Jump[0].HostKeys, []string{keyOne}) {
		t.Errorf("got %+v", h.Jump)
	}
}

func TestAnUndescribedJumpIsTheLocalUsers(t *testing.T) {
	home(t, "Host db1\n  ProxyJump bastion\n")
	config, err := OpenSSHConfig(true, "")
	if err != nil {
		t.Fatal(err)
	}
	if h := only(t, "[hosts.db1]"); !slices.Equal(wayOf(h), []string{config.User() + "@bastion"}) || h.Jump[0].Port != 22 {
		t.Errorf("got %+v", h.Jump)
	}
}

func TestFaultsOfSSHConfigNameTheirPlace(t *testing.T) {
	for _, test := range []struct{ name, config, document, want string }{
		{"an unknown directive", "Host a\nUzer x\n", "[hosts.web1]", ".ssh/config:2: host web1: uzer: "},
		{"a directive that hdeploy cannot honour", "Host *\nCanonicalizeHostname yes\n", "[hosts.web1]\n[hosts.web2]", ".ssh/config:2: host web1: CanonicalizeHostname: "},
		{"a loop", "Host *\nProxyJump gate\n", "[hosts.web1]", ".ssh/config:2: host web1: ProxyJump: the way to gate leads through itself"},
		{"a loop over several", "Host web1 b\nProxyJump a\nHost a\nProxyJump b\n", "[hosts.web1]", "host web1: ProxyJump: the way has more than 16 hops"},
		{"an option", "", "[hosts.web1]\nssh_options = { Port = \"many\" }", "deploy.toml:2: host web1: Port: \"many\" is no port"},
		{"an absent file", "", "ssh_config = \"absent\"\n[hosts.web1]", "absent: read it: there is no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			home(t, test.config)
			_, err := Load(write(t, test.document), testKinds())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if strings.Count(err.Error(), "\n") > 1 {
				t.Errorf("it is told several times: %v", err)
			}
		})
	}
}

func TestAnSSHConfigThatOthersMayWriteIsRefused(t *testing.T) {
	home := home(t, "Host web1\n")
	if err := os.Chmod(filepath.Join(home, ".ssh", "config"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Load(write(t, "[hosts.web1]"), testKinds())
	if err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("got %v", err)
	}
}
