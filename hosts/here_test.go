package hosts

import (
	"os"
	"testing"
)

func TestLocalhostIsThisMachine(t *testing.T) {
	self, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	table := NewHost("box")
	table.Local = true
	named := NewHost("localhost")
	named.Local = true
	for name, c := range map[string]struct {
		hosts []Host
		want  string
	}{
		"a host of that name":               {[]Host{table, named}, "localhost"},
		"the host that is this machine":     {[]Host{NewHost(self), table}, "box"},
		"the host with this machine's name": {[]Host{NewHost("web1"), NewHost(self)}, self},
		"none":                              {[]Host{NewHost("web1")}, ""},
	} {
		inv := &Inventory{Hosts: c.hosts}
		got, err := inv.Select([]string{"localhost"})
		switch {
		case c.want == "":
			if err == nil {
				t.Errorf("%s: got %v", name, got)
			}
		case err != nil || len(got) != 1 || got[0].Name != c.want || !got[0].Local:
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if named := NewHost(self); named.Local {
		t.Error("a host is this machine by its name alone")
	}
}
