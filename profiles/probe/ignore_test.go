package probe

import (
	"strings"
	"testing"
)

func TestIgnoredUnitsAreToldAndDecideNothing(t *testing.T) {
	s := newStandIn(t)
	s.show("good.show")
	b := s.before()
	s.change("hercules-ci-agent.service", "ActiveState=failed", "SubState=failed", "Result=exit-code")
	judged := func(b *Baseline, patterns ...string) Result {
		t.Helper()
		probe := quick(KindNoNewFailedUnits)
		ask[FailedUnitsSpec](probe).Ignore = patterns
		return runOne(t, probe, s.host(b))
	}
	judged(b).want(t, Fail, "failed", "hercules-ci-agent.service")
	judged(b, "other.service", "hercules-*.socket").want(t, Fail, "failed", "")
	for _, patterns := range [][]string{{"hercules-ci-agent.service"}, {"x.service", "hercules-*.service"}} {
		r := judged(b, patterns...)
		r.want(t, Pass, "", "")
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "hercules-ci-agent.service is failed") {
			t.Errorf("notes: %q", r.Notes)
		}
	}
	s.change("hercules-ci-agent.service", "ActiveState=active", "SubState=running", "Result=success", "NRestarts=9")
	judged(b).want(t, Fail, "crash-loop", "")
	r := judged(b, "hercules-ci-agent.service")
	r.want(t, Pass, "", "")
	if len(r.Notes) != 1 {
		t.Errorf("notes: %q", r.Notes)
	}
}

func TestIgnores(t *testing.T) {
	s := Defaults(KindNoNewFailedUnits)
	ask[FailedUnitsSpec](s).Ignore = []string{"a.service", "b-*.service"}
	specs := []Spec{Defaults(KindCurrentSystem), s}
	for unit, want := range map[string]bool{"a.service": true, "b-1.service": true, "b.service": false, "c.service": false, "": false} {
		if Ignores(specs, unit) != want {
			t.Errorf("%q is ignored: %t", unit, !want)
		}
	}
	for _, bad := range []string{"", "[", strings.Repeat("x", longestArgument+1)} {
		ask[FailedUnitsSpec](s).Ignore = []string{bad}
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "ignore") {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}
