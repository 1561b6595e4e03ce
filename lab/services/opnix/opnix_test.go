package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/user"
	"path/filepath"
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
	t.Setenv("LAB_VAULT", filepath.Join(directory, "vault.json"))
	return []string{"secret", "-token-file", token, "-config", filepath.Join(directory, "config.json"), "-output", filepath.Join(directory, "out")}, directory
}

func TestSecretsAreWritten(t *testing.T) {
	arguments, directory := setup(t, nil, nil)
	if err := run(arguments); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		content string
		mode    os.FileMode
	}{"first": {"one", 0o600}, "second": {"two", 0o640}} {
		path := filepath.Join(directory, "out", name)
		data, err := os.ReadFile(path)
		if err != nil || string(data) != want.content {
			t.Errorf("%s holds %q, %v", name, data, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want.mode {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, want.mode)
		}
	}
	var hashes map[string]recorded
	data, err := os.ReadFile(filepath.Join(directory, "hashes.json"))
	if err != nil || json.Unmarshal(data, &hashes) != nil || len(hashes) != 2 {
		t.Errorf("hashes %s, %v", data, err)
	}
}

func TestFailures(t *testing.T) {
	tests := map[string]struct {
		change      func(*config)
		vault       map[string]string
		environment string
		token       string
		code        int
	}{
		"unknown owner":     {change: func(c *config) { c.Secrets[1].Owner = "nosuchuser" }, code: exitGeneral},
		"unknown group":     {change: func(c *config) { c.Secrets[1].Group = "nosuchgroup" }, code: exitGeneral},
		"invalid mode":      {change: func(c *config) { c.Secrets[1].Mode = "rw" }, code: exitGeneral},
		"missing reference": {vault: map[string]string{"op://lab/first/value": "one"}, code: exitReference},
		"bad token":         {environment: "auth", code: exitGeneral},
		"no network":        {environment: "network", code: exitGeneral},
		"rate limited":      {environment: "rate-limited", code: exitRateLimited},
		"empty token":       {token: "\n", code: exitGeneral},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			arguments, directory := setup(t, test.change, test.vault)
			t.Setenv("LAB_FAIL", test.environment)
			if test.token != "" {
				if err := os.WriteFile(filepath.Join(directory, "token"), []byte(test.token), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := run(arguments)
			var known *failure
			if !errors.As(err, &known) || known.code != test.code {
				t.Errorf("error %v, want exit code %d", err, test.code)
			}
			if _, err := os.Stat(filepath.Join(directory, "out")); !os.IsNotExist(err) {
				t.Error("something was written although not all could be")
			}
		})
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
