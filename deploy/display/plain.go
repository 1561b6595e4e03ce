package display

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// progressEvery is how often a plain log says how far a phase is.
const progressEvery = 5 * time.Second

// plain writes one line per event worth a line, for logs and for ears.
type plain struct {
	mu       sync.Mutex
	settings Settings
	lines    plainLines
	answer   answer
}

func newPlain(s Settings) *plain {
	return &plain{settings: s, lines: newPlainLines(s.Hosts), answer: newAnswer(s.Hosts)}
}

func (d *plain) Event(e event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer.add(e)
	// A story that cannot be written must not stop a deployment.
	_, _ = io.WriteString(d.settings.ErrOut, d.lines.line(e))
}

func (d *plain) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answer.print(d.settings)
}

// plainLines turns events into lines. It remembers only when it last spoke
// about progress, in the time of the events themselves.
type plainLines struct {
	hostWidth int
	spoke     map[string]time.Time
}

func newPlainLines(hosts []string) plainLines {
	width := len("all")
	for _, h := range hosts {
		width = max(width, ansi.StringWidth(Clean(h)))
	}
	return plainLines{hostWidth: min(width, 24), spoke: map[string]time.Time{}}
}

// line returns the line of one event with its newline, or nothing.
func (p plainLines) line(e event.Event) string {
	if e.Plan != nil {
		var all strings.Builder
		for _, line := range PlanLines(*e.Plan) {
			all.WriteString(p.row(e, "plan", line))
		}
		return all.String()
	}
	state, text := p.say(e)
	if state == "" {
		return ""
	}
	return p.row(e, state, text)
}

func (p plainLines) row(e event.Event, state, text string) string {
	host := e.Host
	if host == "" {
		host = "all"
	}
	if e.Profile != "" {
		text = join(" ", "["+Clean(e.Profile)+"]", text)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  %s %s  %s", pad(Clean(host), p.hostWidth), pad(Clean(string(e.Phase)), 9), pad(state, 8), text)
	return strings.TrimRight(b.String(), " ") + "\n"
}

func (p plainLines) say(e event.Event) (state, text string) {
	switch {
	case e.Step != nil:
		return Clean(string(e.Step.Status)), stepText(*e.Step)
	case e.Progress != nil:
		key := e.Host + "\x00" + string(e.Phase)
		if last, spoke := p.spoke[key]; spoke && e.Time.Sub(last) < progressEvery {
			return "", ""
		}
		p.spoke[key] = e.Time
		return "running", join(", ", amount(*e.Progress), oneLine(e.Progress.Activity))
	case e.Line != nil:
		return "|", join(": ", Clean(e.Line.Source), Clean(e.Line.Text))
	case e.Note != nil:
		return Clean(e.Note.Level), oneLine(e.Note.Text)
	case e.Probe != nil:
		p := *e.Probe
		if e.Phase == event.Probing {
			p.Policy = "" // at rest nothing is rolled back
		}
		return "probe", probeText(p)
	case e.Finding != nil:
		return Clean(string(e.Finding.Severity)), findingText(*e.Finding)
	case e.Deadline != nil:
		return "deadline", deadlineText(*e.Deadline)
	default: // the answer tells the outcome
		return "", ""
	}
}

func stepText(s event.Step) string {
	text := oneLine(s.Detail)
	if s.Seconds > 0 {
		text = join(" ", text, "in "+Seconds(s.Seconds))
	}
	return text
}

func probeText(p event.Probe) string {
	text := fmt.Sprintf("%s from %s: %s", Clean(p.Name), Clean(p.From), Clean(p.Verdict))
	if p.AfterRollback {
		text = "after the rollback: " + text
	}
	if p.Verdict != "pass" {
		if p.Policy != "" {
			text += " (" + policyText(p.Policy) + ")"
		}
		if p.Expected != "" {
			text += "; expected " + oneLine(p.Expected)
		}
		if p.Seen != "" {
			text += "; seen " + oneLine(p.Seen)
		}
		for _, note := range p.Notes {
			text += "; note: " + oneLine(note)
		}
	}
	if p.Seconds > 0 {
		text += " in " + Seconds(p.Seconds)
	}
	return text
}

func policyText(policy string) string {
	switch policy {
	case "rollback":
		return "a failure rolls back"
	case "alert":
		return "a failure only alerts"
	case "required":
		return "it is required after a rollback"
	case "advisory":
		return "after a rollback it only advises"
	default:
		return "policy " + Clean(policy)
	}
}

func deadlineText(d event.Deadline) string {
	if d.Alone {
		return fmt.Sprintf("transaction %s is decided by the host itself within %s", Clean(d.ID), countdown(span(d.DeadMan)))
	}
	return fmt.Sprintf("transaction %s goes back by itself in %s unless confirmed", Clean(d.ID), countdown(span(d.Confirm)))
}

// join puts sep between the parts that are not empty.
func join(sep string, parts ...string) string {
	var full []string
	for _, p := range parts {
		if p != "" {
			full = append(full, p)
		}
	}
	return strings.Join(full, sep)
}
