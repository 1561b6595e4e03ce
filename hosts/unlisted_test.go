package hosts

import (
	"strings"
	"testing"
)

func TestUnlisted(t *testing.T) {
	for _, name := range []string{"web1", "web1.example.org", "192.0.2.7"} {
		inv, err := Unlisted(name, Kinds{})
		if err != nil || len(inv.Hosts) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		h := inv.Hosts[0]
		if h.Name != name || h.Address != name || h.User != "root" || h.Port != 22 || len(h.Profiles) != 1 || inv.Flake == "" {
			t.Errorf("%s: %+v", name, h)
		}
	}
	for name, want := range map[string]string{
		"": "no host name", "@web": "no host name", "a b": "no host name", "web1:22": "no name of a host", "2001:db8::1": "no name of a host",
		"root@web1": "a setting of its own", "-x": "no", "x\"]\n[hosts.y]\n": "no host name", "local": "",
	} {
		if _, err := Unlisted(name, Kinds{}); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}
