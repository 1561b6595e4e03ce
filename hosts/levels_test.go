package hosts

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// What is said at each level, and what then holds.
func TestLevels(t *testing.T) {
	const levels = `
[defaults]
user = "deploy"
port = 1
tags = ["all"]
timeouts = { confirm = "1m", commit = "1m" }
ssh_options = { Compression = true, AddressFamily = "inet" }
confirm = { port = 10 }
[tags.all]
port = 2
[tags.web]
port = 3
timeouts = { confirm = "3m" }
ssh_options = { addressfamily = "inet6" }
[tags.edge]
port = 4
timeouts = { grace = "4s" }
confirm = { user = "edge" }
[hosts.needed]
tags = ["all", "web", "edge"]
`
	for _, c := range []struct {
		host, want string
	}{
		{``, "deploy 2 [all] 1m 1m 15s"},
		{`port = 5`, "deploy 5 [all] 1m 1m 15s"},
		{`tags = ["web"]`, "deploy 3 [web] 3m 1m 15s"},
		{`tags = { extend = ["web"] }`, "deploy 3 [all web] 3m 1m 15s"},
		{`tags = { extend = ["web", "edge"] }`, "deploy 4 [all web edge] 3m 1m 4s"},
		{`tags = ["edge", "web"]`, "deploy 3 [edge web] 3m 1m 4s"},
		{"tags = [\"edge\", \"web\"]\ntimeouts = { confirm = \"5m\" }\nuser = \"root\"", "root 3 [edge web] 5m 1m 4s"},
		{`tags = []`, "deploy 1 [] 1m 1m 15s"},
		{`tags = { extend = ["all"] }`, "deploy 2 [all] 1m 1m 15s"},
	} {
		h := load(t, levels+"[hosts.web1]\n"+c.host).Hosts[1]
		got := fmt.Sprint(h.User, " ", h.Port, " ", h.Tags, " ", short(h.Timeouts.Confirm), " ", short(h.Timeouts.Commit), " ", short(h.Timeouts.Grace))
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.host, got, c.want)
		}
	}
	h := load(t, levels).Hosts[0]
	if h.Confirm == nil || h.Confirm.Port != 10 || h.Confirm.User != "edge" {
		t.Errorf("confirm: %+v", h.Confirm)
	}
	var options []string
	for _, o := range h.SSHOptions {
		options = append(options, o.Directive+"="+strings.Join(o.Values, ","))
	}
	if got := strings.Join(options, " "); got != "Compression=yes addressfamily=inet6" {
		t.Errorf("ssh options: %s", got)
	}
}

func TestListsReplaceOrExtend(t *testing.T) {
	inv := load(t, `
[defaults]
host_keys = ["`+keyOne+`"]
identity_files = ["/keys/a"]
jump = ["one"]
probes = ["hercules-ci-agent"]
[hosts.web1]
host_keys = { extend = ["`+keyTwo+` and a comment", "`+keyOne+`"] }
identity_files = { extend = ["/keys/b"] }
jump = { extend = ["two"] }
probes = { extend = ["onepassword-secrets", "hercules-ci-agent"] }
[hosts.web2]
host_keys = []
identity_files = ["/keys/c"]
jump = ["two"]
probes = []
[hosts.web3]
[jumps.one]
[jumps.two]
`)
	for i, want := range []string{
		keyOne + "," + keyTwo + " /keys/a,/keys/b one,two hercules-ci-agent,onepassword-secrets",
		" /keys/c two ",
		keyOne + " /keys/a one hercules-ci-agent",
	} {
		h := inv.Hosts[i]
		var all []string
		for _, list := range [][]string{h.HostKeys, h.IdentityFiles, jumpNames(h.Jump), probeNames(h.Probes)} {
			all = append(all, strings.Join(list, ","))
		}
		if got := strings.Join(all, " "); got != want {
			t.Errorf("%s: got %s, want %s", h.Name, got, want)
		}
	}
	// No host holds what another one holds, too.
	inv.Hosts[0].HostKeys[0], inv.Hosts[0].IdentityFiles[0] = "changed", "changed"
	if inv.Hosts[2].HostKeys[0] != keyOne || inv.Hosts[2].IdentityFiles[0] != "/keys/a" {
		t.Error("hosts share their lists")
	}
}

