package transaction

import (
	"context"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// A preset explains the failure of its own units better than an exit code, and only it
// can tell that the fault is somebody else's.
func TestUnitsThatAPresetJudgesDoNotFailTheActivation(t *testing.T) {
	const own, other = "opnix-secrets.service (exit-code)", "web.service (exit-code)"
	for _, c := range []struct {
		name    string
		kind    probe.Kind
		failing []string
		want    State
		reason  string
	}{
		{"its own unit", probe.KindOnePassword, []string{own}, Waiting, ""},
		{"another one beside it", probe.KindOnePassword, []string{own, other}, RolledBack, "before: " + other},
		{"a preset of another unit", probe.KindHercules, []string{own}, RolledBack, own},
		{"a unit that no preset judges", probe.KindCurrentSystem, []string{own}, RolledBack, own},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.host.activate = func(context.Context, Record) (int, error) { r.host.run(newPath); return 4, nil }
			r.host.failing = func(context.Context) ([]string, error) { return c.failing, nil }
			plan := r.plan()
			plan.Probes = []probe.Spec{probe.Defaults(c.kind)}
			if _, err := r.Prepare(r.ctx(), plan); err != nil {
				t.Fatal(err)
			}
			r.supervise()
			got := r.untilState(c.want)
			if !strings.Contains(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") {
				t.Errorf("reason %q", got.Reason)
			}
			if c.want == Waiting && (len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "that a probe judges: "+own)) {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}
