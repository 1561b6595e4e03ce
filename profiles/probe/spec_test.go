package probe

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// complete is the default spec of a kind with what a person must give.
func complete(kind Kind) Spec {
	s := Defaults(kind)
	switch kind {
	case KindUnit:
		ask[UnitSpec](s).Unit = "nginx.service"
	case KindSocket:
		ask[SocketSpec](s).Unit = "nginx.service"
	case KindHTTP:
		ask[HTTPSpec](s).URL = "https://example.org/health"
	case KindTCP:
		ask[TCPSpec](s).Address = "127.0.0.1:80"
	case KindCommand:
		ask[CommandSpec](s).Argv = []string{"true"}
	case KindDNS:
		ask[DNSSpec](s).Query = "example.org"
	case KindJournal:
		s.Ask = &JournalSpec{Unit: "nginx.service", Of: OfTrial, Must: []Pattern{{Pattern: "ready"}}}
	case KindFile:
		ask[FileSpec](s).Path = "/etc/passwd"
	case KindSecret:
		ask[SecretSpec](s).Path = "/etc/shadow"
	}
	return s
}

func TestDefaultsAreValid(t *testing.T) {
	for _, about := range Catalogue() {
		kind := about.Kind
		s := complete(kind)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		s.Strict()
		if err := s.Validate(); err != nil {
			t.Errorf("strict %s: %v", kind, err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Spec
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%s: JSON %s, %v", kind, text, err)
		}
		if s.OnFail != Rollback || s.From != FromHost {
			t.Errorf("%s: %+v", kind, s)
		}
	}
}

func TestStrictAndAtRest(t *testing.T) {
	s := Defaults(KindHercules)
	s.Strict()
	if ask[HerculesSpec](s).Quiet != 45*time.Second || s.Soak <= 120*time.Second {
		t.Errorf("got %+v", s)
	}
	rest := s.AtRest()
	if rest.Settle != 0 || rest.Soak != 0 || s.Soak == 0 {
		t.Errorf("got %+v of %+v", rest, s)
	}
	u := Defaults(KindUnit)
	u.Strict()
	if !reflect.DeepEqual(u, Defaults(KindUnit)) {
		t.Errorf("strict changed another kind: %+v", u)
	}
}

func TestValidateSaysAllAtOnce(t *testing.T) {
	for _, c := range []struct {
		ask  Question
		want []string
	}{
		{&HTTPSpec{URL: "x", Status: 20, Body: "((", TLSDaysLeft: -1, Headers: []Header{{Name: "a", Pattern: "(("}, {Name: "a b"}}},
			[]string{"url must", "status must", "body is not", "tls_days_left", "the pattern of a is not", `"a b" is not`}},
		{&TCPSpec{Address: "x", TLSDaysLeft: 1}, []string{"address must", "need tls"}},
		{&HerculesSpec{Endpoints: []string{"x", "y:0"}, TokenPath: "z"}, []string{`endpoints must be host:port, not "x"`, "endpoints must have a port", "token_path"}},
		{&CommandSpec{ExitCode: 256, Output: "(("}, []string{"argv must", "exit_code must", "output is not"}},
		{&OnePasswordSpec{TokenFile: "x", Units: []string{"*"}, Secrets: []Secret{{Name: "a", Path: "x"}, {Path: "/b", Mode: "9"}}},
			[]string{"token_file must", `units: "*"`, "secret a: path must", "secret /b: mode must"}},
	} {
		err := c.ask.validate()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%T: %q is missing in: %v", c.ask, want, err)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   Kind
		change func(*Spec)
		want   string
	}{
		{"no name", KindUnit, func(s *Spec) { s.Name = "" }, "name"},
		{"control character", KindUnit, func(s *Spec) { s.Name = "a\x1bb" }, "name"},
		{"kind", KindUnit, func(s *Spec) { s.Kind = "units" }, "unknown kind"},
		{"from", KindHTTP, func(s *Spec) { s.From = "moon" }, "from must be"},
		{"unit from the deployer", KindUnit, func(s *Spec) { s.From = FromDeployer }, "only run on the host"},
		{"preset from the deployer", KindOnePassword, func(s *Spec) { s.From = FromDeployer }, "only run on the host"},
		{"on_fail", KindUnit, func(s *Spec) { s.OnFail = "ignore" }, "on_fail"},
		{"on_unknown", KindUnit, func(s *Spec) { s.OnUnknown = "" }, "on_unknown"},
		{"no deadline", KindUnit, func(s *Spec) { s.Deadline = 0 }, "deadline"},
		{"long deadline", KindUnit, func(s *Spec) { s.Deadline = 2 * time.Hour }, "deadline"},
		{"no interval", KindUnit, func(s *Spec) { s.Interval = 0 }, "interval"},
		{"negative settle", KindUnit, func(s *Spec) { s.Settle = -1 }, "settle"},
		{"negative soak", KindUnit, func(s *Spec) { s.Soak = -1 }, "soak"},
		{"negative timeout", KindUnit, func(s *Spec) { s.Timeout = -1 }, "timeout"},
		{"no passes", KindUnit, func(s *Spec) { s.Passes = 0 }, "passes"},
		{"passes that do not fit", KindUnit, func(s *Spec) { s.Passes, s.Interval, s.Deadline = 5, time.Second, 3*time.Second }, "do not fit"},
		{"no parameters", KindUnit, func(s *Spec) { s.Ask = nil }, "no parameters"},
		{"other parameters", KindUnit, func(s *Spec) { s.Ask = &TCPSpec{} }, "parameters of another kind"},
		{"no suffix", KindUnit, func(s *Spec) { ask[UnitSpec](s).Unit = "nginx" }, "not the name of a unit"},
		{"pattern", KindUnit, func(s *Spec) { ask[UnitSpec](s).Unit = "*.service" }, "not the name of a unit"},
		{"option", KindUnit, func(s *Spec) { ask[UnitSpec](s).Unit = "--force.service" }, "not the name of a unit"},
		{"state", KindUnit, func(s *Spec) { ask[UnitSpec](s).Active = "running" }, "state of systemd"},
		{"no host", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).URL = "/health" }, "absolute"},
		{"file URL", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).URL = "file:///etc/passwd" }, "absolute"},
		{"password", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).URL = "http://a:b@example.org" }, "password"},
		{"status", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).Status = 20 }, "status"},
		{"body", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).Body = "(" }, "regular expression"},
		{"no port", KindTCP, func(s *Spec) { ask[TCPSpec](s).Address = "example.org" }, "host:port"},
		{"port", KindTCP, func(s *Spec) { ask[TCPSpec](s).Address = "example.org:0" }, "port"},
		{"empty argv", KindCommand, func(s *Spec) { ask[CommandSpec](s).Argv = nil }, "argv"},
		{"NUL", KindCommand, func(s *Spec) { ask[CommandSpec](s).Argv = []string{"a\x00b"} }, "NUL"},
		{"exit code", KindCommand, func(s *Spec) { ask[CommandSpec](s).ExitCode = 256 }, "exit_code"},
		{"user", KindCommand, func(s *Spec) { ask[CommandSpec](s).User = "a\nb" }, "user"},
		{"header", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).Headers = []Header{{Name: "a b"}} }, "header"},
		{"header's pattern", KindHTTP, func(s *Spec) { ask[HTTPSpec](s).Headers = []Header{{Name: "a", Pattern: "("}} }, "regular expression"},
		{"days without TLS", KindHTTP, func(s *Spec) { s.Ask = &HTTPSpec{URL: "http://a", TLSDaysLeft: 1} }, "only https"},
		{"days", KindTCP, func(s *Spec) { ask[TCPSpec](s).TLS, ask[TCPSpec](s).TLSDaysLeft = true, -1 }, "tls_days_left"},
		{"name without TLS", KindTCP, func(s *Spec) { ask[TCPSpec](s).TLSName = "a" }, "tls = true"},
		{"name that is none", KindDNS, func(s *Spec) { ask[DNSSpec](s).Query = "-a b" }, "name must be"},
		{"record", KindDNS, func(s *Spec) { ask[DNSSpec](s).Type = "SOA" }, "type must be"},
		{"answer of another kind", KindDNS, func(s *Spec) { ask[DNSSpec](s).Type, ask[DNSSpec](s).Answers = "A", []string{"::1"} }, "IP addresses"},
		{"server by name", KindDNS, func(s *Spec) { ask[DNSSpec](s).Server = "ns.example.org:53" }, "IP address"},
		{"server's port", KindDNS, func(s *Spec) { ask[DNSSpec](s).Server = "127.0.0.1:0" }, "IP address"},
		{"unit and identifier", KindJournal, func(s *Spec) { ask[JournalSpec](s).Identifier = "sshd" }, "either"},
		{"neither", KindJournal, func(s *Spec) { ask[JournalSpec](s).Unit = "" }, "either"},
		{"identifier", KindJournal, func(s *Spec) { ask[JournalSpec](s).Unit, ask[JournalSpec](s).Identifier = "", "a:b" }, "identifier"},
		{"of", KindJournal, func(s *Spec) { ask[JournalSpec](s).Of = "boot" }, "of must be"},
		{"invocation of an identifier", KindJournal, func(s *Spec) {
			s.Ask = &JournalSpec{Identifier: "a", Of: OfInvocation, Must: []Pattern{{Pattern: "a"}}}
		}, "only a unit"},
		{"no pattern", KindJournal, func(s *Spec) { ask[JournalSpec](s).Must = nil }, "must hold"},
		{"empty pattern", KindJournal, func(s *Spec) { ask[JournalSpec](s).MustNot = []Pattern{{}} }, "is missing"},
		{"count", KindJournal, func(s *Spec) { ask[JournalSpec](s).Must[0].Count = -1 }, "count"},
		{"relative path", KindFile, func(s *Spec) { ask[FileSpec](s).Path = "passwd" }, "absolute path"},
		{"absent with a mode", KindFile, func(s *Spec) { ask[FileSpec](s).Absent, ask[FileSpec](s).Mode = true, "0600" }, "absent"},
		{"type", KindFile, func(s *Spec) { ask[FileSpec](s).Type = "link" }, "type"},
		{"target of a file", KindFile, func(s *Spec) { ask[FileSpec](s).Type, ask[FileSpec](s).Target = "file", "/a" }, "only a symlink"},
		{"sizes", KindFile, func(s *Spec) { ask[FileSpec](s).SizeLeast, ask[FileSpec](s).SizeMost = 2, new(int64) }, "size_least"},
		{"age", KindFile, func(s *Spec) { ask[FileSpec](s).AgeMost = -1 }, "age"},
		{"ages", KindFile, func(s *Spec) { ask[FileSpec](s).AgeLeast, ask[FileSpec](s).AgeMost = 2, 1 }, "age_least"},
		{"shape", KindSecret, func(s *Spec) { ask[SecretSpec](s).Shape = "yaml" }, "shape"},
		{"shape with a schema", KindSecret, func(s *Spec) { ask[SecretSpec](s).Shape, ask[SecretSpec](s).Schema = "jwt", "{}" }, "only json"},
		{"schema", KindSecret, func(s *Spec) { ask[SecretSpec](s).Schema = `{"allOf": []}` }, "allOf"},
		{"shape of nothing", KindSecret, func(s *Spec) { ask[SecretSpec](s).Shape, ask[SecretSpec](s).Absent = "jwt", true }, "has a shape"},
		{"token path", KindOnePassword, func(s *Spec) { ask[OnePasswordSpec](s).TokenFile = "token" }, "absolute path"},
		{"no secret path", KindOnePassword, func(s *Spec) { ask[OnePasswordSpec](s).Secrets = []Secret{{Name: "a"}} }, "path is missing"},
		{"mode", KindOnePassword, func(s *Spec) { ask[OnePasswordSpec](s).Secrets = []Secret{{Path: "/a", Mode: "rw"}} }, "octal"},
		{"service", KindOnePassword, func(s *Spec) { ask[OnePasswordSpec](s).Secrets = []Secret{{Path: "/a", Services: []string{"-x"}}} }, "not the name of a unit"},
		{"quiet", KindHercules, func(s *Spec) { ask[HerculesSpec](s).Quiet = -1 }, "quiet"},
		{"base", KindHercules, func(s *Spec) { ask[HerculesSpec](s).BaseDirectory = "x" }, "absolute path"},
		{"endpoint", KindHercules, func(s *Spec) { ask[HerculesSpec](s).Endpoints = []string{"example.org"} }, "host:port"},
	} {
		s := complete(c.kind)
		c.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	s := complete(KindUnit)
	s.OnFail, s.Passes = "", 0
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "on_fail") || !strings.Contains(err.Error(), "passes") {
		t.Errorf("not everything at once: %v", err)
	}
}

