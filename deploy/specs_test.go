package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// specsOf is what a deploy.toml with these tables of probes makes of the probe.
func specsOf(t *testing.T, tables, name string) []probe.Spec {
	t.Helper()
	inv := inventory(t, "[hosts.web1]\nprobes = [\""+name+"\"]\n"+tables)
	specs, err := spec(inv.Hosts[0].Probes[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			t.Errorf("not valid: %v", err)
		}
	}
	return specs
}

func inventory(t *testing.T, document string) *hosts.Inventory {
	t.Helper()
	inv, err := loadText(t, document)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func loadText(t *testing.T, document string) (*hosts.Inventory, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), hosts.FileName)
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return hosts.Load(path, ProbeKinds())
}

func TestSpec(t *testing.T) {
	const common = `
from = "host"
on_fail = "alert"
on_unknown = "retry"
after_rollback = "required"
deadline = "1m"
interval = "2s"
settle = "1s"
soak = "3s"
passes = 4
timeout = "5s"
`
	for kind, c := range map[string]struct {
		table string
		want  func(*probe.Spec)
	}{
		probe.KindHTTP: {"url = \"https://x/\"\nstatus = 204\nbody = 'a\\.b'\nfollow_redirects = true", func(s *probe.Spec) {
			a := ask[probe.HTTPSpec](s)
			a.URL, a.Status, a.Body, a.FollowRedirects = "https://x/", 204, `a\.b`, true
		}},
		probe.KindTCP:     {`address = "x:25"`, func(s *probe.Spec) { ask[probe.TCPSpec](s).Address = "x:25" }},
		probe.KindCommand: {`argv = ["a", "b"]`, func(s *probe.Spec) { ask[probe.CommandSpec](s).Argv = []string{"a", "b"} }},
		probe.KindUnit:    {"unit = \"a\"\nactive = \"inactive\"", func(s *probe.Spec) { a := ask[probe.UnitSpec](s); a.Unit, a.Active = "a.service", "inactive" }},
		probe.KindNoNewFailedUnits: {`ignore = ["a.service", "b-*.service"]`, func(s *probe.Spec) {
			ask[probe.FailedUnitsSpec](s).Ignore = []string{"a.service", "b-*.service"}
		}},
		probe.KindOnePassword: {"unit = \"o\"\nsecrets = [{ path = \"/run/s\", owner = \"o\", mode = \"0600\" }]", func(s *probe.Spec) {
			a := ask[probe.OnePasswordSpec](s)
			a.Units, a.Secrets = []string{"o.service"}, []probe.Secret{{Path: "/run/s", Owner: "o", Mode: "0600"}}
		}},
		probe.KindHercules: {"unit = \"h\"\nquiet = \"7s\"", func(s *probe.Spec) {
			a := ask[probe.HerculesSpec](s)
			a.Unit, a.Quiet = "h.service", 7*time.Second
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			want := probe.Defaults(kind)
			want.Name, want.From, want.OnFail, want.OnUnknown, want.AfterRollback = "mine", probe.FromHost, probe.Alert, probe.Retry, probe.Required
			want.Deadline, want.Interval, want.Settle, want.Soak, want.Passes, want.Timeout = time.Minute, 2*time.Second, time.Second, 3*time.Second, 4, 5*time.Second
			c.want(&want)
			got := specsOf(t, "[probes.mine]\nkind = \""+kind+"\"\n"+c.table+common, "mine")
			if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("got  %+v %+v\nwant %+v %+v", got, got[0].Ask, want, want.Ask)
			}
		})
	}
}

// Every kind and parameter that there is can be written down, and every preset can
// be named without a table.
func TestDeployTOMLTakesTheWholeCatalogue(t *testing.T) {
	common := map[string]bool{}
	for _, key := range []string{"kind", "from", "on_fail", "on_unknown", "after_rollback", "settle", "deadline", "interval", "soak", "passes", "timeout"} {
		common[key] = true
	}
	for _, kind := range ProbeKinds().All {
		for _, p := range kind.Params {
			if common[p.Name] || !p.Type.Valid() {
				t.Errorf("%s: the parameter %s of type %s cannot be written", kind.Name, p.Name, p.Type)
			}
			for _, of := range p.Of {
				if !of.Type.Valid() {
					t.Errorf("%s: %s of %s has the type %s", kind.Name, of.Name, p.Name, of.Type)
				}
			}
		}
		if !kind.Preset {
			continue
		}
		want := probe.Defaults(kind.Name)
		if got := specsOf(t, "", kind.Name); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s: %+v, want %+v", kind.Name, got, want)
		}
	}
}

// ask is what a spec asks, of the type that the test knows it to be.
func ask[T any](spec any) *T {
	s, ok := spec.(probe.Spec)
	if !ok {
		s = *spec.(*probe.Spec)
	}
	return s.Ask.(any).(*T)
}

func TestSpecOfSeveralUnitsIsOneForEach(t *testing.T) {
	for _, key := range []string{"unit", "units"} {
		got := specsOf(t, "[probes.web]\nkind = \"unit\"\nsub = \"running\"\n"+key+" = [\"a\", \"b.timer\"]", "web")
		if len(got) != 2 || got[0].Name != "web a.service" || got[1].Name != "web b.timer" ||
			!reflect.DeepEqual(*ask[probe.UnitSpec](got[0]), probe.UnitSpec{Unit: "a.service", Sub: "running"}) || ask[probe.UnitSpec](got[1]).Unit != "b.timer" {
			t.Errorf("%s: got %+v", key, got)
		}
	}
	if got := specsOf(t, "[probes.web]\nkind = \"unit\"\nunit = [\"a\"]", "web"); got[0].Name != "web" {
		t.Errorf("a single one is called %q", got[0].Name)
	}
}

