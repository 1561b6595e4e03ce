package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

func (a attempt) unit(ctx context.Context) finding {
	wanted := *a.Unit
	if wanted.Active == "" {
		wanted.Active = "active"
	}
	expected := wanted.Unit + " is " + wanted.Active
	if wanted.Sub != "" {
		expected += "/" + wanted.Sub
	}
	units, err := a.host.Systemd.Show(ctx, wanted.Unit)
	if err != nil {
		return silent(expected, err)
	}
	u, ok := only(units)
	hint := "systemctl status " + wanted.Unit
	switch {
	case !ok || u.Load != "loaded":
		return fail("not-loaded", expected, describe(systemd.Unit{ID: wanted.Unit, Load: loadOf(u)})).try("systemctl cat " + wanted.Unit)
	case u.Active == wanted.Active && (wanted.Sub == "" || u.Sub == wanted.Sub):
		return pass(expected, describe(u))
	case a.host.Baseline.failedBefore(u):
		return failedBefore(expected, u, "").try(hint)
	case u.Failing():
		return fail("failed", expected, describe(u)).because(a.lastWords(ctx, u)).try("journalctl -u " + u.ID + " -e")
	}
	return fail("state", expected, describe(u)).try(hint)
}

// only is the unit of an answer for one name; an alias is answered with the
// unit's own id.
func only(units map[string]systemd.Unit) (systemd.Unit, bool) {
	for _, u := range units {
		return u, len(units) == 1
	}
	return systemd.Unit{}, false
}

func loadOf(u systemd.Unit) string {
	if u.Load == "" {
		return "not-found"
	}
	return u.Load
}

func failedBefore(expected string, u systemd.Unit, evidence string) finding {
	if evidence == "" {
		evidence = "it failed before the trial, which did not start it again"
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

func (a attempt) noNewFailedUnits(ctx context.Context) finding {
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
	if bad := NewlyFailing(before, now); len(bad) > 0 {
		return fail("failed", expected, names(bad)).because(a.lastWords(ctx, bad[0])).try("journalctl -u " + bad[0].ID + " -e").about(bad)
	}
	if a.host.Baseline == nil {
		return pass(expected, fmt.Sprintf("none of %d units", len(now)))
	}
	if bad := crashLooping(before, now); len(bad) > 0 {
		return fail("crash-loop", expected, fmt.Sprintf("restarted %d times or more: %s", crashLoop, names(bad))).try("journalctl -u " + bad[0].ID + " -e").about(bad)
	}
	f := pass(expected, fmt.Sprintf("none of %d units", len(now)))
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

func (a attempt) currentSystem() finding {
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
