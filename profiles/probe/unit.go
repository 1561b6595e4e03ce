package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// UnitSpec asks for the state of one systemd unit. What is empty may be anything,
// if nothing else is said.
type UnitSpec struct {
	// Unit is the unit's name with its suffix.
	Unit string `json:"unit"`
	// Load is the wanted LoadState, "loaded" if empty. Of a unit that is wanted not
	// to be loaded nothing else is asked.
	Load string `json:"load,omitempty"`
	// Active is the wanted ActiveState, "active" if empty and neither Finished nor
	// Condition says otherwise.
	Active string `json:"active,omitempty"`
	// Sub is the wanted SubState, Result the wanted Result, FileState the wanted
	// UnitFileState.
	Sub       string `json:"sub,omitempty"`
	Result    string `json:"result,omitempty"`
	FileState string `json:"file_state,omitempty"`
	// Finished wants a oneshot that ran to its end with success: it is active
	// (exited) with RemainAfterExit=, and inactive without.
	Finished bool `json:"finished,omitempty"`
	// EndedWithin is how long ago the main process may have ended at most.
	EndedWithin time.Duration `json:"ended_within,omitempty"`
	// ExitStatus is the wanted status of the last main process.
	ExitStatus *int `json:"exit_status,omitempty"`
	// MinUptime is how long the unit must have been active.
	MinUptime time.Duration `json:"min_uptime,omitempty"`
	// MaxRestarts is how often systemd may have restarted it by itself since the
	// baseline; where there is none, since somebody started it.
	MaxRestarts *int `json:"max_restarts,omitempty"`
	// Restarted says whether the trial must have started the unit anew, or must
	// not have. Without a trial nothing is asked.
	Restarted *bool `json:"restarted,omitempty"`
	// After names units that it must be ordered after, and that must be loaded:
	// systemd keeps an ordering after a unit that does not exist without a word.
	After []string `json:"after,omitempty"`
	// Condition says whether the unit's conditions must be met; false wants a unit
	// that was skipped.
	Condition *bool `json:"condition,omitempty"`
}

func activeStates() []string {
	return []string{"active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance"}
}

func loadStates() []string {
	return []string{"loaded", "not-found", "bad-setting", "error", "masked"}
}

func unitKind() kind {
	return kind{
		About: About{
			Kind: KindUnit, Vantages: []string{FromHost}, Text: "a systemd unit is in the wanted state, and no job waits for it",
			Params: []Param{
				{Name: "unit", Type: Text, Required: true, Text: "the unit's name with its suffix"},
				{Name: "load", Type: Text, Default: `"loaded"`, Words: loadStates(), Text: "the wanted LoadState"},
				{Name: "active", Type: Text, Default: `"active"`, Words: activeStates(), Text: "the wanted ActiveState"},
				{Name: "sub", Type: Text, Text: "the wanted SubState"},
				{Name: "result", Type: Text, Text: `the wanted Result, for instance "success"`},
				{Name: "file_state", Type: Text, Text: `the wanted UnitFileState, for instance "enabled"`},
				{Name: "finished", Type: Flag, Text: "true: a oneshot that did its work, whether it remains active or not"},
				{Name: "ended_within", Type: Duration, Text: "how long ago its main process may have ended at most"},
				{Name: "exit_status", Type: Number, Text: "the wanted exit status of its last main process"},
				{Name: "min_uptime", Type: Duration, Text: "how long it must have been active"},
				{Name: "max_restarts", Type: Number, Text: "how often systemd may have restarted it by itself since the trial began"},
				{Name: "restarted", Type: Flag, Text: "true: the trial must have started it anew; false: it must not have"},
				{Name: "after", Type: Texts, Text: "loaded units that it must be ordered after"},
				{Name: "condition", Type: Flag, Text: "true: its conditions must be met; false: it must have been skipped"},
			},
		},
		question: func() Question { return &UnitSpec{} },
		defaults: func(s *Spec) { s.OnUnknown = Rollback },
	}
}

