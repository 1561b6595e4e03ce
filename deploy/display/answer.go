package display

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
)

const (
	logKeep      = 20 // lines of a failure's log
	causeKeep    = 40 // lines of a cause: Nix explains itself at length
	evidenceKeep = 8
	journalKeep  = 8 // lines of a unit: more would push the cause off the screen
)

// answer is the end of a run in words: one line for a host that is where it
// should be, and everything a tired person needs for one that is not.
type answer struct {
	hosts    []string
	outcomes map[string]event.Outcome
	onlyBad  bool
}

func newAnswer(hosts []string) answer {
	return answer{hosts: slices.Clone(hosts), outcomes: map[string]event.Outcome{}}
}

// add remembers an outcome; every other event is not part of the answer.
func (a *answer) add(e event.Event) {
	if e.Outcome == nil || e.Host == "" {
		return
	}
	if !slices.Contains(a.hosts, e.Host) {
		a.hosts = append(a.hosts, e.Host)
	}
	a.outcomes[e.Host] = *e.Outcome
}

// print writes the answer to standard output.
func (a *answer) print(s Settings) error {
	text := a.text(s.width(), style{color: s.Color && s.OutTTY})
	if text == "" {
		return nil
	}
	if _, err := io.WriteString(s.Out, text); err != nil {
		return fmt.Errorf("write to standard output: %v", err)
	}
	return nil
}

func (a *answer) text(width int, st style) string {
	if len(a.outcomes) == 0 {
		return "" // the run ended before any host did; the caller says why
	}
	p := page{width: max(width, minWidth), st: st}
	good := 0
	told := map[string]string{}
	for _, host := range a.hosts {
		o, known := a.outcomes[host]
		switch {
		case !known:
			p.headline(st.bad, Clean(host), "no outcome", "the run ended before it could say anything about this host")
		case asksHealth(o):
			if isGood(o) {
				good++
			}
			if !a.onlyBad || !isGood(o) {
				p.health(Clean(host), o, told)
			}
		case isGood(o):
			good++
			if !a.onlyBad || isAnswer(o) {
				p.good(Clean(host), o)
			}
		default:
			p.report(Clean(host), o, told)
		}
	}
	if len(a.hosts) > 1 && !(good == len(a.hosts) && (a.onlyBad || a.bare())) {
		p.line(0, "", fmt.Sprintf("%d of %s where they should be.", good, plural(len(a.hosts), "host is", "hosts are")))
	}
	return p.b.String()
}

func isGood(o event.Outcome) bool {
	return o.Code == 0 && o.Failure == nil && len(o.Failed) == 0
}

// isAnswer says whether the command was given for what it prints, so that even the
// quiet display prints it.
func isAnswer(o event.Outcome) bool { return o.Action == "build" || o.Changes != nil }

// bare says whether nothing is wanted but store paths, for a program to read.
func (a *answer) bare() bool {
	for _, o := range a.outcomes {
		if o.Action != "build" {
			return false
		}
	}
	return true
}

// page lays out the answer in lines of one width.
type page struct {
	b     strings.Builder
	width int
	st    style
}

// line writes text after a label, continued under itself.
func (p *page) line(indent int, label, text string) {
	hang := indent + len(label)
	for i, l := range Wrap(text, p.width-hang) {
		lead := strings.Repeat(" ", hang)
		if i == 0 {
			lead = strings.Repeat(" ", indent) + label
		}
		p.b.WriteString(lead + l + "\n")
	}
}

// field writes "  label:  text" with the texts of one host aligned.
func (p *page) field(label, text string) {
	if text != "" {
		p.line(2, pad(label+":", 14), text)
	}
}

// headline states the outcome: host, the outcome's word, and what it means.
func (p *page) headline(paint func(string) string, host, word, meaning string) {
	plainHead := host + ": " + word + ": "
	for i, l := range Wrap(plainHead+meaning, p.width) {
		if rest, whole := strings.CutPrefix(l, plainHead); i == 0 && whole {
			l = p.st.bold(host) + ": " + paint(word) + ": " + rest
		}
		if i > 0 {
			l = "  " + strings.Join(Wrap(l, p.width-2), "\n  ")
		}
		p.b.WriteString(l + "\n")
	}
}

// good is the whole report about a host that is where it should be.
func (p *page) good(host string, o event.Outcome) {
	if o.Action == "build" {
		for _, profile := range o.Profiles {
			p.b.WriteString(Clean(profile.Closure) + "\n")
		}
		if len(o.Profiles) == 0 {
			p.b.WriteString(Clean(o.Closure) + "\n")
		}
		return
	}
	meaning := meaningOf(host, o)
	if o.Seconds > 0 {
		meaning += ", in " + Seconds(o.Seconds)
	}
	p.headline(p.st.good, host, Clean(o.Outcome), meaning)
	if o.Reach != nil {
		p.line(2, "", Clean(o.Reach.Summary))
		p.looks(*o.Reach)
	}
	if o.RebootNeeded {
		p.line(2, "", p.st.warn("A reboot is needed")+" before its new kernel runs.")
	}
	if o.Changes != nil {
		p.changes(*o.Changes)
	}
}

