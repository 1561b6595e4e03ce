package hosts

import (
	"errors"
	"strings"
	"testing"
)

// Whoever writes a setting under the name that deploy-rs or colmena has for it is told
// the one it has here, where that may stand.
func TestNamesOfOtherToolsAreKnown(t *testing.T) {
	keys := map[string]bool{}
	for name, other := range calledElsewhere {
		keys[other.key] = true
		table := "[hosts.web1]\n"
		if other.key == "path" {
			table = "[hosts.web1.profiles.app]\nkind = \"deploy-rs\"\n"
		}
		err := Check("deploy.toml", []byte(table+name+" = 1\n"), Kinds{})
		var faults ConfigErrors
		if !errors.As(err, &faults) || !strings.Contains(faults.Error(), other.write) || !strings.Contains(faults.Error(), "unknown key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for key := range keys {
		if _, known := calledElsewhere[key]; known {
			t.Errorf("%s is a key here", key)
		}
	}
	err := Check("deploy.toml", []byte("[hosts.web1]\n[jumps.b]\nremoteBuild = true\n"), Kinds{})
	if err == nil || strings.Contains(err.Error(), "build") && strings.Contains(err.Error(), "write") {
		t.Errorf("a jump host builds nothing: %v", err)
	}
}