func (u *UnitSpec) validate() error {
	errs := []error{ValidUnit(u.Unit)}
	if u.Load != "" && !slices.Contains(loadStates(), u.Load) {
		errs = append(errs, fmt.Errorf("load must be one of %s, not %q", strings.Join(loadStates(), ", "), clean(u.Load)))
	}
	if u.Active != "" && !slices.Contains(activeStates(), u.Active) {
		errs = append(errs, fmt.Errorf("active must be a state of systemd, not %q", clean(u.Active)))
	}
	for key, value := range map[string]string{"sub": u.Sub, "result": u.Result, "file_state": u.FileState} {
		if len(value) > 64 {
			errs = append(errs, fmt.Errorf("%s must be at most 64 bytes", key))
		}
	}
	for key, value := range map[string]time.Duration{"min_uptime": u.MinUptime, "ended_within": u.EndedWithin} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("%s must not be negative", key))
		}
	}
	if u.ExitStatus != nil && (*u.ExitStatus < 0 || *u.ExitStatus > 255) {
		errs = append(errs, fmt.Errorf("exit_status must be from 0 to 255, not %d", *u.ExitStatus))
	}
	if u.MaxRestarts != nil && *u.MaxRestarts < 0 {
		errs = append(errs, fmt.Errorf("max_restarts must not be negative"))
	}
	if u.Finished && u.Active != "" {
		errs = append(errs, errors.New("finished and active exclude each other"))
	}
	if len(u.After) > mostAfter {
		errs = append(errs, fmt.Errorf("after must name at most %d units", mostAfter))
	}
	for _, name := range u.After {
		errs = append(errs, ValidUnit(name))
	}
	return errors.Join(errs...)
}

// mostAfter caps the orderings of one probe.
const mostAfter = 64

func (u *UnitSpec) units() []string { return []string{u.Unit} }

func (u *UnitSpec) try(ctx context.Context, a attempt) finding {
	expected := u.expected()
	units, err := a.host.Systemd.Show(ctx, append([]string{u.Unit}, u.After...)...)
	if err != nil {
		return silent(expected, err)
	}
	found, ok := named(units, u.Unit)
	if !ok {
		found = systemd.Unit{ID: u.Unit, Load: "not-found"}
	}
	now := monotonic()
	if u.Finished && found.ExecStart == 0 && found.Active == "inactive" && found.Job == 0 {
		a.recallRun(ctx, &found)
	}
	class, seen := u.flaw(found, now)
	switch {
	case class == "":
	case a.host.Baseline.failedToo(found), u.flawedBefore(class, found, a.host.Baseline):
		return failedBefore(expected, found, "").try(u.hint(class))
	default:
		f := fail(class, expected, seen).try(u.hint(class))
		if class == "failed" || class == "crash-loop" || class == "hung" {
			f.evidence = a.lastWords(ctx, found)
		}
		return f
	}
	if found.Load != "loaded" {
		return pass(expected, describe(found))
	}
	if class, seen := u.moved(found, a.host.Baseline); class != "" {
		return fail(class, expected, seen).try(u.hint(class))
	}
	if class, seen, hint := u.disorder(found, units); class != "" {
		return fail(class, expected, seen).try(hint)
	}
	if up := age(now, found.ActiveEnter); u.MinUptime > 0 && (found.Active != "active" || up < u.MinUptime) {
		return fail("uptime", expected, fmt.Sprintf("%s, for %s", describe(found), up.Round(time.Second))).try(u.hint("uptime"))
	}
	return pass(expected, describe(found))
}

