package deployrs

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hbohlen/hdeploy/hosts"
)

// set is a set of Nix in the form in which deploynodes.nix answers.
type set map[string]any

func answer(top set, nodes ...any) []byte {
	document := set{"nix": "2.26.3", "top": set{"settings": top}, "nodes": nodes}
	data, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return data
}

func nodeOf(name string, settings set, profiles ...any) set {
	if settings["hostname"] == nil {
		settings["hostname"] = name + ".example.org"
	}
	var all []string
	for _, p := range profiles {
		all = append(all, p.(set)["name"].(string))
	}
	return set{"name": name, "settings": settings, "profiles": profiles, "all": all}
}

func profileOf(name string, settings set) set {
	return set{"name": name, "settings": settings, "path": true}
}

var kinds = hosts.Kinds{All: []hosts.Kind{
	{Name: "failed-jobs", Preset: true, Vantages: []string{hosts.FromHost}}, {Name: "http", Vantages: []string{hosts.FromDeployer}},
}}

func read(document []byte) (Reading, error) {
	return Read(document, Source{Flake: "/infra", User: "me", NoSSHConfig: true, Kinds: kinds})
}

// one reads a document of one host.
func one(t *testing.T, document []byte) (hosts.Host, []string) {
	t.Helper()
	got, err := read(document)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Inventory.Hosts) != 1 {
		t.Fatalf("%d hosts", len(got.Inventory.Hosts))
	}
	return got.Inventory.Hosts[0], got.Notes
}

func TestANodeOfWhichLittleIsSaid(t *testing.T) {
	h, notes := one(t, answer(set{}, nodeOf("web1", set{}, profileOf("system", set{"user": "root"}))))
	want := hosts.NewHost("web1")
	want.Address, want.User, want.Elevation = "web1.example.org", "me", hosts.DefaultElevation("me")
	want.Substitute = true
	want.Attribute = `deploy.nodes.web1.profiles.system.path`
	want.Profiles = []hosts.Profile{{Name: "system", Kind: hosts.KindNixOS, User: "root", Attribute: want.Attribute, Timeouts: want.Timeouts}}
	want.Origins = hosts.Origins{
		"address":              {{Level: "deploy.nodes.web1", File: "/infra"}},
		"profiles.system.user": {{Level: "deploy.nodes.web1.profiles.system", File: "/infra"}},
	}
	if !reflect.DeepEqual(h, want) || len(notes) > 0 {
		t.Errorf("got %+v\nwant %+v\nnotes %q", h, want, notes)
	}
}