func TestOrigins(t *testing.T) {
	inv := load(t, `flake = "."
[defaults]
user = "deploy"
tags = ["all"]
timeouts.confirm = "2m"
[tags.all]
port = 2222
timeouts = { commit = "3m" }
[hosts.web1]
tags = { extend = ["web"] }
[hosts.web1.profiles."a.b"]
kind = "home-manager"
user = "ann"
timeouts = { confirm = "1m" }
`)
	h := inv.Hosts[0]
	for key, want := range map[string]string{
		"user": "defaults:3:1", "tags": "defaults:4:1 hosts.web1:10:1", "timeouts.confirm": "defaults:5:10", "port": "tags.all:7:1",
		"timeouts.commit": "tags.all:8:14", "address": "", "timeouts.grace": "",
		`profiles."a.b".user`: `hosts.web1.profiles."a.b":13:1`, `profiles."a.b".timeouts.confirm`: `hosts.web1.profiles."a.b":14:14`,
	} {
		var all []string
		for _, o := range h.Origins[key] {
			all = append(all, fmt.Sprintf("%s:%d:%d", o.Level, o.Line, o.Column))
			if o.File != inv.Path {
				t.Errorf("%s is from file %s", key, o.File)
			}
		}
		if got := strings.Join(all, " "); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	if o := inv.Origins["flake"]; len(o) != 1 || o[0].Level != LevelTop || o[0].Line != 1 || inv.Origins.Said("ssh_config") {
		t.Errorf("top level: %v", inv.Origins)
	}
}

const everything = `
ssh_config = "/dev/null"

[defaults]
user = "deploy"
tags = ["all"]

[tags.edge]
port = 2222

[hosts.web1]
address = "192.0.2.1"
attribute = "packages.x86_64-linux.\"web 1\""
machine_id = "0123456789abcdef0123456789abcdef"
host_keys = ["` + keyOne + `"]
identity_files = ["~/.ssh/a", "b"]
ssh_options = { SendEnv = ["A", "B"], ProxyCommand = 'nc "%h" \\' }
jump = ["bastion", "builder"]
elevation = ["please"]
elevation_password = { command = ["pass", "web1"] }
agent = "/run/agent"
temp_dir = "/var/tmp"
build = "builder"
substitute = true
confirm = { address = "192.0.2.2", port = 23, user = "next", host_keys = ["` + keyTwo + `"] }
auto_rollback = false
magic_rollback = false
when_reboot_needed = "boot"
last_resort = "reboot"
confirm_mode = "self"
witness = "builder"
on_unknown = "commit"
outward = ["https://example.org:8443"]
restart_agent = "last"
drain = "5m"
tags = { extend = ["edge"] }
probes = ["hercules-ci-agent"]
timeouts = { activation = "1h", confirm = "90s", commit = "3m", rollback = "4m", grace = "5s", reboot = "6m", connect = "700ms" }

[hosts.web1.profiles.system]
after = ["first"]
probes = ["site"]
[hosts.web1.profiles.ann]
kind = "home-manager"
user = "ann"
after = ["shop"]
[hosts.web1.profiles.shop]
kind = "custom"
user = "shop"
attribute = "a.b"
path = "/nix/var/nix/profiles/shop"
activate = ["bin/activate", "now"]
rollback = ["bin/activate", "back"]
check = ["bin/check"]
probes = ["site"]
timeouts = { confirm = "1s" }
[hosts.web1.profiles.first]
kind = "deploy-rs"

[hosts.builder]
build = "builder"
elevation_password = "ask"

[hosts."no.system"]
system = false
elevation_password = { file = "secret" }
[hosts."no.system".profiles.only]
kind = "deploy-rs"

[hosts.localhost]
`

const named = `
[jumps.bastion]
[probes.site]
kind = "tcp"
address = "a:1"
`

func TestEverySettingArrives(t *testing.T) {
	inv := load(t, everything+named)
	web1, builder, without, here := inv.Hosts[0], inv.Hosts[1], inv.Hosts[2], inv.Hosts[3]
	if inv.SSHConfig != "/dev/null" || web1.Build != "builder" || !web1.Substitute || web1.AutoRollback || web1.MagicRollback ||
		web1.Agent != "/run/agent" || web1.TempDir != "/var/tmp" || web1.MachineID != "0123456789abcdef0123456789abcdef" || web1.Port != 2222 {
		t.Errorf("web1: %+v", web1)
	}
	if want := (Endpoint{"192.0.2.2", 23, "next", []string{keyTwo}, web1.Confirm.Way}); !reflect.DeepEqual(*web1.Confirm, want) {
		t.Errorf("confirm: %+v", web1.Confirm)
	}
	if !reflect.DeepEqual(web1.Password, Password{Command: []string{"pass", "web1"}}) || !builder.Password.Ask || !strings.HasSuffix(without.Password.File, "/secret") {
		t.Errorf("passwords: %+v, %+v, %+v", web1.Password, builder.Password, without.Password)
	}
	if builder.Build != BuildHost || !here.Local || here.Address != "localhost" || builder.Local {
		t.Errorf("builder %+v, this machine %+v", builder, here)
	}
	if len(without.Profiles) != 1 || without.Profiles[0].Attribute != `deploy.nodes."no.system".profiles.only.path` {
		t.Errorf("without the system: %+v", without.Profiles)
	}
	var names []string
	for _, p := range web1.Profiles {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "shop ann first system" {
		t.Errorf("the profiles are in the order %s", got)
	}
	shop := web1.Profiles[0]
	want := Profile{
		Name: "shop", Kind: KindCustom, User: "shop", Attribute: "a.b", Path: "/nix/var/nix/profiles/shop",
		Activate: []string{"bin/activate", "now"}, Rollback: []string{"bin/activate", "back"}, Check: []string{"bin/check"},
		Probes: []Probe{inv.Probes["site"]}, Timeouts: web1.Timeouts,
	}
	want.Timeouts.Confirm = time.Second
	if !reflect.DeepEqual(shop, want) {
		t.Errorf("got  %+v\nwant %+v", shop, want)
	}
	if ann := web1.Profiles[1]; ann.Attribute != `homeConfigurations."ann@web1".activationPackage` || ann.Timeouts != web1.Timeouts {
		t.Errorf("ann: %+v", ann)
	}
	if system := web1.Profiles[3]; system.Attribute != web1.Attribute || system.User != "root" || len(system.Probes) != 1 {
		t.Errorf("system: %+v", system)
	}
}

// What Effective says is a deploy.toml with the same hosts.
func TestEffectiveSettingsMakeTheSameHosts(t *testing.T) {
	for _, document := range []string{everything, "[hosts.web1]", "[defaults]\ntags = [\"a\"]\nprobes = [\"site\"]\n[hosts.web1]\ntags = []\nprobes = []\nelevation = []"} {
		inv := load(t, document+named)
		var b strings.Builder
		for _, s := range EffectiveTop(inv) {
			b.WriteString(s.TOML(20) + "\n")
		}
		for _, h := range inv.Hosts {
			b.WriteString("[hosts." + dotted(h.Name) + "]\n")
			for _, s := range Effective(h) {
				if s.Value == nil {
					continue
				}
				if h.Local && s.Key == "address" {
					s.Value = localAddress
				}
				b.WriteString(s.TOML(20) + "\n")
			}
		}
		again := load(t, b.String()+named)
		if again.Flake != inv.Flake || again.SSHConfig != inv.SSHConfig {
			t.Errorf("the top level became %+v", again)
		}
		for i := range inv.Hosts {
			was, is := withoutPlaces(inv.Hosts[i]), withoutPlaces(again.Hosts[i])
			if !reflect.DeepEqual(was, is) {
				t.Errorf("host %s was\n%+v\nand became\n%+v\nby\n%s", was.Name, was, is, b.String())
			}
		}
	}
}

// withoutPlaces is a host without the places in the file, and without the difference
// between no list and an empty one.
func withoutPlaces(h Host) Host {
	h.Origins = nil
	h.SSHOptions = slices.Clone(h.SSHOptions)
	for i := range h.SSHOptions {
		h.SSHOptions[i].Said = Origin{}
	}
	h.SSH = sshconfig.Settings{}
	slices.SortStableFunc(h.SSHOptions, func(a, b SSHOption) int { return strings.Compare(a.Directive, b.Directive) })
	for _, list := range []*[]string{&h.HostKeys, &h.IdentityFiles, &h.Tags, &h.Elevation} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return h
}

// Every setting has a value or is said to have none, and none is told twice.
func TestEffectiveIsComplete(t *testing.T) {
	h := load(t, everything+named).Hosts[0]
	seen := map[string]bool{}
	for _, s := range Effective(h) {
		if seen[s.Key] {
			t.Errorf("%s is there twice", s.Key)
		}
		seen[s.Key] = true
		if s.Value == nil && !strings.HasPrefix(s.Key, "profiles.") {
			t.Errorf("%s has no value, though the file has one", s.Key)
		}
	}
	for _, name := range append(keyNames(ownKeys()), keyNames(levelKeys())...) {
		found := seen[name]
		for key := range maps.Keys(seen) {
			found = found || strings.HasPrefix(key, name+".")
		}
		if !found {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestJumpsOfJumpHosts(t *testing.T) {
	inv := load(t, `
[hosts.a]
jump = ["b", "c"]
[hosts.b]
jump = ["bastion"]
[hosts.c]
jump = ["nowhere-else"]
[hosts.d]
jump = ["a"]
[jumps.bastion]
[jumps.nowhere-else]
`)
	for i, want := range []string{"bastion b c", "bastion", "nowhere-else", "bastion b c a"} {
		if got := strings.Join(jumpNames(inv.Hosts[i].Jump), " "); got != want {
			t.Errorf("%s: got %s, want %s", inv.Hosts[i].Name, got, want)
		}
	}
	var chain strings.Builder
	for i := range mostHops + 10 {
		fmt.Fprintf(&chain, "[hosts.h%d]\njump = [\"h%d\"]\n", i, i+1)
	}
	fmt.Fprintf(&chain, "[hosts.h%d]\n", mostHops+10)
	if err := Check("deploy.toml", []byte(chain.String()), testKinds()); err == nil || !strings.Contains(err.Error(), "through more than") {
		t.Errorf("a long chain: %v", err)
	}
}

// The same private address behind two jump hosts is two machines.
func TestSameAddressBehindDifferentJumpHosts(t *testing.T) {
	load(t, "[hosts.a]\naddress = \"10.0.0.1\"\njump = [\"x\"]\n[hosts.b]\naddress = \"10.0.0.1\"\njump = [\"y\"]\n[jumps.x]\n[jumps.y]\n")
	load(t, "[hosts.a]\naddress = \"10.0.0.1\"\nport = 1\n[hosts.b]\naddress = \"10.0.0.1\"\nport = 2\n")
}

// A fault in a table that many hosts read is one fault.
func TestFaultsOfLevelsAreToldOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("[defaults]\nprobes = [\"nowhere\"]\nport = 0\nconfirm = { prot = 1 }\n")
	for i := range 50 {
		fmt.Fprintf(&b, "[hosts.h%d]\n", i)
	}
	err := Check("deploy.toml", []byte(b.String()), testKinds())
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v", err)
	}
}

// Nobody waits for the file of a large fleet.
func BenchmarkLoad500Hosts(b *testing.B) {
	document := []byte(fleet(500))
	for b.Loop() {
		if err := Check("/srv/deploy.toml", document, testKinds()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLoad500HostsIsFast(t *testing.T) {
	began := time.Now()
	if err := Check("/srv/deploy.toml", []byte(fleet(500)), testKinds()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second { // 0.03 s on a machine with nothing else to do
		t.Errorf("it took %s", took)
	}
}

func fleet(size int) string {
	var b strings.Builder
	b.WriteString("[defaults]\nuser = \"deploy\"\njump = [\"bastion\"]\ntags = [\"all\"]\nhost_keys = [\"" + keyOne + "\"]\nprobes = [\"hercules-ci-agent\"]\n[tags.all]\ntimeouts = { confirm = \"2m\" }\n[jumps.bastion]\n")
	for i := range size {
		fmt.Fprintf(&b, "[hosts.host%d]\naddress = \"host%d.example.org\"\ntags = { extend = [\"t%d\"] }\nhost_keys = [%q]\n", i, i, i%7, keyTwo)
	}
	return b.String()
}