// expected is what is asked, in words.
func (u *UnitSpec) expected() string {
	if u.wantedLoad() != "loaded" {
		return u.Unit + " is " + u.Load
	}
	text := u.Unit + " is " + u.wantedActive()
	if u.Finished {
		text = u.Unit + " has done its work"
	}
	if u.skipped() {
		text = u.Unit + " is skipped by its conditions"
	}
	if u.Sub != "" {
		text += "/" + u.Sub
	}
	for _, more := range []struct {
		asked bool
		text  string
	}{
		{u.Result != "", "result " + u.Result},
		{u.FileState != "", u.FileState},
		{u.ExitStatus != nil, fmt.Sprintf("exit status %d", value(u.ExitStatus))},
		{u.EndedWithin > 0, fmt.Sprintf("ended within %s", u.EndedWithin)},
		{u.MinUptime > 0, fmt.Sprintf("for at least %s", u.MinUptime)},
		{u.MaxRestarts != nil, fmt.Sprintf("restarted by itself at most %d times", value(u.MaxRestarts))},
		{u.Restarted != nil && *u.Restarted, "started anew"},
		{u.Restarted != nil && !*u.Restarted, "not started anew"},
		{len(u.After) > 0, "after " + strings.Join(u.After, ", ")},
	} {
		if more.asked {
			text += ", " + more.text
		}
	}
	return text
}

func (u *UnitSpec) wantedLoad() string {
	if u.Load == "" {
		return "loaded"
	}
	return u.Load
}

// wantedActive is empty where it does not matter.
func (u *UnitSpec) wantedActive() string {
	if u.Active == "" && !u.Finished && !u.skipped() {
		return "active"
	}
	return u.Active
}

func (u *UnitSpec) skipped() bool { return u.Condition != nil && !*u.Condition }

// flaw is what is wrong with the state of a unit, whoever is to blame.
func (u *UnitSpec) flaw(found systemd.Unit, now int64) (class, seen string) {
	seen = describe(found)
	switch {
	case found.Load != u.wantedLoad() && u.wantedLoad() == "loaded":
		return "not-loaded", seen
	case found.Load != u.wantedLoad():
		return "load", seen
	case found.Load != "loaded":
		return "", ""
	case found.Job != 0:
		return "hung", seen
	case found.Failing() && u.Active != found.Active:
		if found.Active == "failed" {
			return "failed", seen
		}
		return "crash-loop", seen
	case found.ConditionFailed && u.Condition != nil && *u.Condition,
		found.ConditionFailed && !u.skipped() && (u.Finished || u.wantedActive() != found.Active):
		return "skipped", seen + ", a condition of it was not met"
	case u.skipped() && (!found.ConditionFailed || found.Active == "active"):
		return "not-skipped", seen
	case u.Finished && !finished(found):
		return "unfinished", seen + neverRan(found)
	case u.wantedActive() != "" && found.Active != u.wantedActive(), u.Sub != "" && found.Sub != u.Sub:
		return "state", seen
	case u.Result != "" && found.Result != u.Result:
		return "result", seen + ", result " + found.Result
	case u.ExitStatus != nil && (found.ExitStatus != *u.ExitStatus || found.ExecExit == 0):
		return "exit-status", fmt.Sprintf("%s, exit status %d%s", seen, found.ExitStatus, neverRan(found))
	case u.FileState != "" && found.FileState != u.FileState:
		return "file-state", seen + ", its file is " + found.FileState
	case u.EndedWithin > 0 && (found.ExecExit == 0 || age(now, found.ExecExit) > u.EndedWithin):
		return "stale", seen + endedAgo(found, now)
	}
	return "", ""
}

// recallRun asks the journal for the last run of a unit that PID 1 knows nothing
// of: it forgets inactive units that no other one refers to.
func (a attempt) recallRun(ctx context.Context, u *systemd.Unit) {
	_ = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
		u.ExecStart, u.ExecExit = e.monotonic, e.monotonic
		u.Result, u.Invocation = "exit-code", e.invocation
		if e.messageID == messageStarted {
			u.Result = "success"
		}
		return true
	}, "--boot", "--lines=1", "_PID=1", "MESSAGE_ID="+messageStarted, "MESSAGE_ID="+messageFailed, "UNIT="+u.ID)
}

