package hosts

import (
	"strings"
	"testing"
)

func TestWhatHappensWhereASwitchCannotBeMade(t *testing.T) {
	for _, c := range []struct {
		name, text string
		orBoot     bool
		lastResort string
	}{
		{"nothing said", "[hosts.web1]", false, "none"},
		{"said", "[hosts.web1]\nwhen_reboot_needed = \"boot\"\nlast_resort = \"reboot\"", true, "reboot"},
		{"by default", "[defaults]\nwhen_reboot_needed = \"boot\"\nlast_resort = \"reboot\"\n[hosts.web1]", true, "reboot"},
		{"against the default", "[defaults]\nwhen_reboot_needed = \"boot\"\nlast_resort = \"reboot\"\n[hosts.web1]\nwhen_reboot_needed = \"refuse\"\nlast_resort = \"none\"", false, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := load(t, c.text).Hosts[0]
			if h.OrBoot != c.orBoot || h.LastResort != c.lastResort {
				t.Errorf("or boot %v, last resort %q", h.OrBoot, h.LastResort)
			}
		})
	}
	for _, line := range []string{`when_reboot_needed = "reboot"`, `when_reboot_needed = true`, `last_resort = "boot"`, `last_resort = []`} {
		_, err := decode("deploy.toml", "/x/deploy.toml", []byte("[hosts.web1]\n"+line), testKinds())
		if err == nil || !strings.Contains(err.Error(), ":2:") {
			t.Errorf("%s: %v", line, err)
		}
	}
}