// looks names what was not proven of what a host looked at.
func (p *page) looks(r event.Reach) {
	for _, look := range r.Looks {
		if look.State != "proven" && look.Name != "inbound" {
			p.line(4, "", join(": ", Clean(look.Name), Clean(look.State), Clean(look.Detail)))
		}
	}
}

// changes lists what an activation would do, each kind under its own words.
func (p *page) changes(c event.Changes) {
	for _, kind := range []struct {
		label string
		units []string
	}{
		{"would stop:", c.Stop}, {"would start:", c.Start}, {"would restart:", c.Restart}, {"would reload:", c.Reload},
		{"would NOT stop:", c.Keep},
	} {
		label := kind.label
		for _, unit := range kind.units {
			p.line(2, pad(label, 16), Clean(unit))
			label = ""
		}
	}
	label := "it also says:"
	for _, line := range c.Other {
		p.line(2, pad(label, 16), Clean(line))
		label = ""
	}
}

// report is everything about a host that a person must know something about.
func (p *page) report(host string, o event.Outcome, told map[string]string) {
	paint := p.st.bad
	if o.Code == 9 { // degraded
		paint = p.st.warn
	}
	p.headline(paint, host, Clean(o.Outcome), meaningOf(host, o))
	if o.Failure != nil {
		p.cause(host, *o.Failure, told)
	}
	if o.Action != "build" {
		p.systems(o)
	}
	if o.Reach != nil {
		p.field("reachable", Clean(o.Reach.Summary))
		p.looks(*o.Reach)
	}
	p.field("transaction", Clean(o.Transaction))
	if o.RebootNeeded {
		p.field("reboot", "needed before its new kernel runs")
	}
	if o.Seconds > 0 {
		p.field("took", Seconds(o.Seconds))
	}
	for _, probe := range slices.Concat(o.Failed, o.AfterRollback) {
		p.probe(probe)
	}
	p.journal(o.Journal)
	if o.Failure != nil {
		p.log(o.Failure.Log)
		p.next(o.Failure.Next)
	} else if o.Code == 9 {
		p.next("hdeploy probe " + host + "  # asks them again")
	}
}

// cause says why. What broke every host alike is told once.
func (p *page) cause(host string, f event.Failure, told map[string]string) {
	key := f.Step + "\x00" + f.Cause
	if first, again := told[key]; again {
		p.field("cause", "the same as for "+first)
		return
	}
	told[key] = host
	lines := cleanLines(f.Cause, causeKeep)
	if len(lines) == 1 {
		p.field("cause", join(": ", Clean(f.Step), lines[0]))
		return
	}
	p.field("cause", Clean(f.Step))
	p.block(lines)
}

// systems says what runs and what boots: first in words, then the path, on a
// line of its own because it is long and meant to be copied.
func (p *page) systems(o event.Outcome) {
	switch {
	case o.Running == "":
		p.field("runs now", "not known")
	case o.Running == o.Closure:
		p.field("runs now", "the wanted system")
	case o.Running == o.Previous:
		p.field("runs now", "what ran before")
	default:
		p.field("runs now", "neither the wanted system nor what ran before")
	}
	p.path(o.Running)
	switch {
	case o.Boots == "" || o.Boots == "unknown":
		p.field("boots next", "not known")
	case o.Boots == o.Running:
		p.field("boots next", "the same")
	case o.Boots == o.Closure:
		p.field("boots next", "the wanted system")
	default:
		p.field("boots next", "another system than the one that runs")
		p.path(o.Boots)
	}
	if o.Closure != "" && o.Running != o.Closure {
		p.field("wanted", "the new system")
		p.path(o.Closure)
	}
}

func (p *page) path(path string) {
	if path != "" {
		p.line(4, "", Clean(path))
	}
}

func (p *page) probe(probe event.Probe) {
	verdict := "failed"
	if probe.Verdict == "unknown" {
		verdict = "could not tell"
	}
	if probe.AfterRollback {
		verdict += " after the rollback"
	}
	if probe.Class != "" {
		verdict += " (" + Clean(probe.Class) + ")"
	}
	p.field("probe", fmt.Sprintf("%s: %s, asked from %s; %s",
		Clean(probe.Name), verdict, Clean(probe.From), policyText(probe.Policy)))
	for _, part := range []struct{ label, text string }{
		{"expected: ", probe.Expected}, {"seen:     ", probe.Seen},
		{"evidence: ", probe.Evidence}, {"hint:     ", probe.Hint},
	} {
		if part.text == "" {
			continue
		}
		label := part.label
		for _, line := range cleanLines(part.text, evidenceKeep) {
			p.line(4, label, line)
			label = strings.Repeat(" ", len(label))
		}
	}
	for _, note := range probe.Notes {
		p.line(4, "note:     ", Clean(note))
	}
}

// next is what to type, which may be lines to put into a file.
func (p *page) next(text string) {
	if text == "" {
		return
	}
	label := "next:"
	for _, line := range cleanLines(text, evidenceKeep) {
		p.line(2, pad(label, 14), line)
		label = ""
	}
}

