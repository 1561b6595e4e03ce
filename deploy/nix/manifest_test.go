package nix

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodManifest = `{"version":1,"hostName":"hetzner-vps","system":"x86_64-linux","toplevel":"/nix/store/11111111111111111111111111111111-nixos-system-hetzner-vps",
"expectations":{"services":{"onepassword-secrets":{"enable":true,"tokenFile":"/etc/opnix-token","version":null,"configFiles":0,"services":[],
"secrets":{"token":{"path":"/run/a","owner":"root","group":"root","mode":"0600","symlinks":[],"services":["sshd"]}}},"hercules-ci-agent":null},"units":["opnix-secrets"]}}`

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest([]byte(goodManifest))
	if err != nil || m.HostName != "hetzner-vps" || m.System != "x86_64-linux" || !strings.Contains(string(m.Expectations), "opnix-token") {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"version":1`, `"version":2`, "its version is 2"},
		{`"version":1,`, ``, "its version is 0"},
		{`"units"`, `"unit"`, `unknown field "unit"`},
		{`"system"`, `"systems"`, `unknown field "systems"`},
		{`["opnix-secrets"]`, `"opnix-secrets"`, "its expectations: "},
		{`"/nix/store/1`, `"nix/store/1`, "is not a store path"},
		{`"hetzner-vps"`, `"hetzner\u001b[31m"`, "its hostName is"},
		{`"x86_64-linux"`, `"x86_64-linux y"`, "its system is"},
		{"}}\n", "}} {}", "is not"},
		{`"expectations":{`, `"expectation":{`, "unknown field"},
	} {
		text := strings.Replace(goodManifest+"\n", c.from, c.to, 1)
		if c.from == "}}\n" {
			text, c.want = goodManifest+"{}", "after top-level value"
		}
		if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s instead of %s: got %v, want %s", c.to, c.from, err, c.want)
		}
	}
	for _, text := range []string{"", "null", "[]", `{"version":1}`, `{"version":1,"toplevel":"/nix/store/x-y","expectations":null}`, strings.Repeat(" ", MostManifestBytes) + goodManifest} {
		if _, err := ParseManifest([]byte(text)); err == nil {
			t.Errorf("%.40q was accepted", text)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Add([]byte(`{"version":1,"toplevel":"/nix/store/11111111111111111111111111111111-x","expectations":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if text := err.Error(); len(text) > 500 || text != oneLine(text, len(text)) {
				t.Errorf("the error is no line for people: %q", text)
			}
			return
		}
		if !isStorePath(m.Toplevel) || m.Version != manifestVersion || !bytes.Contains(m.Expectations, []byte("{")) {
			t.Errorf("%+v", m)
		}
		if words := m.HostName + m.System; words != oneLine(words, 200) || strings.Contains(words, " ") {
			t.Errorf("%q is shown to people", words)
		}
	})
}

func TestStorePathOf(t *testing.T) {
	const path = "/nix/store/11111111111111111111111111111111-nixos-system-web1-25.11"
	for given, want := range map[string]string{
		path: path, path + "/": path, path + "/bin/switch-to-configuration": path, path + ".drv": "",
		"/nix/store": "", "/": "", "": "", "/nix/store/1-short": "", "/other" + path: "/other" + path,
		"/nix/store/1111111111111111111111111111111e-e-is-no-digit": "", "/a b/" + path[11:]: "", path[:43] + "$(reboot)": "",
	} {
		if got := StorePathOf(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestFindWherePATHLeadsNowhere(t *testing.T) {
	place := t.TempDir()
	program := filepath.Join(place, "nix")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := usualPlaces
	usualPlaces = []string{"/nowhere", place}
	defer func() { usualPlaces = before }()
	for _, c := range []struct{ path, variable, want string }{
		{"/path-not-set", "", program},
		{"", "", program},
		{t.TempDir(), "", ""}, // who says where programs are means it
		{"/path-not-set", program, program},
		{"/path-not-set", place, ""},
		{place, "nix", ""},
		{place, "", program},
	} {
		t.Setenv("PATH", c.path)
		t.Setenv(Variable, c.variable)
		found, err := Find(t.Context())
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%+v: found %s", c, found.Program)
		case c.want != "" && (err != nil || found.Program != c.want):
			t.Errorf("%+v: %v, %v", c, found, err)
		}
	}
}
