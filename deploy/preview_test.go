package deploy

import (
	"strings"
	"testing"
)

// FuzzReadChanges lets the new system's activation say anything. No unit is told that
// it has not named.
func FuzzReadChanges(f *testing.F) {
	f.Add("would stop the following units: a.service, b.service\nwould NOT restart the following changed units: c.service")
	f.Add("would activate the configuration...\nwould start the following units: \nwould reload the following units as well: ,,x")
	f.Fuzz(func(t *testing.T, said string) {
		c := readChanges(strings.Split(said, "\n"))
		for _, list := range [][]string{c.Stop, c.Start, c.Restart, c.Reload, c.Keep, c.Other} {
			for _, unit := range list {
				if unit == "" || !strings.Contains(said, unit) {
					t.Errorf("%q of %q", unit, said)
				}
			}
		}
	})
}