const evaluated = `{
	"onepassword-secrets": {"enable": true, "tokenFile": "/etc/token", "secrets": {
		"zeta": {"path": "/s/zeta", "owner": "root", "group": "root", "mode": "0600", "services": []},
		"alpha": {"path": "/s/alpha", "owner": "hercules-ci-agent", "group": "users", "mode": "0400", "services": ["hercules-ci-agent"], "symlinks": ["/l"]}},
		"services": ["pg"], "version": "0.11.0", "configFiles": 1},
	"hercules-ci-agent": {"enable": true, "settings": {"baseDirectory": "/var/lib/hca", "clusterJoinTokenPath": "/s/alpha", "binaryCachesPath": "/s/caches"}},
	"units": ["opnix-secrets", "hercules-ci-agent"]}`

func TestExpect(t *testing.T) {
	s := Defaults(KindOnePassword)
	if err := s.Expect(json.RawMessage(evaluated)); err != nil {
		t.Fatal(err)
	}
	want := OnePasswordSpec{Units: []string{"opnix-secrets.service"}, TokenFile: "/etc/token", Secrets: []Secret{
		{Name: "alpha", Path: "/s/alpha", Owner: "hercules-ci-agent", Group: "users", Mode: "0400", Services: []string{"hercules-ci-agent"}, Symlinks: []string{"/l"}},
		{Name: "zeta", Path: "/s/zeta", Owner: "root", Group: "root", Mode: "0600", Services: []string{}},
	}, Services: []string{"pg"}, Version: "0.11.0", ConfigFiles: 1}
	if !reflect.DeepEqual(*ask[OnePasswordSpec](s), want) {
		t.Errorf("got %+v", *ask[OnePasswordSpec](s))
	}
	h := Defaults(KindHercules)
	ask[HerculesSpec](h).CachesPath = "/given"
	if err := h.Expect(json.RawMessage(evaluated)); err != nil {
		t.Fatal(err)
	}
	if ask[HerculesSpec](h).BaseDirectory != "/var/lib/hca" || ask[HerculesSpec](h).TokenPath != "/s/alpha" || ask[HerculesSpec](h).CachesPath != "/given" || ask[HerculesSpec](h).NotConfigured {
		t.Errorf("got %+v", *ask[HerculesSpec](h))
	}
	given := Defaults(KindOnePassword)
	given.Ask = &OnePasswordSpec{Units: []string{"mine.service"}, Secrets: []Secret{{Path: "/mine"}}}
	if err := given.Expect(json.RawMessage(evaluated)); err != nil {
		t.Fatal(err)
	}
	if ask[OnePasswordSpec](given).Units[0] != "mine.service" || len(ask[OnePasswordSpec](given).Secrets) != 1 || ask[OnePasswordSpec](given).TokenFile != "/etc/token" {
		t.Errorf("what was given was replaced: %+v", *ask[OnePasswordSpec](given))
	}
}

