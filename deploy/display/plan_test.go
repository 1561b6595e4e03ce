package display

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
)

func TestPlanLines(t *testing.T) {
	for _, c := range []struct {
		name string
		plan event.Plan
		want []string
	}{
		{"confirmed", event.Plan{From: "/new", FromGeneration: 9, To: "/old", Generation: 7, Version: "25.05", Verdict: "confirmed",
			ConfirmedBy: "ann@laptop", ConfirmedAt: start, Rejects: "/new"},
			[]string{"leaves  generation 9, /new", "goes to generation 7, /old (25.05)", "confirmed healthy", "ann@laptop", "no person watches"}},
		{"unproven", event.Plan{From: "/new", To: "/old", Verdict: "unproven", RebootNeeded: true, Skipped: []event.PassedOver{{System: "/bad", Generation: 8, Why: "it was rejected\non this host"}}},
			[]string{"goes to /old", "unproven", "not to  generation 8, /bad: it was rejected on this host", "after a reboot"}},
		{"rejected", event.Plan{From: "/new", To: "/bad", Verdict: "rejected"}, []string{"rejected"}},
		{"a deployment", event.Plan{From: "/new", To: "/old", Verdict: "previous", Aborts: "abcd1234", AbortsOf: "bob@desk"},
			[]string{"stops   the deployment abcd1234 by bob@desk", "ran before that deployment"}},
		{"hostile", event.Plan{From: "/\x1b[31mnew", To: "/o\rld", Version: "\x07", ConfirmedBy: "\x1b]0;x", Verdict: "confirmed", ConfirmedAt: start}, nil},
	} {
		got := strings.Join(PlanLines(c.plan), "\n")
		for _, word := range c.want {
			if !strings.Contains(got, word) {
				t.Errorf("%s: it does not say %q:\n%s", c.name, word, got)
			}
		}
		if strings.ContainsAny(got, "\x1b\r\x07") {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// Every display for people tells the plan.
func TestPlanIsTold(t *testing.T) {
	plan := event.Event{Time: start, Type: "plan", Host: "web1", Plan: &event.Plan{From: "/new", To: "/old", Verdict: "unproven"}}
	if got := newPlainLines([]string{"web1"}).line(plan); strings.Count(got, "web1 ") != 3 || !strings.Contains(got, "goes to /old") {
		t.Errorf("plain:\n%s", got)
	}
	s := newStory([]string{"web1"})
	s.apply(plan)
	if notes := s.hosts[0].notes; len(notes) != 3 || notes[1].Text != "goes to /old" {
		t.Errorf("terminal: %v", notes)
	}
	var out bytes.Buffer
	d := newJSON(Settings{Out: &out, ErrOut: &out, Hosts: []string{"web1"}})
	d.Event(plan)
	if err := d.Close(); err != nil || !strings.Contains(out.String(), `"plan":{"from":"/new","to":"/old","verdict":"unproven"}`) {
		t.Errorf("json: %s, %v", out.String(), err)
	}
}

func TestWayBackThatWasAskedForIsNoFailure(t *testing.T) {
	asked := meaningOf("web1", event.Outcome{Outcome: "rolled-back"})
	failed := meaningOf("web1", event.Outcome{Outcome: "rolled-back", Code: 7})
	if asked == failed || !strings.Contains(asked, "as asked") {
		t.Errorf("%q and %q", asked, failed)
	}
}
