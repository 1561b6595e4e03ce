package deploy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// sound is a configuration without a fault: a secret of OpNix for the agent.
func soundDeclaration() declaration {
	var e nix.Expectations
	secrets := map[string]nix.Secret{
		"agentToken": {Path: "/a/token", Owner: "agent", Group: "agent", Services: []string{"hercules-ci-agent"}},
		"caches":     {Path: "/a/caches.json", Owner: "0", Group: "root"},
		"effects":    {Path: "/a/secrets.json", Owner: "root", Group: "root"},
	}
	text := `{"services":{"onepassword-secrets":{"enable":true,"tokenFile":"/etc/opnix-token"},
		"hercules-ci-agent":{"enable":true,"settings":{"clusterJoinTokenPath":"/a/token","binaryCachesPath":"/a/caches.json","secretsJsonPath":"/a/secrets.json"}}},
		"units":["opnix-secrets","hercules-ci-agent"]}`
	read, err := readExpectations([]byte(text))
	if err != nil {
		panic(err)
	}
	e = *read
	e.Services.OnePassword.Secrets = secrets
	keys := 1
	return declaration{expected: e, declared: &nix.Declared{
		Users: []string{"root", "agent"}, Groups: []string{"root", "agent"}, LoginKeys: &keys, Home: "/root",
		Units: []string{"opnix-secrets.service", "hercules-ci-agent.service", "getty@.service"},
		OpNix: &nix.OpNix{Version: "0.11.0", GivesUp: true},
		Relations: []nix.Relations{
			{Unit: "opnix-secrets.service", Orders: []string{"network-online.target", "systemd-resolved.service"}},
			{Unit: "hercules-ci-agent.service", Orders: []string{"opnix-secrets.service", "getty@tty1.service"}},
		},
	}}
}