// The profile comes before the node and the node before the top; lists are put one
// after the other in this order.
func TestLevels(t *testing.T) {
	three := func(at string, values ...any) []byte {
		levels := []set{{}, {}, {"user": "root"}}
		for i, value := range values {
			if value != nil {
				levels[i][at] = value
			}
		}
		return answer(levels[0], nodeOf("n", levels[1], profileOf("system", levels[2])))
	}
	for _, test := range []struct {
		name  string
		read  func(hosts.Host) any
		cases []struct {
			values []any
			want   any
		}
	}{
		{"sshUser", func(h hosts.Host) any { return h.User }, []struct {
			values []any
			want   any
		}{{[]any{"a", "b", "c"}, "c"}, {[]any{"a", "b", nil}, "b"}, {[]any{"a", nil, nil}, "a"}, {[]any{nil, nil, nil}, "me"}}},
		{"sudo", func(h hosts.Host) any { return strings.Join(h.Elevation, " ") }, []struct {
			values []any
			want   any
		}{{[]any{"doas -u", nil, nil}, "doas -n -u root"}, {[]any{"doas -u", "sudo -u", nil}, "sudo -n --"}, {[]any{nil, nil, "run0 --user"}, "run0 --user root"},
			{[]any{nil, "sudo -n -H -u", nil}, "sudo -n -H -u root"}}},
		{"interactiveSudo", func(h hosts.Host) any { return h.Password.Ask }, []struct {
			values []any
			want   any
		}{{[]any{true, nil, nil}, true}, {[]any{true, false, nil}, false}, {[]any{nil, nil, nil}, false}}},
		{"fastConnection", func(h hosts.Host) any { return h.Substitute }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, true}, {[]any{true, nil, nil}, false}, {[]any{true, false, nil}, true}}},
		{"remoteBuild", func(h hosts.Host) any { return h.Build }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, "local"}, {[]any{true, nil, nil}, "host"}, {[]any{true, nil, false}, "local"}}},
		{"autoRollback", func(h hosts.Host) any { return h.AutoRollback }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, true}, {[]any{nil, false, nil}, false}, {[]any{false, nil, true}, true}}},
		{"magicRollback", func(h hosts.Host) any { return h.MagicRollback }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, true}, {[]any{false, nil, nil}, false}, {[]any{false, true, nil}, true}}},
		{"confirmTimeout", func(h hosts.Host) any { return h.Timeouts.Confirm }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, time.Minute}, {[]any{30, nil, nil}, 30 * time.Second}, {[]any{30, 40, 50}, 50 * time.Second}}},
		{"activationTimeout", func(h hosts.Host) any { return h.Profiles[0].Timeouts.Activation }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, 5 * time.Minute}, {[]any{30, 40, nil}, 40 * time.Second}}},
		{"tempPath", func(h hosts.Host) any { return h.TempDir }, []struct {
			values []any
			want   any
		}{{[]any{nil, nil, nil}, ""}, {[]any{"/a", nil, "/b"}, "/b"}}},
		{"sshOpts", func(h hosts.Host) any { return fmt.Sprint(h.Port, h.IdentityFiles) }, []struct {
			values []any
			want   any
		}{
			{[]any{[]string{"-p", "1"}, []string{"-p", "2"}, []string{"-p", "3"}}, "3 []"},
			{[]any{[]string{"-p", "1", "-i", "/t"}, nil, []string{"-i", "/p"}}, "1 [/p /t]"},
			{[]any{nil, []string{}, nil}, "22 []"},
		}},
	} {
		for _, c := range test.cases {
			t.Run(fmt.Sprintf("%s %v", test.name, c.values), func(t *testing.T) {
				h, _ := one(t, three(test.name, c.values...))
				if got := test.read(h); !reflect.DeepEqual(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		}
	}
}

// hdeploy config tells at which level a setting stands.
func TestWhereSettingsAreFrom(t *testing.T) {
	h, _ := one(t, answer(set{"sshUser": "a", "sshOpts": []string{"-A"}, "hdeploy.probes": []string{"failed-jobs"}},
		nodeOf("n", set{"sshUser": "b", "sshOpts": []string{"-C"}, "groups": []string{"g"}, "confirmTimeout": 9}, profileOf("system", set{"user": "root", "confirmTimeout": 8}), profileOf("tool", set{}))))
	for key, want := range map[string]string{
		"address": "deploy.nodes.n", "user": "deploy.nodes.n", "ssh_options": "deploy.nodes.n deploy", "tags": "deploy.nodes.n", "probes": "deploy",
		"timeouts.confirm": "deploy.nodes.n.profiles.system", "profiles.system.timeouts.confirm": "deploy.nodes.n.profiles.system",
		"profiles.tool.timeouts.confirm": "deploy.nodes.n", "profiles.system.user": "deploy.nodes.n.profiles.system", "profiles.tool.user": "deploy.nodes.n", "temp_dir": "",
	} {
		var levels []string
		for _, from := range h.Origins[key] {
			levels = append(levels, from.Level)
		}
		if got := strings.Join(levels, " "); got != want {
			t.Errorf("%s is from %q, want %q", key, got, want)
		}
	}
}

// A profile belongs to user, else to sshUser where that is said.
func TestWhoseProfile(t *testing.T) {
	for _, test := range []struct {
		top, profile set
		want         string
	}{
		{set{"sshUser": "a"}, set{}, "a"},
		{set{"user": "b"}, set{"sshUser": "a"}, "b"},
		{set{"sshUser": "a"}, set{"user": "c"}, "c"},
	} {
		h, _ := one(t, answer(test.top, nodeOf("n", set{}, profileOf("p", test.profile))))
		if h.Profiles[0].User != test.want {
			t.Errorf("%v %v: %s's, want %s", test.top, test.profile, h.Profiles[0].User, test.want)
		}
	}
	if _, err := read(answer(set{}, nodeOf("n", set{}, profileOf("p", set{})))); err == nil || !strings.Contains(err.Error(), "whose profile") {
		t.Errorf("nobody's profile: %v", err)
	}
}

func TestKindsOfProfiles(t *testing.T) {
	for _, test := range []struct {
		name       string
		settings   set
		kind, path string
	}{
		{"system", set{"user": "root"}, hosts.KindNixOS, ""},
		{"system", set{"user": "root", "profilePath": "/nix/var/nix/profiles/system"}, hosts.KindNixOS, ""},
		{"main", set{"user": "root", "profilePath": "/nix/var/nix/profiles/system"}, hosts.KindNixOS, ""},
		{"system", set{"user": "root", "profilePath": "/x"}, hosts.KindDeployRs, "/x"},
		{"system", set{"user": "alice"}, hosts.KindDeployRs, ""},
		{"hello", set{"user": "root"}, hosts.KindDeployRs, ""},
	} {
		h, _ := one(t, answer(set{}, nodeOf("n", set{}, profileOf(test.name, test.settings))))
		if p := h.Profiles[0]; p.Kind != test.kind || p.Path != test.path || p.Name != test.name {
			t.Errorf("%s %v is %+v", test.name, test.settings, p)
		}
	}
}

func TestOrderOfProfiles(t *testing.T) {
	profiles := []any{profileOf("zeta", set{}), profileOf("alpha", set{}), profileOf("system", set{}), profileOf("beta", set{})}
	for _, test := range []struct {
		order []string
		want  string
	}{
		{nil, "alpha beta system zeta"},
		{[]string{"zeta", "system"}, "zeta system alpha beta"},
		{[]string{"system", "system"}, "system alpha beta zeta"},
	} {
		h, _ := one(t, answer(set{"user": "root"}, nodeOf("n", set{"profilesOrder": test.order}, profiles...)))
		var names []string
		for _, p := range h.Profiles {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != test.want || h.Attribute != `deploy.nodes.n.profiles.system.path` {
			t.Errorf("%v: %s with %s", test.order, got, h.Attribute)
		}
	}
}

// hdeploy logs in once: as the system's profile says, else as the first of root's.
func TestOneLogin(t *testing.T) {
	admin, hello := profileOf("system", set{"sshUser": "admin", "user": "root"}), profileOf("hello", set{"sshUser": "hello"})
	h, notes := one(t, answer(set{}, nodeOf("n", set{}, hello, admin)))
	if h.User != "admin" || h.Profiles[0].User != "hello" || len(notes) != 1 || !strings.Contains(notes[0], "profile hello is activated for hello") {
		t.Errorf("login %s, notes %q", h.User, notes)
	}
	h, notes = one(t, answer(set{}, nodeOf("n", set{}, hello, profileOf("tool", set{"sshUser": "root"}))))
	if h.User != "root" || len(h.Elevation) > 0 || len(notes) != 1 {
		t.Errorf("login %s %v, notes %q", h.User, h.Elevation, notes)
	}
	_, err := read(answer(set{}, nodeOf("n", set{}, hello, profileOf("other", set{"sshUser": "other"}))))
	if err == nil || !strings.Contains(err.Error(), "one after the other, as .#n.hello") {
		t.Errorf("two logins without root: %v", err)
	}
}

func TestWhatIsToldAndRefused(t *testing.T) {
	system := profileOf("system", set{"user": "root"})
	for _, test := range []struct {
		name     string
		document []byte
		notes    []string
		faults   []string
	}{
		{"a misspelt setting", answer(set{}, set{"name": "n", "settings": set{"hostname": "h"}, "others": []string{"sshuser", "meta"}, "profiles": []any{system}}),
			[]string{"deploy.nodes.n.sshuser is no setting of deploy-rs and is passed over (did you mean sshUser?)", "deploy.nodes.n.meta is no setting"}, nil},
		{"a setting of another level", answer(set{"hostname": "h"}, nodeOf("n", set{}, system)), []string{"deploy.hostname is no setting"}, nil},
		{"null is nothing", answer(set{"sshUser": nil}, nodeOf("n", set{}, system)), nil, nil},
		{"ignored options", answer(set{"sshOpts": []string{"-A", "-o", "StrictHostKeyChecking=no"}}, nodeOf("n", set{}, system)),
			[]string{"deploy.nodes.n.sshOpts: -A, StrictHostKeyChecking=no: hdeploy has no use for it"}, nil},
		{"a prefix of its own", answer(set{"sudo": "doas -u", "sshUser": "a"}, nodeOf("n", set{}, system)), []string{"started with doas -n -u root"}, nil},
		{"no profiles", answer(set{}, nodeOf("n", set{}, system), set{"name": "empty", "settings": set{"hostname": "h"}, "profiles": []any{}}),
			[]string{"deploy.nodes.empty has no profiles"}, nil},
		{"wrong types", answer(set{"sshUser": 1, "confirmTimeout": "30", "autoRollback": "yes", "sshOpts": "-p 22", "tempPath": set{"is": "set"}}, nodeOf("n", set{}, system)),
			nil, []string{"deploy.autoRollback: it must be true or false, not a string", "deploy.confirmTimeout: it must be a whole number of seconds, not a string",
				"deploy.sshOpts: it must be a list of strings, not a string", "deploy.sshUser: it must be a string, not another number", "deploy.tempPath: it must be a string, not a set"}},
		{"ranges", answer(set{"confirmTimeout": 0, "activationTimeout": 70000}, nodeOf("n", set{}, system)),
			nil, []string{"deploy.activationTimeout: 70000 is not between", "deploy.confirmTimeout: 0 is not between"}},
		{"bad words", answer(set{"sshUser": "a b", "tempPath": "tmp", "sudo": "sudo -u $(id)"}, nodeOf("n", set{"hostname": "-oProxyCommand=x", "groups": []string{"a/b"}}, system)),
			nil, []string{"deploy.sshUser", "deploy.sudo", "needs a shell", "deploy.tempPath", "groups", "deploy.nodes.n.hostname"}},
		{"no hostname", answer(set{}, set{"name": "n", "settings": set{}, "profiles": []any{system}}), nil, []string{"deploy.nodes.n.hostname: it is missing"}},
		{"no set of profiles", answer(set{}, set{"name": "n", "settings": set{"hostname": "h"}}), nil, []string{"deploy.nodes.n.profiles: the node has no set"}},
		{"no path", answer(set{}, nodeOf("n", set{}, set{"name": "p", "settings": set{"user": "root"}})), nil, []string{"deploy.nodes.n.profiles.p.path: it is missing"}},
		{"a node that is a string", answer(set{}, set{"name": "n", "is": "string"}), nil, []string{"deploy.nodes.n: it must be a set, not a string"}},
		{"an unknown profile in the order", answer(set{}, nodeOf("n", set{"profilesOrder": []string{"sytem"}}, system)), nil, []string{"did you mean system?"}},
		{"a name with a quote", answer(set{}, nodeOf(`a"b`, set{"hostname": "h"}, system)), nil, []string{"no valid name"}},
		{"options that cannot be", answer(set{"sshOpts": []string{"-L", "1:a:2", "-p", "x"}}, nodeOf("n", set{}, system)), nil, []string{"-L cannot be honoured", "no port"}},
		{"no nodes", answer(set{}), nil, []string{"the flake defines no node"}},
		{"a preset", answer(set{"hdeploy.probes": []string{"failed-jobs"}}, nodeOf("n", set{}, system)), nil, nil},
		{"a probe with a table", answer(set{"hdeploy.probes": []string{"http"}}, nodeOf("n", set{}, system)), nil, []string{`"http" is no preset; there are failed-jobs`}},
		{"no answer", []byte(`[`), nil, []string{"cannot be read"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(test.document)
			if (err != nil) != (test.faults != nil) {
				t.Fatalf("error %v, want %q", err, test.faults)
			}
			for _, fault := range test.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("%q is not in %v", fault, err)
				}
			}
			if err == nil && len(got.Notes) != len(test.notes) {
				t.Errorf("notes %q, want %q", got.Notes, test.notes)
			}
			for _, note := range test.notes {
				if !slices.ContainsFunc(got.Notes, func(said string) bool { return strings.Contains(said, note) }) {
					t.Errorf("%q is not in %q", note, got.Notes)
				}
			}
		})
	}
}

func TestProbesOfNodesAndProfiles(t *testing.T) {
	h, _ := one(t, answer(set{"hdeploy.probes": []string{"failed-jobs"}}, nodeOf("n", set{"hdeploy.probes": []string{"failed-jobs"}},
		profileOf("system", set{"user": "root"}), profileOf("tool", set{"user": "root", "hdeploy.probes": []string{"failed-jobs"}}))))
	if len(h.Probes) != 1 || len(h.Profiles[0].Probes) != 0 || len(h.Profiles[1].Probes) != 1 {
		t.Errorf("%d of the host, %d and %d of its profiles", len(h.Probes), len(h.Profiles[0].Probes), len(h.Profiles[1].Probes))
	}
}

// FuzzRead holds that no answer makes anything else than hosts that are whole, or
// faults and notes that a terminal can show.
func FuzzRead(f *testing.F) {
	f.Add(string(answer(set{"sshUser": "a"}, nodeOf("n", set{"sshOpts": []string{"-p", "1"}, "profilesOrder": []string{"b"}}, profileOf("b", set{}), profileOf("system", set{"user": "root"})))))
	f.Add(string(answer(set{"sudo": "x \x1b[1m", "hdeploy.probes": 3}, set{"name": "\x00", "is": "lambda"}, nodeOf("e", set{}))))
	f.Add(`{"nodes":[{"name":"n","profiles":[{"name":"p","path":true},{"name":"p","path":true}],"settings":{"hostname":"::1"}}],"top":{"settings":{"user":"u","confirmTimeout":1e3}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := read([]byte(text))
		control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' }
		if err != nil {
			if strings.ContainsFunc(err.Error(), control) {
				t.Errorf("%q", err)
			}
			return
		}
		for _, note := range got.Notes {
			if strings.ContainsFunc(note, unicode.IsControl) {
				t.Errorf("%q", note)
			}
		}
		for _, h := range got.Inventory.Hosts {
			whole := h.Name != "" && h.Address != "" && h.User != "" && h.Port > 0 && h.Port < 65536 && len(h.Profiles) > 0 && h.Attribute != ""
			for _, p := range h.Profiles {
				whole = whole && p.Name != "" && p.User != "" && p.Attribute != "" && p.Timeouts.Confirm >= time.Second
			}
			if !whole {
				t.Errorf("%+v", h)
			}
		}
	})
}

func TestSettingsAreThoseOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/from-deploy-rs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Settings() {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/from-deploy-rs.md does not explain %s", name)
		}
	}
}
