package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// currentSystemLink is what NixOS points to the running toplevel.
const currentSystemLink = "/run/current-system"

// describe is the state of a unit in the words of systemctl.
func describe(u systemd.Unit) string {
	if u.Load != "loaded" {
		return u.ID + " is " + u.Load
	}
	text := fmt.Sprintf("%s is %s/%s", u.ID, u.Active, u.Sub)
	if u.Result != "" && u.Result != "success" {
		text += ", result " + u.Result
	}
	if u.ExitStatus != 0 {
		text += fmt.Sprintf(", exit status %d", u.ExitStatus)
	}
	if u.Job != 0 {
		text += fmt.Sprintf(", job %d queued", u.Job)
	}
	return text
}

// silent is the finding for a systemd that gave no answer.
func silent(expected string, err error) finding {
	return unknown("systemd", expected, "systemd did not answer").because(err.Error())
}

func loadOf(u systemd.Unit) string {
	if u.Load == "" {
		return "not-found"
	}
	return u.Load
}

func failedBefore(expected string, u systemd.Unit, evidence string) finding {
	if evidence == "" {
		evidence = "it failed before the trial already"
	}
	return unknown(ClassFailedBefore, expected, describe(u)).because(evidence)
}

// lastWords is the last line that the unit's processes wrote in its current
// invocation, or nothing.
func (a attempt) lastWords(ctx context.Context, u systemd.Unit) string {
	if u.Invocation == "" {
		return ""
	}
	var last string
	_ = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		if e.message != "" {
			last = e.message
		}
		return true
	}, "--lines=5", "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	return last
}

// FailedUnitsSpec asks that nothing fails which did not fail before.
type FailedUnitsSpec struct {
	// Ignore are names and patterns of units that may fail.
	Ignore []string `json:"ignore,omitempty"`
}

func noNewFailedUnitsKind() kind {
	return kind{
		About: About{
			Kind: KindNoNewFailedUnits, Preset: true, Vantages: []string{FromHost}, Text: "no unit fails that did not fail before, and none restarts again and again",
			Params: []Param{ignoreParam()},
		},
		question: func() Question { return &FailedUnitsSpec{} },
		// A unit that starts and then dies is seen only by looking on.
		defaults: func(s *Spec) { s.OnUnknown, s.Deadline, s.Soak = Rollback, 15*time.Second, 8*time.Second },
	}
}

func (s *FailedUnitsSpec) validate() error { return validIgnore(s.Ignore) }

func (*FailedUnitsSpec) units() []string { return nil }

func (s *FailedUnitsSpec) try(ctx context.Context, a attempt) finding {
	expected := "no unit fails that did not fail before"
	if a.host.Baseline == nil {
		expected = "no unit fails"
	}
	now, err := a.host.Systemd.All(ctx)
	if err != nil {
		return silent(expected, err)
	}
	if len(now) == 0 {
		return silent(expected, fmt.Errorf("systemctl shows no unit"))
	}
	before := value(a.host.Baseline)
	s = &FailedUnitsSpec{Ignore: slices.Concat(s.Ignore, a.elsewhere)}
	bad, ignored := s.sort(NewlyFailing(before, now))
	if len(bad) > 0 {
		return ignored.on(fail("failed", expected, names(bad)).because(a.lastWords(ctx, bad[0])).try("journalctl -u " + bad[0].ID + " -e").about(bad))
	}
	if a.host.Baseline == nil {
		return ignored.on(pass(expected, fmt.Sprintf("none of %d units", len(now))))
	}
	looping, alsoIgnored := s.sort(crashLooping(before, now))
	ignored = append(ignored, alsoIgnored...)
	if len(looping) > 0 {
		return ignored.on(fail("crash-loop", expected, fmt.Sprintf("restarted %d times or more: %s", crashLoop, names(looping))).try("journalctl -u " + looping[0].ID + " -e").about(looping))
	}
	f := ignored.on(pass(expected, fmt.Sprintf("none of %d units", len(now))))
	if len(before.Failed) > 0 {
		f.evidence = "failed before: " + strings.Join(before.Failed, ", ")
	}
	return f
}

func names(units []systemd.Unit) string {
	var text []string
	for _, u := range units {
		text = append(text, describe(u))
	}
	return strings.Join(text, "; ")
}

// CurrentSystemSpec asks that the deployed system is the one that runs.
type CurrentSystemSpec struct{}

func currentSystemKind() kind {
	return kind{
		About:    About{Kind: KindCurrentSystem, Preset: true, Vantages: []string{FromHost}, Text: "the deployed system is the one that runs"},
		question: func() Question { return &CurrentSystemSpec{} },
		defaults: func(s *Spec) { s.OnUnknown, s.Deadline = Rollback, 5*time.Second },
	}
}

func (*CurrentSystemSpec) validate() error { return nil }

func (*CurrentSystemSpec) units() []string { return nil }

func (*CurrentSystemSpec) try(_ context.Context, a attempt) finding {
	return a.systemAt(currentSystemLink)
}

func (a attempt) systemAt(link string) finding {
	expected := a.host.NewSystem + " runs"
	if a.host.NewSystem == "" {
		return unknown("invalid", "a system to compare with", "none was given")
	}
	seen, err := filepath.EvalSymlinks(link)
	if err != nil {
		return fail("no-system", expected, link+" leads nowhere").because(err.Error())
	}
	// The system asked for may itself be a link, as a specialisation is.
	wanted, err := filepath.EvalSymlinks(a.host.NewSystem)
	if os.IsNotExist(err) {
		return fail("no-system", expected, seen+" runs").because(a.host.NewSystem + " does not exist")
	}
	if err != nil || wanted != seen {
		return fail("other-system", expected, seen+" runs").try("somebody else may have switched this host: last -x; journalctl -t nixos -e")
	}
	return pass(expected, seen+" runs")
}
