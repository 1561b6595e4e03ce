package hosts

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testKinds have a parameter of every type; hosts knows no kind by itself.
func testKinds() Kinds {
	onHost, anywhere := []string{FromHost}, []string{FromHost, FromDeployer}
	return Kinds{
		All: []Kind{
			{Name: "http", Vantages: anywhere, Params: []Param{
				{Name: "url", Type: Text, Required: true, Example: `"https://example.org/health"`},
				{Name: "status", Type: Number},
				{Name: "body", Type: Text},
				{Name: "follow", Type: Flag},
				{Name: "method", Type: Text, Words: []string{"GET", "HEAD"}},
			}},
			{Name: "tcp", Vantages: anywhere, Params: []Param{{Name: "address", Type: Text, Required: true, Example: `"127.0.0.1:443"`}}},
			{Name: "unit", Vantages: onHost, Params: []Param{{Name: "unit", Type: Units, Required: true, Example: `"nginx.service"`}, {Name: "state", Type: Texts, Words: []string{"active", "failed"}}}},
			{Name: "command", Vantages: anywhere, Params: []Param{{Name: "argv", Type: Texts, Required: true, Example: `["systemctl", "is-active", "nginx"]`}}},
			{Name: "onepassword-secrets", Preset: true, Vantages: onHost, Params: []Param{
				{Name: "units", Type: Units},
				{Name: "secrets", Type: Tables, Of: []Param{
					{Name: "path", Type: Text, Required: true, Example: `"/run/secrets/token"`},
					{Name: "mode", Type: Text},
					{Name: "age", Type: Duration},
				}},
			}},
			{Name: "hercules-ci-agent", Preset: true, Vantages: onHost, Params: []Param{{Name: "unit", Type: Unit}, {Name: "quiet", Type: Duration}, {Name: "strict", Type: Flag}}},
			{Name: "outside", Vantages: []string{FromDeployer}},
		},
		Check: func(p Probe) []string {
			if url, ok := p.Parameters["url"].(string); ok && !strings.HasPrefix(url, "http") {
				return []string{"url must be an absolute http or https URL", "nothing else is known to be wrong"}
			}
			if p.Passes != nil && p.Interval != nil && *p.Passes > 50 {
				return []string{"100 passes 10s apart do not fit into the deadline"}
			}
			return nil
		},
	}
}

func TestProbeKinds(t *testing.T) {
	inv := load(t, `
[hosts.web1]
probes = ["hercules-ci-agent"]

[probes.onepassword-secrets]
unit = "opnix"
on_fail = "alert"
on_unknown = "retry"
after_rollback = "required"
timeout = "3s"
secrets = [{ path = "/run/secrets/token", mode = "0440", age = "90s" }]

[probes.second-agent]
kind = "hercules-ci-agent"
unit = "agent-two"
soak = "10s"
quiet = "3s"

[probes.shop]
kind = "http"
url = "http://127.0.0.1:8080/"
status = 204
body = "ok\n"
follow = true
method = "HEAD"

[probes.services]
kind = "unit"
units = ["nginx", "data.mount"]

[probes.script]
kind = "command"
argv = ["/run/current-system/sw/bin/check", ""]
from = "deployer"

[[probes.other-secrets.secrets]]
path = "/a"

[probes.other-secrets]
kind = "onepassword-secrets"

[probes.outside]
kind = "outside"
`)
	for name, want := range map[string]Probe{
		"onepassword-secrets": {
			Kind: "onepassword-secrets", From: FromHost, OnFail: "alert", OnUnknown: "retry", AfterRollback: "required", Timing: Timing{Timeout: new(3 * time.Second)},
			Parameters: map[string]any{
				"units":   []string{"opnix.service"},
				"secrets": []map[string]any{{"path": "/run/secrets/token", "mode": "0440", "age": 90 * time.Second}},
			},
		},
		"second-agent": {
			Kind: "hercules-ci-agent", From: FromHost, Timing: Timing{Soak: new(10 * time.Second)},
			Parameters: map[string]any{"unit": "agent-two.service", "quiet": 3 * time.Second},
		},
		"shop": {Kind: "http", From: FromHost, Parameters: map[string]any{
			"url": "http://127.0.0.1:8080/", "status": int64(204), "body": "ok\n", "follow": true, "method": "HEAD",
		}},
		"services":      {Kind: "unit", From: FromHost, Parameters: map[string]any{"unit": []string{"nginx.service", "data.mount"}}},
		"script":        {Kind: "command", From: FromDeployer, Parameters: map[string]any{"argv": []string{"/run/current-system/sw/bin/check", ""}}},
		"other-secrets": {Kind: "onepassword-secrets", From: FromHost, Parameters: map[string]any{"secrets": []map[string]any{{"path": "/a"}}}},
		"outside":       {Kind: "outside", From: FromDeployer},
	} {
		want.Name = name
		if got := inv.Probes[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if got, want := inv.Hosts[0].Probes[0], (Probe{Name: "hercules-ci-agent", Kind: "hercules-ci-agent", From: FromHost}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Of a table with faults only what was read without one is judged: all else would
// repeat them.
func TestCheckSeesWhatWasReadWithoutAFault(t *testing.T) {
	kinds := testKinds()
	kinds.Check = func(Probe) []string {
		return []string{"url must be an address", "status must be lower", "body is no pattern", "it makes no sense"}
	}
	_, err := Load(write(t, "[hosts.web1]\n[probes.a]\nkind = \"http\"\nbody = \"((\"\nurl = 5\nstatus = 99\n"), kinds)
	var faults ConfigErrors
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	got := faults.Error()
	for _, want := range []string{"4:8: probe a: body is no pattern", "5:7: url of probe a must be a string", "6:10: probe a: status must be lower"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if len(faults) != 3 {
		t.Errorf("faults are repeated:\n%s", got)
	}
}

func TestTypesAreValid(t *testing.T) {
	if Type("").Valid() || Type("table").Valid() || !Units.Valid() || !Text.Valid() {
		t.Error("a type is judged wrongly")
	}
}
