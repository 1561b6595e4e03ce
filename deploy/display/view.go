package display

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// screen is what a view of the story depends on besides the events.
type screen struct {
	now    time.Time
	width  int // columns
	height int // rows; 0 where not known
	st     style
}

// live is the view of a running deployment: at most height-1 lines, each at
// most width columns. Where the full view is too high, each host gets one
// line, and at last only those hosts that are neither waiting nor done.
func (s *story) live(sc screen) string {
	room := sc.height - 1
	fits := func(lines []string) bool { return sc.height <= 0 || len(lines) <= room }

	lines := s.full(sc)
	if !fits(lines) {
		lines = s.short(sc, s.hosts)
	}
	if !fits(lines) {
		busy := slices.DeleteFunc(slices.Clone(s.hosts), func(c *chapter) bool {
			return c.outcome != nil && isGood(*c.outcome) || len(c.phases) == 0
		})
		lines = s.short(sc, busy)
		lines = append(lines, fmt.Sprintf("%d more hosts are waiting or done", len(s.hosts)-len(busy)))
	}
	if !fits(lines) {
		lines = lines[:max(room, 1)]
	}
	return finish(lines, sc)
}

// epilogue is the story as it stays in the scrollback: one line for a host
// that went well, the phases of one that did not, and every warning.
func (s *story) epilogue(sc screen) string {
	var lines []string
	lines = append(lines, s.run.block(sc)...)
	for _, c := range s.hosts {
		if c.outcome != nil && isGood(*c.outcome) {
			lines = append(lines, c.summary(sc)...)
			lines = append(lines, c.noteLines(sc)...)
			continue
		}
		lines = append(lines, sc.st.bold(Clean(c.name)))
		lines = append(lines, c.block(sc)...)
	}
	return finish(lines, sc)
}

// finish cuts every line to the width. The last column stays free: a terminal
// that disagrees about the width of one character must not wrap the line.
func finish(lines []string, sc screen) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(fit(strings.TrimRight(l, " "), sc.width-1))
		b.WriteString("\n")
	}
	return b.String()
}

func (s *story) full(sc screen) []string {
	lines := s.run.block(sc)
	for _, c := range s.hosts {
		title := sc.st.bold(Clean(c.name))
		if word := c.word(); word != "" {
			title += ": " + c.paint(sc.st, word)
		}
		lines = append(lines, title)
		lines = append(lines, c.block(sc)...)
	}
	return lines
}

// short gives every host one line.
func (s *story) short(sc screen, hosts []*chapter) []string {
	var lines []string
	if p := s.run.current(); p != nil && p.status == event.Started {
		lines = append(lines, p.line(sc))
	}
	width := 0
	for _, c := range hosts {
		width = max(width, len([]rune(c.name)))
	}
	for _, c := range hosts {
		name := sc.st.bold(pad(fit(Clean(c.name), 20), min(width, 20)))
		switch p := c.current(); {
		case c.outcome != nil:
			lines = append(lines, name+"  "+c.paint(sc.st, c.word()))
		case p == nil:
			lines = append(lines, name+"  waiting")
		default:
			lines = append(lines, name+"  "+p.line(sc))
		}
	}
	return lines
}

// word is the outcome, or "waiting" before the host's first phase.
func (c *chapter) word() string {
	switch {
	case c.outcome != nil:
		return Clean(c.outcome.Outcome)
	case len(c.phases) == 0:
		return "waiting"
	default:
		return ""
	}
}

func (c *chapter) paint(st style, text string) string {
	switch {
	case c.outcome == nil:
		return text
	case isGood(*c.outcome):
		return st.good(text)
	default:
		return st.bad(text)
	}
}

// block is the phases of a host and, under the one that runs, what it does.
func (c *chapter) block(sc screen) []string {
	var lines []string
	for _, p := range c.phases {
		lines = append(lines, "  "+p.line(sc))
		if p == c.current() && p.status != event.Done {
			lines = append(lines, c.tailOf(p, sc)...)
		}
	}
	lines = append(lines, c.probeLines(sc)...)
	lines = append(lines, c.noteLines(sc)...)
	if !c.deadline.IsZero() {
		left := countdown(c.deadline.Sub(sc.now))
		text := fmt.Sprintf("goes back by itself in %s unless confirmed", left)
		if c.alone {
			text = fmt.Sprintf("decides by itself within %s", left)
		}
		lines = append(lines, "  "+sc.st.warn(text))
	}
	return lines
}

func (c *chapter) tailOf(p *phase, sc screen) []string {
	var lines []string
	if p.progress != nil && p.progress.Activity != "" && p.status == event.Started {
		lines = append(lines, "    now: "+oneLine(p.progress.Activity))
	}
	for _, l := range c.tail {
		lines = append(lines, "    "+sc.st.dim("| "+l))
	}
	return lines
}

func (c *chapter) probeLines(sc screen) []string {
	var lines []string
	switch {
	case c.isProbed() && c.outcome != nil:
		return nil // the answer tells them
	case c.isProbed() && len(c.probes) > 0:
		return c.watched(sc)
	}
	for _, p := range c.probes {
		text := probeText(p)
		switch {
		case p.Verdict == "pass":
		case p.Policy == "alert":
			text = sc.st.warn(text)
		default:
			text = sc.st.bad(text)
		}
		lines = append(lines, "  probe      "+text)
	}
	return lines
}

func (c *chapter) noteLines(sc screen) []string {
	var lines []string
	for _, n := range c.notes {
		level := pad(n.Level, 9)
		if n.Level == "warning" {
			level = sc.st.warn(level)
		}
		for i, text := range Wrap(n.Text, sc.width-14) {
			if i > 0 {
				level = pad("", 9)
			}
			lines = append(lines, "  "+level+"  "+text)
		}
	}
	return lines
}

// summary is a host that went well, in as few lines as its phases need.
func (c *chapter) summary(sc screen) []string {
	var parts []string
	for _, p := range c.phases {
		if p.status == event.Done {
			parts = append(parts, Clean(string(p.name))+" "+Seconds(p.seconds))
		}
	}
	name := Clean(c.name)
	lines := Wrap(join(": ", name, strings.Join(parts, ", ")), sc.width-3)
	for i := range lines {
		if i > 0 {
			lines[i] = "  " + lines[i]
		} else {
			lines[i] = strings.Replace(lines[i], name, sc.st.bold(name), 1)
		}
	}
	return lines
}

// line is one phase: name, state in words, time, and how far it is.
func (p *phase) line(sc screen) string {
	state, paint := string(p.status), sc.st.good
	switch p.status {
	case event.Started:
		state, paint = "running", sc.st.bold
	case event.Failed:
		paint = sc.st.bad
	case event.Skipped:
		paint = sc.st.dim
	case event.Done:
	}
	took := ""
	if p.status != event.Skipped {
		took = p.elapsed(sc.now)
	}
	line := pad(Clean(string(p.name)), 9) + "  " + paint(pad(Clean(state), 7)) + "  " + pad(took, 8)
	if text := p.text(); text != "" {
		line += "  " + text
	}
	return line
}

func (p *phase) text() string {
	if p.status != event.Started || p.progress == nil {
		return p.detail
	}
	rate := ""
	if p.rate > 0 {
		rate = size(int64(p.rate)) + "/s"
	}
	return join(", ", amount(*p.progress), rate)
}