// finished says whether the unit ran to its end and did what it had to: systemd
// knows when the main process of its last run ended, and that run's result.
func finished(u systemd.Unit) bool {
	ended := u.ExecExit != 0 && u.ExecExit >= u.ExecStart
	return ended && u.Result == "success" && (u.Active == "inactive" || u.Active == "active" && u.Sub == "exited")
}

func neverRan(u systemd.Unit) string {
	if u.ExecStart == 0 {
		return ", it never ran"
	}
	return ""
}

func endedAgo(u systemd.Unit, now int64) string {
	if u.ExecExit == 0 {
		return ", its main process never ended"
	}
	return fmt.Sprintf(", its main process ended %s ago", age(now, u.ExecExit).Round(time.Second))
}

// age is how long ago an instant of CLOCK_MONOTONIC in µs was.
func age(now, then int64) time.Duration {
	return time.Duration(now-then) * time.Microsecond
}

// flawedBefore says whether the unit was in the same state before the trial, which
// has not touched it since. What comes with the unit's file is the new system's
// doing, and a unit that never ran in this boot has nothing to be known by.
func (u *UnitSpec) flawedBefore(class string, found systemd.Unit, b *Baseline) bool {
	if b == nil || !b.untouched(found) {
		return false
	}
	before := b.Units[found.ID]
	switch class {
	case "hung":
		return before.Job == found.Job
	case "state", "result":
		return before.Active == found.Active && before.Sub == found.Sub && before.Result == found.Result
	case "exit-status":
		return before.ExitStatus == found.ExitStatus && before.Active == found.Active
	}
	return false
}

// moved is what the trial did to the unit and should not have, or the other way
// round.
func (u *UnitSpec) moved(found systemd.Unit, b *Baseline) (class, seen string) {
	if n := b.restartsOf(found); u.MaxRestarts != nil && n > *u.MaxRestarts {
		return "restarts", fmt.Sprintf("%s, restarted by itself %d times", describe(found), n)
	}
	if u.Restarted == nil || b == nil {
		return "", ""
	}
	anew := found.Invocation != "" && !b.untouched(found)
	switch {
	case anew && !*u.Restarted:
		return "restarted", describe(found) + ", started anew by the trial"
	case !anew && *u.Restarted:
		return "not-restarted", describe(found) + ", not started anew by the trial"
	}
	return "", ""
}

// disorder is an ordering that does not hold: systemd says nothing of either.
func (u *UnitSpec) disorder(found systemd.Unit, units map[string]systemd.Unit) (class, seen, hint string) {
	for _, name := range u.After {
		other, ok := named(units, name)
		if !ok || other.Load != "loaded" {
			return "dangling-ordering", fmt.Sprintf("%s, and %s is %s", describe(found), name, loadOf(other)), "systemctl cat " + name
		}
		if !slices.Contains(found.After, other.ID) && !slices.Contains(found.After, name) {
			return "no-ordering", fmt.Sprintf("%s is not ordered after %s", found.ID, name), "systemctl show -p After " + found.ID
		}
	}
	return "", "", ""
}

func (u *UnitSpec) hint(class string) string {
	switch class {
	case "not-loaded", "load", "file-state":
		return "systemctl cat " + u.Unit
	case "hung":
		return "systemctl list-jobs --after"
	case "failed", "crash-loop", "restarts", "restarted", "exit-status", "unfinished":
		return "journalctl -u " + u.Unit + " -e"
	}
	return "systemctl status " + u.Unit
}

// named finds the unit that a name stands for: an alias is answered with the
// unit's own id.
func named(units map[string]systemd.Unit, name string) (systemd.Unit, bool) {
	if u, ok := units[name]; ok {
		return u, true
	}
	for _, u := range units {
		if slices.Contains(u.Names, name) {
			return u, true
		}
	}
	return systemd.Unit{}, false
}