func TestDeclarationFindings(t *testing.T) {
	agent := func(d *declaration) *nix.Relations { return &d.declared.Relations[1] }
	for name, c := range map[string]struct {
		change   func(*declaration)
		severity event.Severity
		finding  string
		words    string
	}{
		"nothing":              {func(*declaration) {}, "", "", ""},
		"OpNix is not enabled": {func(d *declaration) { d.expected.Services.OnePassword.Enable = false; d.declared.Users = nil }, "", "", ""},
		"nothing is declared":  {func(d *declaration) { d.declared = nil }, "", "", ""},
		"no option for users":  {func(d *declaration) { d.declared.Users, d.declared.Groups, d.declared.Units = nil, nil, nil }, "", "", ""},
		"a user is unknown": {func(d *declaration) { d.declared.Users = []string{"root"} },
			event.Obstacle, "owner", "no user agent, to whom these secrets are to belong: agentToken"},
		"a group is unknown": {func(d *declaration) { d.declared.Groups = []string{"root"} }, event.Obstacle, "owner", "no group agent"},
		"no unit fetches":    {func(d *declaration) { d.expected.Units = nil }, event.Obstacle, "opnix unit", "nothing fetches the secrets"},
		"OpNix is old": {func(d *declaration) { d.declared.OpNix = &nix.OpNix{Version: "0.7.0"} },
			event.Obstacle, "opnix version", "OpNix 0.7.0 restarts services and waits for them"},
		"OpNix is old by its unit": {func(d *declaration) { d.declared.OpNix = &nix.OpNix{} }, event.Obstacle, "opnix version", "agentToken"},
		"no such consumer": {func(d *declaration) { d.declared.Relations = d.declared.Relations[:1] },
			event.Obstacle, "consumer", "hercules-ci-agent.service, which the configuration does not define"},
		"no secret is the token": {func(d *declaration) { d.expected.Services.HerculesCI.Settings.ClusterJoinTokenPath = "/b" },
			event.Warning, "agent files", "clusterJoinTokenPath from /b"},
		"no secrets for effects": {func(d *declaration) { d.expected.Services.HerculesCI.Settings.SecretsJSONPath = "/b" }, event.Remark, "agent files", "/b"},
		"only OpNix lets in": {func(d *declaration) {
			none := 0
			d.declared.LoginKeys = &none
			d.expected.Services.OnePassword.Secrets["caches"] = nix.Secret{Path: "/root/.ssh/authorized_keys"}
			d.expected.Services.HerculesCI = nil
		}, event.Warning, "login keys", "secret caches"},
		"the mistaken name": {func(d *declaration) { agent(d).Orders = []string{mistakenFor} },
			event.Obstacle, "dangling unit", "OpNix's unit is called opnix-secrets.service"},
		"the mistaken name beside the right one": {func(d *declaration) { agent(d).Wants = []string{mistakenFor} }, event.Warning, "dangling unit", "ordered after that, too"},
		"a unit that may be packaged":            {func(d *declaration) { agent(d).Orders = append(agent(d).Orders, "ghost.service") }, event.Warning, "dangling unit", "--build tells"},
		"a unit that is required":                {func(d *declaration) { agent(d).Needs = []string{"ghost.service"}; d.built = "/nonexistent" }, event.Obstacle, "dangling unit", "it cannot be started"},
	} {
		t.Run(name, func(t *testing.T) {
			d := soundDeclaration()
			c.change(&d)
			found := d.findings()
			if c.finding == "" {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Severity != c.severity || found[0].Name != c.finding || !strings.Contains(found[0].Cause, c.words) {
				t.Errorf("found %+v", found)
			}
			if found[0].Remedy == "" && c.severity != event.Remark {
				t.Error("there is no remedy")
			}
		})
	}
}

func TestBuiltUnitsAreNotMissing(t *testing.T) {
	d := soundDeclaration()
	d.built = t.TempDir()
	d.declared.Relations[1].Orders = append(d.declared.Relations[1].Orders, "packaged.service")
	if err := os.WriteFile(filepath.Join(d.built, "packaged.service"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found := d.findings(); len(found) != 0 {
		t.Errorf("found %+v", found)
	}
}

func TestVersionsOfOpNix(t *testing.T) {
	for version, old := range map[string]bool{"0.7.0": true, "0.10.0": true, "0.10.1": false, "0.11.0": false, "1.0.0": false} {
		if got := (nix.OpNix{Version: version}).Old(); got != old {
			t.Errorf("%s: old is %v", version, got)
		}
	}
}

func TestTokenFindings(t *testing.T) {
	ssh := func(command string) string { return "ssh root@web1 " + command }
	good := protocol.FileState{Path: "/etc/opnix-token", Exists: true, Regular: true, Mode: 0o640}
	if f := tokenFinding(good, ssh); f != nil {
		t.Errorf("found %+v", f)
	}
	for words, change := range map[string]func(*protocol.FileState){
		"does not exist":       func(s *protocol.FileState) { s.Exists = false },
		"is empty":             func(s *protocol.FileState) { s.Empty = true },
		"is not a file":        func(s *protocol.FileState) { s.Regular = false },
		"open to others":       func(s *protocol.FileState) { s.Mode = 0o644 },
		"cannot be looked at":  func(s *protocol.FileState) { s.Error = "permission denied" },
		"not belong to root":   func(s *protocol.FileState) { s.UID = 1000 },
		"to others: mode 0660": func(s *protocol.FileState) { s.Mode = 0o660 },
	} {
		s := good
		change(&s)
		f := tokenFinding(s, ssh)
		if f == nil || f.Severity != event.Obstacle || !strings.Contains(f.Cause, words) || !strings.HasPrefix(f.Remedy, "ssh root@web1 ") {
			t.Errorf("%s: %+v", words, f)
		}
	}
}

func TestLockFindings(t *testing.T) {
	for name, c := range map[string]struct {
		inputs nix.Inputs
		err    error
		want   string
	}{
		"nothing":   {nix.Inputs{}, nil, ""},
		"no lock":   {nix.Inputs{NoLock: true, Unlocked: []string{"a"}}, nil, "failure: there is no flake.lock"},
		"unlocked":  {nix.Inputs{Unlocked: []string{"attic", "b"}}, nil, "failure: flake.lock lacks inputs of flake.nix: attic, b"},
		"dangling":  {nix.Inputs{Dangling: []string{"a"}}, nil, "failure: flake.lock names nodes"},
		"left over": {nix.Inputs{Stale: []string{"a"}}, nil, "note: flake.lock has what is no input"},
		"unread":    {nix.Inputs{}, errors.New("no"), "warning: flake.nix and flake.lock could not be compared: no"},
	} {
		said := ""
		for _, f := range lockFindings("/flake", c.inputs, c.err) {
			said += fmt.Sprintf("%s: %s", f.Severity, f.Cause)
		}
		if !strings.HasPrefix(said, c.want) || (said == "") != (c.want == "") {
			t.Errorf("%s: %s", name, said)
		}
	}
}