func TestStrictWidensTheWindows(t *testing.T) {
	strict := specsOf(t, "[probes.hercules-ci-agent]\nstrict = true", "hercules-ci-agent")[0]
	want := probe.Defaults(probe.KindHercules)
	want.Strict()
	if strict.Soak != want.Soak || ask[probe.HerculesSpec](strict).Quiet != ask[probe.HerculesSpec](want).Quiet {
		t.Errorf("got %+v", strict)
	}
	if lax := specsOf(t, "[probes.hercules-ci-agent]\nstrict = false", "hercules-ci-agent")[0]; lax.Soak == want.Soak {
		t.Errorf("got %+v", lax)
	}
}

// What a kind finds wrong is told with the place of the key, before anything is
// contacted.
func TestWhatAKindRefusesHasAPlace(t *testing.T) {
	for table, want := range map[string]string{
		"kind = \"http\"\nurl = \"example.org\"":                                       "deploy.toml:3:7: probe p: url must be an absolute http or https URL",
		"kind = \"http\"\nbody = \"(\"\nurl = \"https://example.org\"":                 "deploy.toml:3:8: probe p: body is not a regular expression",
		"kind = \"tcp\"\naddress = \"example.org\"":                                    "deploy.toml:3:11: probe p: address must be host:port",
		"kind = \"tcp\"\naddress = \"a:1\"\npasses = 50\ninterval = \"10s\"":           "deploy.toml:4:10: probe p: 50 passes 10s apart",
		"kind = \"no-new-failed-units\"\nignore = [\"[\"]":                             "deploy.toml:3:1: probe p: ignore holds",
		"kind = \"unit\"\nunit = \"a\"\nactive = \"runing\"":                           "deploy.toml:4:10: active of probe p cannot be \"runing\"",
		"kind = \"http\"\nurl = \"https://example.org\"\nbodi = \"x\"":                 "unknown key \"bodi\" in probe p; try: body",
		"kind = \"onepassword-secrets\"\nsecrets = [{ path = \"/a\", mode = \"rw\" }]": "deploy.toml:3:1: probe p: secret /a: mode must be octal",
		"kind = \"hercules-ci-agent\"\nquiet = \"2h\"":                                 "deploy.toml:3:9: probe p: quiet must be from 0s to 1h0m0s",
		"kind = \"current-system\"\nfrom = \"deployer\"":                               "only works on the host",
		"kind = \"unit\"": "probe p has no unit; try: unit = ",
		"kind = \"unit\"\nunit = [\"a\", \"b\"]\ndeadline = \"2s\"\npasses = 9": "deploy.toml:5:10: probe p: 9 passes 1s apart",
	} {
		_, err := loadText(t, "[probes.p]\n"+table+"\n[hosts.web1]\n")
		var faults hosts.ConfigErrors
		if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", table, err, want)
		}
	}
}

func TestExpectationsBecomeWhatThePresetsRead(t *testing.T) {
	evaluated := json.RawMessage(`{"services":{
		"onepassword-secrets":{"enable":true,"tokenFile":"/etc/opnix-token","secrets":{"db":{"path":"/run/secrets/db","owner":"pg","mode":"0400"}}},
		"hercules-ci-agent":{"enable":true,"settings":{"baseDirectory":"/var/lib/h","clusterJoinTokenPath":"/t","binaryCachesPath":"/c"}}},
		"units":["opnix-secrets","hercules-ci-agent"]}`)
	h := web1(t)
	h.system.Expectations = evaluated
	h.Probes = []hosts.Probe{
		{Name: "secrets", Kind: probe.KindOnePassword},
		{Name: "ci", Kind: probe.KindHercules},
		{Name: "web", Kind: probe.KindTCP, From: hosts.FromDeployer, Parameters: map[string]any{"address": "web1:443"}},
	}
	specs, err := h.specs()
	if err != nil || len(specs) != 3 {
		t.Fatalf("got %+v, %v", specs, err)
	}
	if s := ask[probe.OnePasswordSpec](specs[0]); s.TokenFile != "/etc/opnix-token" || len(s.Secrets) != 1 || s.Secrets[0].Path != "/run/secrets/db" || s.NotConfigured {
		t.Errorf("1Password: %+v", s)
	}
	if s := ask[probe.HerculesSpec](specs[1]); s.NotConfigured {
		t.Errorf("Hercules: %+v", s)
	}
	if host, deployer := from(specs, probe.FromHost), from(specs, probe.FromDeployer); len(host) != 2 || len(deployer) != 1 || deployer[0].Name != "web" || len(specs) != 3 {
		t.Errorf("from the host %v, from here %v", host, deployer)
	}
}

func TestExpectationsOfNothingAndOfNonsense(t *testing.T) {
	if got, err := expectations(nil); got != nil || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := expectations(json.RawMessage(`[]`)); err == nil || !strings.Contains(err.Error(), "what the configuration expects") {
		t.Errorf("got %v", err)
	}
	h := web1(t)
	h.system.Expectations = json.RawMessage(`[]`)
	var f *Failure
	if _, err := h.specs(); !errors.As(err, &f) || f.Step != "evaluate" {
		t.Errorf("got %v", err)
	}
}

func TestSpecsThatAreNotValidAreRefused(t *testing.T) {
	h := web1(t)
	h.Probes = []hosts.Probe{{Name: "web", Kind: probe.KindHTTP, Parameters: map[string]any{"url": "gopher://x"}}}
	_, err := h.specs()
	refusal(t, err, "evaluate", "[probes.web]")
}
