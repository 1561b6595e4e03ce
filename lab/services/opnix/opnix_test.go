package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// setup writes a configuration with two secrets, its vault and its token, all below one directory.
func setup(t *testing.T, change func(*config), vault map[string]string) (arguments []string, directory string) {
	t.Helper()
	account, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(account.Gid)
	if err != nil {
		t.Fatal(err)
	}
	directory = t.TempDir()
	secretAt := func(name, mode string) secret {
		return secret{
			Reference: "op://lab/" + name + "/value", Path: filepath.Join(directory, "out", name), Owner: account.Username,
			Group: group.Name, Mode: mode,
		}
	}
	c := config{Secrets: []secret{secretAt("first", "0600"), secretAt("second", "0640")}}
	c.SystemdIntegration.Enable = true
	c.SystemdIntegration.ChangeDetection.HashFile = filepath.Join(directory, "hashes.json")
	if change != nil {
		change(&c)
	}
	if vault == nil {
		vault = map[string]string{"op://lab/first/value": "one", "op://lab/second/value": "two"}
	}
	files := map[string]any{"config.json": c, "vault.json": vault}
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token := filepath.Join(directory, "token")
	if err := os.WriteFile(token, []byte("ops_test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAB_FAST", "1")
	t.Setenv("LAB_VAULT", filepath.Join(directory, "vault.json"))
	return []string{"secret", "-token-file", token, "-config", filepath.Join(directory, "config.json"), "-output", filepath.Join(directory, "out")}, directory
}

var versions = []string{"0.8.0", "0.11.0"}

func TestSecretsAreWritten(t *testing.T) {
	for _, version := range versions {
		t.Setenv("LAB_OPNIX", version)
		arguments, directory := setup(t, func(c *config) {
			c.Secrets[0].Symlinks = []string{filepath.Join(filepath.Dir(c.Secrets[0].Path), "more/link")}
		}, nil)
		if err := run(arguments); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]struct {
			content string
			mode    os.FileMode
		}{"first": {"one", 0o600}, "second": {"two", 0o640}, "more/link": {"one", 0o600}} {
			path := filepath.Join(directory, "out", name)
			data, err := os.ReadFile(path)
			if err != nil || string(data) != want.content {
				t.Errorf("%s: %s holds %q, %v", version, name, data, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want.mode {
				t.Errorf("%s: %s: mode %v, %v; want %v", version, name, info.Mode(), err, want.mode)
			}
		}
		var known hashes
		data, err := os.ReadFile(filepath.Join(directory, "hashes.json"))
		if err != nil || json.Unmarshal(data, &known) != nil || len(known.Hashes) != 2 {
			t.Errorf("%s: hashes %s, %v", version, data, err)
		}
	}
}

func TestFailures(t *testing.T) {
	tests := map[string]struct {
		change      func(*config)
		vault       map[string]string
		environment string
		token       string
		// code is that of 0.11.0, written what 0.8.0 leaves behind.
		code    int
		written bool
		says    string
	}{
		"unknown owner":     {change: func(c *config) { c.Secrets[1].Owner = "nosuchuser" }, code: exitGeneral, says: "user 'nosuchuser' does not exist"},
		"unknown group":     {change: func(c *config) { c.Secrets[1].Group = "nosuchgroup" }, code: exitGeneral, says: "group 'nosuchgroup' does not exist"},
		"invalid mode":      {change: func(c *config) { c.Secrets[1].Mode = "rw" }, code: exitGeneral, says: "mode"},
		"missing reference": {vault: map[string]string{"op://lab/first/value": "one"}, code: exitReference, written: true, says: "op://lab/second/value"},
		"bad token":         {environment: "auth", code: exitGeneral, says: "invalid service account token"},
		"no network":        {environment: "network", code: exitGeneral, says: "no such host"},
		"outage":            {environment: "outage", code: exitGeneral, says: "503"},
		"rate limited":      {environment: "rate-limited", code: exitRateLimited, says: "rate limit exceeded"},
		"empty token":       {token: "\n", code: exitGeneral, says: "Token file is empty"},
	}
	for name, test := range tests {
		for _, version := range versions {
			t.Run(name+" "+version, func(t *testing.T) {
				arguments, directory := setup(t, test.change, test.vault)
				t.Setenv("LAB_FAIL", test.environment)
				t.Setenv("LAB_OPNIX", version)
				if test.token != "" {
					if err := os.WriteFile(filepath.Join(directory, "token"), []byte(test.token), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				code, written := test.code, false
				if version == "0.8.0" {
					code, written = exitGeneral, test.written
				}
				err := run(arguments)
				var known *failure
				if !errors.As(err, &known) || known.code != code {
					t.Fatalf("error %v, want exit code %d", err, code)
				}
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v does not say %q", err, test.says)
				}
				if _, err := os.Stat(filepath.Join(directory, "out/first")); (err == nil) != written {
					t.Errorf("the first secret: %v, want it written: %t", err, written)
				}
			})
		}
	}
}

// Only 0.11.0 corrects the mode of a file that is there.
func TestModeOfAFileThatIsThere(t *testing.T) {
	for version, want := range map[string]os.FileMode{"0.8.0": 0o644, "0.11.0": 0o600} {
		arguments, directory := setup(t, nil, nil)
		t.Setenv("LAB_OPNIX", version)
		first := filepath.Join(directory, "out/first")
		if err := os.MkdirAll(filepath.Dir(first), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(first, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := run(arguments); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(first); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v", version, info.Mode(), err)
		}
	}
}

func TestWrongMode(t *testing.T) {
	arguments, directory := setup(t, nil, nil)
	t.Setenv("LAB_MODE", "0644")
	if err := run(arguments); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(directory, "out", "first")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestServiceActions(t *testing.T) {
	for services, want := range map[string]map[string]action{
		`["a","b"]`:                 {"a": {restart: true}, "b": {restart: true}},
		`{"a":{"restart":false}}`:   {"a": {}},
		`{"a":{"signal":"SIGHUP"}}`: {"a": {restart: true, signal: "SIGHUP"}},
		`null`:                      {},
	} {
		got := secret{Services: json.RawMessage(services)}.actions(true)
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v", services, got)
		}
	}
	for _, c := range []struct {
		old  bool
		a    action
		want string
	}{
		{true, action{restart: true}, "restart a"}, {false, action{restart: true}, "--no-block try-restart a"},
		{false, action{start: true}, "--no-block start a"}, {true, action{}, "reload a"}, {false, action{}, "--no-block reload a"},
	} {
		if got := strings.Join(opnix{old: c.old}.command("a", c.a)[1:], " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestTokenIsSet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := setToken([]string{"-path", file}, strings.NewReader("\n")); err == nil {
		t.Error("an empty token is taken")
	}
	if err := setToken([]string{"-path", file}, strings.NewReader(" ops_lab \n")); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(file)
	info, err := os.Stat(file)
	if err != nil || string(text) != "ops_lab\n" || info.Mode() != 0o600 {
		t.Errorf("%q, %v, %v", text, info, err)
	}
}
