//go:build lab

package tests

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// atOnce runs as many effects of one push as there are, all of which begin with this host, and returns what each said.
func (e effect) atOnce(effects, code int) []string {
	e.t.Helper()
	said := make([]string, effects)
	e.t.Run("at once", func(t *testing.T) {
		for i := range effects {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				own, site := e, *e.site
				site.t = t
				own.site = &site
				var summary effectSummary
				if said[i], summary = own.run(nil, hostName, "--closure", e.closure); summary.Code != code || len(summary.Hosts) != 1 {
					t.Errorf("it ended with %d:\n%s", summary.Code, said[i])
				}
			})
		}
	})
	return said
}

// Each effect of a later wave begins with the hosts of the earlier ones: all of them together make one deployment.
func TestEffectsOfOnePushShareADeployment(t *testing.T) {
	const effects = 3
	e := newEffect(t, lab.HostOptions{})
	begun := func() (r transaction.Record) {
		t.Helper()
		if err := json.Unmarshal([]byte(e.on("cat /var/lib/hdeploy/transaction.json")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	all := e.atOnce(effects, 0)
	first := begun()
	if first.State != transaction.Committed || first.Number != 1 {
		t.Errorf("after one push there is transaction number %d: %s", first.Number, first.State)
	}
	own := 0
	for _, said := range all {
		if !strings.Contains(said, "under way already") && !strings.Contains(said, "begun meanwhile") && !strings.Contains(said, "decided about this system already") {
			own++
		}
	}
	if own != 1 {
		t.Errorf("%d of %d deployed it themselves:\n%s", own, effects, strings.Join(all, "\n"))
	}
	requireRuns(t, e.snapshot(), e.closure)

	// What is bad lets no later wave begin.
	e.configure(settings{"revision": "bad", "faults": settings{"failUnit": "at-once"}})
	e.write("flake.toml", e.inventory.String())
	e.closure = inShell(t, workstation, "cd "+e.dir+" && XDG_STATE_HOME="+e.dir+"/state /hdeploy/hdeploy build --config flake.toml --output quiet "+hostName)
	e.atOnce(effects, 7)
	if bad := begun(); bad.State != transaction.RolledBack || bad.Number != 2 {
		t.Errorf("after the bad push there is transaction number %d: %s", bad.Number, bad.State)
	}
	requireRuns(t, e.snapshot(), first.New)
}