func TestExpectOfLessThanEverything(t *testing.T) {
	for _, text := range []string{``, `null`, `{}`, `{"onepassword-secrets":null,"hercules-ci-agent":null,"units":null}`,
		`{"onepassword-secrets":{"enable":false,"tokenFile":"/x"},"hercules-ci-agent":{"enable":null}}`} {
		s, h := Defaults(KindOnePassword), Defaults(KindHercules)
		if err := s.Expect(json.RawMessage(text)); err != nil || !ask[OnePasswordSpec](s).NotConfigured || ask[OnePasswordSpec](s).TokenFile != "" {
			t.Errorf("%s: %v, %+v", text, err, *ask[OnePasswordSpec](s))
		}
		if err := h.Expect(json.RawMessage(text)); err != nil || !ask[HerculesSpec](h).NotConfigured {
			t.Errorf("%s: %v, %+v", text, err, *ask[HerculesSpec](h))
		}
	}
	s := Defaults(KindOnePassword)
	if err := s.Expect(json.RawMessage(`{"onepassword-secrets":{"enable":true,"secrets":{"a":{"path":null}}}}`)); err == nil {
		t.Error("a secret without a path was taken")
	}
	if err := s.Expect(json.RawMessage(`[]`)); err == nil {
		t.Error("a list was taken")
	}
	u := complete(KindUnit)
	if err := u.Expect(json.RawMessage(evaluated)); err != nil || !reflect.DeepEqual(u, complete(KindUnit)) {
		t.Errorf("another kind was changed: %v, %+v", err, u)
	}
}

func FuzzExpect(f *testing.F) {
	f.Add([]byte(evaluated))
	f.Add([]byte(`{"units":["a"],"onepassword-secrets":{"enable":true,"secrets":{"":{}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range []Kind{KindOnePassword, KindHercules} {
			s := Defaults(kind)
			if err := s.Expect(text); err == nil && s.Validate() != nil {
				t.Errorf("%s: accepted what is not valid", text)
			}
		}
	})
}

func TestAttainable(t *testing.T) {
	s := Defaults(KindHercules)
	if err := s.Attainable(); err != nil {
		t.Errorf("the default: %v", err)
	}
	s.Settle, s.Deadline = time.Second, 15*time.Second
	if err := s.Attainable(); err == nil || !strings.Contains(err.Error(), "deadline of 15s is too short for quiet of 45s") {
		t.Errorf("got %v", err)
	}
	s.Strict()
	if err := s.Attainable(); err != nil {
		t.Errorf("strict: %v", err)
	}
}