func (p *page) log(lines []string) {
	if len(lines) == 0 {
		return
	}
	p.field("log", "its last lines")
	p.block(cleanLines(strings.Join(lines, "\n"), logKeep))
}

// journal is what failed units said, before they were stopped.
func (p *page) journal(units []event.UnitLog) {
	for _, u := range units {
		p.field("journal", Clean(u.Unit)+", its last lines")
		p.block(cleanLines(strings.Join(u.Lines, "\n"), journalKeep))
	}
}

// block writes foreign lines one by one, marked as somebody else's words.
func (p *page) block(lines []string) {
	for _, line := range lines {
		if line == "" {
			p.b.WriteString("    |\n")
			continue
		}
		p.line(4, "| ", line)
	}
}

// meaningOf says an outcome in words. Unknown words come from a newer engine;
// their meaning is then left to the code.
func meaningOf(host string, o event.Outcome) string {
	wanted := "the new system"
	if o.Generation > 0 {
		wanted = fmt.Sprintf("generation %d", o.Generation)
	}
	switch o.Outcome {
	case "healthy", "unhealthy", "ready", "not-ready":
		return healthMeaning(o)
	case "unchanged":
		return unchangedMeaning(o)
	case "committed":
		if o.Reach != nil {
			return wanted + " runs, was judged by the host itself, and boots next"
		}
		return wanted + " runs, was confirmed, and boots next"
	case "degraded":
		return degradedMeaning(o, wanted)
	case "reboot-required":
		return wanted + " boots next; it cannot be switched to while running, so reboot " + host
	case "tested":
		return "the new system runs until the next reboot, and was confirmed; what boots was left alone"
	case "rebooted":
		return "it was rebooted, and runs what it boots"
	case "staged":
		return wanted + " boots next; what runs now was left alone"
	case "pushed":
		return "the system was copied to it; nothing else was touched"
	case "previewed":
		return previewMeaning(o)
	case "rolled-back":
		if o.Action == "boot" {
			return "the new system is not booted; the host runs and boots what it did before"
		}
		if o.Code == 0 {
			return "the deployment was stopped as asked; the host is back on what it ran before"
		}
		if o.Action == "rollback" {
			return "the rollback did not hold; the host runs and boots what it was to leave"
		}
		return "the new system failed; the host is back on what it ran before"
	case "rollback-failed":
		if o.Running != "" && o.Running == o.Previous && slices.ContainsFunc(o.AfterRollback, isRequired) {
			return "the new system failed; the host is back on what it ran before, but a probe that is required then did not pass: look at it now"
		}
		return "the new system failed, and the host was not seen to run what it had before: look at it now"
	case "kept":
		return "the new system failed and, as asked, was not rolled back: look at it now"
	case "refused":
		return "a check said no; nothing was changed"
	case "unreachable":
		return "no connection; nothing was changed"
	case "failed":
		return "nothing was changed"
	case "interrupted":
		return "stopped as asked; below is how the host was left"
	case "unknown":
		return "nobody could say what the host runs: look at it now"
	case "":
		return "no outcome was reported"
	default:
		return fmt.Sprintf("exit code %d", o.Code)
	}
}

func isRequired(p event.Probe) bool { return p.Policy == "required" }

func unchangedMeaning(o event.Outcome) string {
	switch o.Action {
	case "boot":
		return "it already boots this system; nothing was touched"
	case "test":
		return "it already runs this system; nothing was touched"
	}
	return "it already runs and boots this system; nothing was touched"
}

func degradedMeaning(o event.Outcome, wanted string) string {
	switch {
	case o.Action == "reboot":
		return "it runs what it boots, but " + failedProbes(o)
	case o.Previous != "" && o.Previous == o.Closure:
		return "it already ran this system and nothing was touched, but " + failedProbes(o)
	case o.Action == "test":
		return "the new system runs until the next reboot, but " + failedProbes(o)
	}
	return wanted + " runs and boots next, but " + failedProbes(o)
}

func failedProbes(o event.Outcome) string {
	return plural(len(o.Failed), "probe that only alerts did not pass", "probes that only alert did not pass")
}

func previewMeaning(o event.Outcome) string {
	switch {
	case o.Action == "build":
		return "built here; no host was contacted"
	case o.Changes != nil && o.Changes.Count() == 0:
		return "nothing was changed; an activation would touch no unit"
	case o.Changes != nil:
		return "nothing was changed; an activation would touch " + plural(o.Changes.Count(), "unit", "units")
	case o.Action == "boot":
		return "dry run, nothing was changed; a boot would change what boots next"
	case o.Action == "push":
		return "dry run, nothing was copied"
	case strings.Contains(o.Action, "reboot"):
		return "dry run, nothing was changed, and the host was not rebooted"
	}
	if o.Closure != "" && o.Closure == o.Running {
		return "dry run; it already runs this system"
	}
	return "dry run, nothing was changed; a switch would change what runs"
}
