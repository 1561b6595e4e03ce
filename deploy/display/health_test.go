package display

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/event"
)

func probedOutcome() event.Outcome {
	return event.Outcome{Outcome: "unhealthy", Code: 11, Action: "probe", Seconds: 2.1, Probes: []event.Probe{
		{Name: "site", From: "deployer", Verdict: "pass", Policy: "rollback", Expected: "status 200", Notes: []string{"the certificate ends in 9 days"}, Seconds: 0.2},
		{Name: "onepassword-secrets", From: "host", Verdict: "fail", Policy: "rollback", Class: "empty-token",
			Expected: "/etc/opnix-token holds the service account's token", Seen: "it is empty",
			Evidence: "\x1b]0;title\x07ERROR: Token file is empty!", Hint: "opnix token set, then systemctl restart opnix-secrets.service", Seconds: 0.1},
		{Name: strings.Repeat("long", 16), From: "host", Verdict: "unknown", Policy: "alert", Class: "network", Seconds: 1},
	}}
}

func TestAnswerOfAProbe(t *testing.T) {
	a := newAnswer([]string{"web1"})
	o := probedOutcome()
	a.add(event.Event{Host: "web1", Outcome: &o})
	got := a.text(80, style{})
	want := `web1: unhealthy: 1 of 3 probes passed; nothing was changed, in 2.1 s
  PROBE                            FROM      VERDICT          CLASS        TOOK
  site                             deployer  pass             -            0.2 s
    note:     the certificate ends in 9 days
  onepassword-secrets              host      fail             empty-token  0.1 s
    expected: /etc/opnix-token holds the service account's token
    seen:     it is empty
    evidence: \x1b]0;title\x07ERROR: Token file is empty!
    hint:     opnix token set, then systemctl restart opnix-secrets.service
  longlonglonglonglonglonglonglonglonglonglonglonglonglonglonglong
                                   host      unknown (alert)  network      1.0 s
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if painted := a.text(80, style{color: true}); ansi.Strip(painted) != want || painted == want {
		t.Errorf("colour changes more than the colour:\n%s", painted)
	}
	a.onlyBad = true
	if a.text(80, style{}) == "" {
		t.Error("the quiet display does not tell what failed")
	}
}

func TestAnswerOfACheck(t *testing.T) {
	a := newAnswer([]string{"web1"})
	o := event.Outcome{Outcome: "not-ready", Code: 11, Action: "check", Findings: []event.Finding{
		{Name: "token", Severity: event.Obstacle, Cause: "the token file /etc/opnix-token is empty: OpNix would fail", Remedy: "ssh root@web1 opnix token set"},
		{Name: "boots", Severity: event.Warning, Cause: "what the host boots is not known: " + strings.Repeat("why ", 20)},
		{Name: "reboot", Severity: event.Remark, Cause: "another kernel"},
	}}
	a.add(event.Event{Host: "web1", Outcome: &o})
	got := a.text(80, style{})
	for _, want := range []string{
		"web1: not-ready: nothing was changed; 1 failure, 1 warning, 1 note\n",
		"  failure  token\n    cause:    the token file /etc/opnix-token is empty: OpNix would fail\n    remedy:   ssh root@web1 opnix token set\n",
		"  note     reboot\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say\n%s\nbut\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if ansi.StringWidth(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
}

// A watch shows the table where a deployment shows lines, and leaves it to the
// answer at the end.
func TestLiveViewOfAProbe(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := newStory([]string{"web1"})
	s.apply(event.Event{Time: now, Host: "web1", Phase: event.Probing, Step: &event.Step{Status: event.Started}})
	for _, p := range probedOutcome().Probes {
		s.apply(event.Event{Time: now, Host: "web1", Phase: event.Probing, Probe: &p})
	}
	sc := screen{now: now.Add(3 * time.Second), width: 80}
	if live := s.live(sc); !strings.Contains(live, "PROBE") || !strings.Contains(live, "hint:     opnix token set") || !strings.Contains(live, "running") {
		t.Errorf("the live view is\n%s", live)
	}
	o := probedOutcome()
	s.apply(event.Event{Time: now, Host: "web1", Outcome: &o})
	if end := s.epilogue(sc); strings.Contains(end, "empty-token") {
		t.Errorf("told twice:\n%s", end)
	}
}

// Whoever is told that a host is degraded must know what to type.
func TestDegradedHostHasANextCommand(t *testing.T) {
	a := newAnswer([]string{"web1"})
	o := event.Outcome{Outcome: "degraded", Code: 9, Action: "switch", Failed: []event.Probe{{Name: "site", From: "deployer", Verdict: "unknown", Policy: "alert", Class: "dns"}}}
	a.add(event.Event{Host: "web1", Outcome: &o})
	got := a.text(80, style{})
	for _, want := range []string{"did not pass", "hdeploy probe web1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}
