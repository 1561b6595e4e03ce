package deploy

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

func of[T any](v T) *T { return &v }

func TestSpec(t *testing.T) {
	timing := hosts.Timing{Deadline: of(time.Minute), Interval: of(2 * time.Second), Settle: of(time.Second), Soak: of(3 * time.Second), Passes: of(4)}
	for _, c := range []struct {
		name string
		p    hosts.Probe
		want func(*probe.Spec)
	}{
		{"http", hosts.Probe{Kind: hosts.KindHTTP, URL: "https://x/", Status: 204, Body: "a.b"}, func(s *probe.Spec) {
			s.Ask = &probe.HTTPSpec{URL: "https://x/", Status: 204, Body: `a\.b`}
		}},
		{"tcp", hosts.Probe{Kind: hosts.KindTCP, Address: "x:25"}, func(s *probe.Spec) { s.Ask = &probe.TCPSpec{Address: "x:25"} }},
		{"command", hosts.Probe{Kind: hosts.KindCommand, Argv: []string{"a", "b"}}, func(s *probe.Spec) { s.Ask = &probe.CommandSpec{Argv: []string{"a", "b"}} }},
		{"unit", hosts.Probe{Kind: hosts.KindUnit, Units: []string{"a.service"}}, func(s *probe.Spec) { s.Ask = &probe.UnitSpec{Unit: "a.service"} }},
		{"no new failed units", hosts.Probe{Kind: hosts.KindNoNewFailedUnits}, func(*probe.Spec) {}},
		{"1Password", hosts.Probe{Kind: hosts.KindOnePassword, Units: []string{"o.service"}, Secrets: []hosts.Secret{{Path: "/run/s", Owner: "o", Group: "g", Mode: "0600"}}}, func(s *probe.Spec) {
			s.Ask = &probe.OnePasswordSpec{Units: []string{"o.service"}, Secrets: []probe.Secret{{Name: "/run/s", Path: "/run/s", Owner: "o", Group: "g", Mode: "0600"}}}
		}},
		{"Hercules", hosts.Probe{Kind: hosts.KindHerculesCI, Units: []string{"h.service"}}, func(s *probe.Spec) { ask[probe.HerculesSpec](s).Unit = "h.service" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.Name, c.p.From, c.p.OnFail, c.p.Timing = "mine", hosts.FromHost, hosts.OnFailAlert, timing
			want := probe.Defaults(c.p.Kind)
			want.Name, want.From, want.OnFail = "mine", probe.FromHost, probe.Alert
			want.Deadline, want.Interval, want.Settle, want.Soak, want.Passes = time.Minute, 2*time.Second, time.Second, 3*time.Second, 4
			c.want(&want)
			got := spec(c.p)
			if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			if err := got[0].Validate(); err != nil {
				t.Errorf("it is not valid: %v", err)
			}
		})
	}
}

func TestSpecKeepsTheDefaultsOfItsKind(t *testing.T) {
	for _, kind := range []string{hosts.KindNoNewFailedUnits, hosts.KindOnePassword, hosts.KindHerculesCI} {
		want := probe.Defaults(kind)
		got := spec(hosts.Probe{Name: kind, Kind: kind, From: want.From, OnFail: want.OnFail})
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%s: %+v, want %+v", kind, got, want)
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
	got := spec(hosts.Probe{Name: "web", Kind: hosts.KindUnit, Units: []string{"a.service", "b.service"}})
	if len(got) != 2 || ask[probe.UnitSpec](got[0]).Unit != "a.service" || ask[probe.UnitSpec](got[1]).Unit != "b.service" || got[0].Name != "web a.service" || got[1].Name != "web b.service" {
		t.Errorf("got %+v", got)
	}
	if got := spec(hosts.Probe{Name: "web", Kind: hosts.KindUnit, Units: []string{"a.service"}}); got[0].Name != "web" {
		t.Errorf("a single one is called %q", got[0].Name)
	}
}

func TestStrictWidensTheWindows(t *testing.T) {
	strict := spec(hosts.Probe{Kind: hosts.KindHerculesCI, Strict: true})[0]
	want := probe.Defaults(probe.KindHercules)
	want.Strict()
	if strict.Soak != want.Soak || ask[probe.HerculesSpec](strict).Quiet != ask[probe.HerculesSpec](want).Quiet {
		t.Errorf("got %+v", strict)
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
		{Name: "secrets", Kind: hosts.KindOnePassword, From: hosts.FromHost, OnFail: hosts.OnFailRollback},
		{Name: "ci", Kind: hosts.KindHerculesCI, From: hosts.FromHost, OnFail: hosts.OnFailRollback},
		{Name: "web", Kind: hosts.KindTCP, From: hosts.FromDeployer, OnFail: hosts.OnFailAlert, Address: "web1:443"},
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
	h.Probes = []hosts.Probe{{Name: "web", Kind: hosts.KindHTTP, From: hosts.FromHost, OnFail: hosts.OnFailRollback, URL: "gopher://x"}}
	_, err := h.specs()
	refusal(t, err, "evaluate", "[probes.web]")
}
