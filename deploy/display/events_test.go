package display

import (
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// start is when the runs of the tests begin.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// script builds a run event by event on a clock of its own.
type script struct {
	now    time.Time
	events []event.Event
}

func newScript() *script { return &script{now: start} }

func (s *script) after(seconds float64) *script {
	s.now = s.now.Add(time.Duration(seconds * float64(time.Second)))
	return s
}

func (s *script) add(e event.Event) *script {
	e.Time = s.now
	s.events = append(s.events, e)
	return s
}

func (s *script) step(host string, phase event.Phase, status event.Status, detail string, seconds float64) *script {
	return s.add(event.Event{Type: "phase", Host: host, Phase: phase,
		Step: &event.Step{Status: status, Detail: detail, Seconds: seconds}})
}

func (s *script) bytes(host string, done, total int64) *script {
	return s.add(event.Event{Type: "progress", Host: host, Phase: event.Copy,
		Progress: &event.Progress{Done: done, Total: total, Unit: "bytes", Paths: 3, PathsTotal: 14, Activity: "linux-6.12"}})
}

func (s *script) line(host string, phase event.Phase, source, text string) *script {
	return s.add(event.Event{Type: "line", Host: host, Phase: phase, Line: &event.Line{Source: source, Text: text}})
}

func (s *script) note(host, level, text string) *script {
	return s.add(event.Event{Type: "note", Host: host, Note: &event.Note{Level: level, Text: text}})
}

func (s *script) probe(host string, p event.Probe) *script {
	return s.add(event.Event{Type: "probe", Host: host, Phase: event.Verify, Probe: &p})
}

func (s *script) deadline(host string, confirm float64) *script {
	return s.add(event.Event{Type: "deadline", Host: host, Phase: event.Trial,
		Deadline: &event.Deadline{ID: "20261123T120000-7f3a", Confirm: confirm, DeadMan: confirm + 300}})
}

func (s *script) outcome(host string, o event.Outcome) *script {
	return s.add(event.Event{Type: "outcome", Host: host, Outcome: &o})
}

const (
	oldSystem = "/nix/store/00000000000000000000000000000000-nixos-system-web-25.05.20261001.aaaaaaa"
	newSystem = "/nix/store/11111111111111111111111111111111-nixos-system-web-25.05.20261120.bbbbbbb"
)

var failedSite = event.Probe{
	Name: "site", From: "deployer", Verdict: "fail", Policy: "rollback",
	Expected: "status 200", Seen: "status 502",
	Evidence: "GET https://example.org/health\n502 Bad Gateway",
	Hint:     "read journalctl -u nginx on the host", Seconds: 0.3,
}

// running is a run in the middle: one host copies, one waits for the
// confirmation, one has not begun.
func running() *script {
	s := newScript()
	s.step("", event.Evaluate, event.Started, "", 0).after(1.2)
	s.step("", event.Evaluate, event.Done, "3 hosts", 1.2)
	s.step("", event.Build, event.Skipped, "everything is built", 0)
	s.step("web1", event.Preflight, event.Done, "NixOS 25.05, 12 GiB free", 0.4)
	s.step("web1", event.Copy, event.Started, "", 0)
	s.step("web2", event.Trial, event.Started, "", 0).deadline("web2", 60)
	s.line("web2", event.Trial, "activation", "stopping the following units: nginx.service")
	s.note("web2", "warning", "web2 has 1.1 GiB left on /nix; its next deployment may be refused for want of space")
	s.bytes("web1", 1<<20, 12<<20).after(2).bytes("web1", 5<<20, 12<<20).after(1)
	for i := range 5 {
		s.line("web2", event.Trial, "activation", fmt.Sprintf("starting unit %d", i))
	}
	return s
}

// ended is a run with one host that went well and one that went back.
func ended() *script {
	s := running()
	s.step("web1", event.Copy, event.Done, "14 paths, 12.0 MiB", 3).step("web1", event.Commit, event.Done, "", 0.8)
	s.outcome("web1", event.Outcome{Outcome: "committed", Closure: newSystem, Running: newSystem, Boots: newSystem,
		Previous: oldSystem, Generation: 42, Seconds: 12.3, RebootNeeded: true, Transaction: "20261123T120000-7f39"})
	s.step("web2", event.Trial, event.Done, "", 3).step("web2", event.Verify, event.Started, "", 0)
	s.probe("web2", failedSite).after(1).step("web2", event.Verify, event.Failed, "probe site failed", 1)
	s.step("web2", event.Rollback, event.Started, "", 0).after(2).step("web2", event.Rollback, event.Done, "", 2)
	s.outcome("web2", rolledBack())
	return s
}

func rolledBack() event.Outcome {
	return event.Outcome{Outcome: "rolled-back", Code: 7, Closure: newSystem, Running: oldSystem, Previous: oldSystem,
		Boots: oldSystem, Transaction: "20261123T120000-7f3a", Seconds: 9.4, Failed: []event.Probe{failedSite},
		Failure: &event.Failure{Host: "web2", Step: "verify", Cause: "probe site failed",
			Next: "ssh root@web2 journalctl -u nginx -n 50",
			Log:  []string{"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)"}}}
}

// hostileTexts try to move the cursor, to set the title, to clear the screen,
// to reverse the line, to be too long or too wide, or to be no text at all.
var hostileTexts = []string{
	"\x1b[2J\x1b[H\x1b]0;owned\x07\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
	"\x9b31m\u009b2J\u0085next\u2028line\u2029paragraph",
	"\u202egnp.exe\u2066\u200b\ufeff\u061c",
	"line\r\noverwritten\rby\nmore\x00\x7f\x08\x08\x0b\x0c",
	strings.Repeat("x", 1<<15),
	strings.Repeat("漢字", 2000),
	"e" + strings.Repeat("\u0301", 1<<14),
	strings.Repeat("👩\u200d👩\u200d👧\ufe0f", 300),
	"\xff\xfe\xc2\x9b\xc2\xe2\x28\xa1",
	"\x1b[38;5;1mred\x1b[0m and \x1b[",
	strings.Repeat("\x1b[31m", 3000),
	strings.Repeat("a\n", 3000),
}

// hostile is a run in which every text is one of them.
func hostile(text string) *script {
	s := newScript()
	for _, host := range []string{"", "web1", text} {
		for _, phase := range []event.Phase{event.Build, event.Phase(text)} {
			s.step(host, phase, event.Started, text, 0)
			s.add(event.Event{Type: "progress", Host: host, Phase: phase,
				Progress: &event.Progress{Done: -5, Total: 1 << 62, Unit: text, Paths: 1, Activity: text}})
			s.line(host, phase, text, text).note(host, text, text).note(host, "warning", text)
			s.probe(host, event.Probe{Name: text, From: text, Verdict: text, Policy: text, Expected: text, Seen: text})
			s.add(event.Event{Type: "deadline", Host: host, Deadline: &event.Deadline{ID: text, Confirm: 1e300, DeadMan: -1}})
			s.step(host, phase, event.Status(text), text, -3)
		}
		s.step(host, event.Trial, event.Started, text, 0).line(host, event.Trial, text, text)
	}
	s.outcome(text, event.Outcome{Outcome: text, Code: 8, Closure: text, Running: text, Previous: text, Boots: "x" + text,
		Transaction: text, Seconds: 1e300, Failed: []event.Probe{{Name: text, From: text, Verdict: text, Policy: text,
			Expected: text, Seen: text, Evidence: text, Hint: text}},
		Changes: &event.Changes{Stop: []string{text, text}, Keep: []string{text}, Other: []string{text}},
		Failure: &event.Failure{Host: text, Step: text, Cause: text, Next: text, Log: []string{text, text}}})
	return s
}
