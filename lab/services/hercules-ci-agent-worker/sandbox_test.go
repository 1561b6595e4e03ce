package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestAnEffectGetsTheSecretsOfItsBranch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.json")
	content := `{
		"any": {"kind": "Secret", "data": {"k": "1"}, "condition": true},
		"default": {"kind": "Secret", "data": {"k": "2"}, "condition": "isDefaultBranch"},
		"release": {"kind": "Secret", "data": {"k": "3"}, "condition": {"isBranch": "release"}},
		"none": {"kind": "Secret", "data": {"k": "4"}}
	}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		secret, branch string
		ok             bool
	}{
		{"any", "feature", true}, {"default", "main", true}, {"default", "feature", false}, {"release", "release", true},
		{"release", "main", false}, {"none", "main", false}, {"missing", "main", false},
	} {
		chosen, err := chooseSecrets(file, push{Secrets: map[string]string{"ssh": c.secret}, Branch: c.branch})
		if (err == nil) != c.ok {
			t.Errorf("%s on %s: %v", c.secret, c.branch, err)
		}
		if err != nil {
			continue
		}
		var secrets map[string]map[string]any
		if err := json.Unmarshal(chosen, &secrets); err != nil {
			t.Fatal(err)
		}
		if _, told := secrets["ssh"]["condition"]; len(secrets) != 2 || secrets["ssh"]["kind"] != "Secret" || secrets["hercules-ci"]["data"] == nil || told {
			t.Errorf("%s on %s: got %s", c.secret, c.branch, chosen)
		}
	}
}
