package probe

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGlanceNamesWhatDoesNotPass(t *testing.T) {
	well, ill, advisory, onHost := script(t, 0), script(t, 1, 0), script(t, 1), quick(KindCurrentSystem)
	well.Name, ill.Name, advisory.Name = "well", "ill", "advisory"
	for _, s := range []*Spec{&well, &ill, &onHost} {
		s.AfterRollback = Required
	}
	ill.Settle, ill.Soak, ill.Passes = time.Hour, time.Hour, 3
	specs := []Spec{well, ill, advisory, onHost}
	began := time.Now()
	if got := Glance(t.Context(), specs, nil); !slices.Equal(got, []string{"ill"}) {
		t.Errorf("got %v", got)
	}
	if tries(t, ill) != 1 || tries(t, advisory) != 0 || time.Since(began) > 10*time.Second {
		t.Errorf("tried %d times, the advisory one %d times", tries(t, ill), tries(t, advisory))
	}
	if NeedsGlance([]Spec{advisory}, FromDeployer) || !NeedsGlance(specs, FromHost) || NeedsGlance([]Spec{onHost}, FromDeployer) {
		t.Error("it is needed for what is required, and from its vantage")
	}
	for _, s := range specs {
		if err := s.once().Validate(); err != nil {
			t.Errorf("not valid: %v", err)
		}
	}
}

func TestRunRestored(t *testing.T) {
	specs := map[string]*Spec{}
	for _, name := range []string{"well", "advisory", "required", "before", "onHost"} {
		s := script(t, 1)
		if name == "well" {
			s = script(t, 0)
		}
		s.Name, s.AfterRollback, s.Deadline, s.Settle, s.Soak = name, Required, 200*time.Millisecond, time.Hour, time.Hour
		specs[name] = &s
	}
	specs["advisory"].AfterRollback, specs["onHost"].From = Advisory, FromHost
	var all []Spec
	for _, name := range []string{"well", "advisory", "required", "before", "onHost"} {
		all = append(all, *specs[name])
	}
	results := RunRestored(t.Context(), all, nil, []string{"before"})
	if len(results) != 4 {
		t.Fatalf("got %+v", results)
	}
	for i, want := range []struct{ name, verdict, policy string }{
		{"well", Pass, Required}, {"advisory", Fail, Advisory}, {"required", Fail, Required}, {"before", Fail, Advisory},
	} {
		if r := results[i]; r.Name != want.name || r.Verdict != want.verdict || r.Policy != want.policy {
			t.Errorf("got %+v, want %+v", r, want)
		}
	}
	if notes := results[3].Notes; len(notes) != 1 || !strings.Contains(notes[0], "before the trial") {
		t.Errorf("notes: %q", notes)
	}
	if Judge(AfterRollback, results) != RollbackFailed || Judge(AfterRollback, slices.Delete(results, 2, 3)) != RolledBack {
		t.Errorf("judged wrongly: %+v", results)
	}
}

func TestAdviceIsBounded(t *testing.T) {
	s := Defaults(KindHercules)
	s.Deadline, s.Passes, s.OnUnknown, s.Interval = 10*time.Minute, 50, Retry, 10*time.Second
	got := s.restored()
	if err := got.Validate(); err != nil || LongestDeadline([]Spec{got}) > longestAdvice {
		t.Errorf("it may take %s, %v", LongestDeadline([]Spec{got}), err)
	}
	s.AfterRollback = Required
	if got := s.restored(); got.Deadline != s.Deadline || got.Passes != s.Passes || got.Settle != 0 {
		t.Errorf("a required one is asked as written, without settle and soak: %+v", got)
	}
}

// A rollback has just started the agent, which cannot have been quiet for long.
func TestRestoredAgentNeedsLittleQuiet(t *testing.T) {
	s := Defaults(KindHercules)
	if got := ask[HerculesSpec](s.restored()).Quiet; got != briefQuiet {
		t.Errorf("it must be quiet for %s", got)
	}
	if ask[HerculesSpec](s).Quiet != 45*time.Second {
		t.Error("the spec of the deployment was changed")
	}
}
