package display

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// answered shows what a display prints on standard output about outcomes.
func answered(t *testing.T, kind Kind, width int, outcomes ...event.Outcome) string {
	t.Helper()
	var out, errOut bytes.Buffer
	s := Settings{Out: &out, ErrOut: &errOut, Width: width}
	names := []string{"web1", "web2"}[:len(outcomes)]
	s.Hosts = names
	d, err := New(kind, s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range outcomes {
		d.Event(event.Event{Type: "outcome", Host: names[i], Outcome: &outcomes[i]})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestABuildAnswersWithStorePathsAlone(t *testing.T) {
	built := func(path string) event.Outcome {
		return event.Outcome{Outcome: "previewed", Action: "build", Closure: path, Seconds: 2}
	}
	for _, kind := range []Kind{Plain, Quiet} {
		if got := answered(t, kind, 40, built(newSystem), built(oldSystem)); got != newSystem+"\n"+oldSystem+"\n" {
			t.Errorf("%s: %q", kind, got)
		}
		failed := event.Outcome{Outcome: "failed", Action: "build", Code: 3, Closure: newSystem, Failure: &event.Failure{Step: "build", Cause: "no"}}
		got := answered(t, kind, 80, failed)
		if !strings.HasPrefix(got, "web1: failed: ") || strings.Contains(got, "runs now") {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestADryActivationIsGroupedByWhatWouldHappen(t *testing.T) {
	o := event.Outcome{Outcome: "previewed", Action: "dry-activate", Closure: newSystem, Running: oldSystem, Seconds: 2.1, Changes: &event.Changes{
		Stop: []string{"a.service", "b.socket"}, Start: []string{"a.service"}, Restart: []string{"nginx.service"},
		Reload: []string{"dbus.service"}, Keep: []string{"getty@tty1.service"}, Other: []string{"would restart systemd"},
	}}
	want := `web1: previewed: nothing was changed; an activation would touch 4 units, in 2.1
  s
  would stop:     a.service
                  b.socket
  would start:    a.service
  would restart:  nginx.service
  would reload:   dbus.service
  would NOT stop: getty@tty1.service
  it also says:   would restart systemd
`
	for _, kind := range []Kind{Plain, Quiet} {
		if got := answered(t, kind, 80, o); got != want {
			t.Errorf("%s:\n%s", kind, got)
		}
	}
	o.Changes = &event.Changes{}
	if got := answered(t, Plain, 80, o); !strings.Contains(got, "an activation would touch no unit") {
		t.Error(got)
	}
}

// What an outcome means depends on what was wanted.
func TestMeaningsByAction(t *testing.T) {
	for _, c := range []struct {
		o    event.Outcome
		says string
		not  string
	}{
		{event.Outcome{Outcome: "tested", Action: "test", Generation: 3}, "until the next reboot", "generation 3"},
		{event.Outcome{Outcome: "staged", Action: "boot", Generation: 4}, "generation 4 boots next", "runs"},
		{event.Outcome{Outcome: "unchanged", Action: "boot"}, "already boots", "runs"},
		{event.Outcome{Outcome: "unchanged", Action: "test"}, "already runs", "boots"},
		{event.Outcome{Outcome: "unchanged", Action: "switch"}, "already runs and boots", "?"},
		{event.Outcome{Outcome: "degraded", Action: "test", Generation: 3}, "until the next reboot, but", "generation 3"},
		{event.Outcome{Outcome: "degraded", Action: "test", Previous: newSystem, Closure: newSystem}, "already ran", "until"},
		{event.Outcome{Outcome: "rolled-back", Action: "boot"}, "is not booted", "failed"},
		{event.Outcome{Outcome: "previewed", Action: "boot"}, "dry run", "what runs"},
		{event.Outcome{Outcome: "previewed", Action: "push"}, "nothing was copied", "runs"},
	} {
		got := meaningOf("web1", c.o)
		if c.o.Outcome == "staged" {
			got, _, _ = strings.Cut(got, ";")
		}
		if !strings.Contains(got, c.says) || strings.Contains(got, c.not) {
			t.Errorf("%+v: %s", c.o, got)
		}
	}
}
