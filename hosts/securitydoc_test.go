package hosts

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// The examples of docs/security.md are whole files, and mean what the text says.
func TestExamplesOfTheSecurityDocumentation(t *testing.T) {
	blocks := tomlBlocks(t, "../docs/security.md")
	var read []Host
	for _, block := range blocks {
		path := filepath.Join(t.TempDir(), "deploy.toml")
		if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		inventory, err := Load(path, Kinds{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, block)
		}
		read = append(read, inventory.Hosts...)
	}
	sudo := []string{"sudo", "-n", "--"}
	for i, want := range []Host{
		{Name: "web1", Password: Password{Ask: true}},
		{Name: "web2", Password: Password{Command: []string{"pass", "show", "web2/deploy"}}},
		{Name: "web3", Password: Password{File: "/run/secrets/web3-deploy"}},
		{Name: "web1", Agent: "/run/current-system/sw/bin/hdeploy-agent"},
	} {
		if i >= len(read) {
			t.Fatalf("only %d hosts are read", len(read))
		}
		got := read[i]
		if got.Name != want.Name || got.User != "deploy" || !reflect.DeepEqual(got.Elevation, sudo) || !reflect.DeepEqual(got.Password, want.Password) || got.Agent != want.Agent {
			t.Errorf("%s: user %s, elevation %q, password %+v, agent %q", got.Name, got.User, got.Elevation, got.Password, got.Agent)
		}
	}
}
