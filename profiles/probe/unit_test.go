package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestUnitKind(t *testing.T) {
	yes, no, zero, one, two := true, false, 0, 1, 2
	minute := func(ago int) int64 { return monotonic() - int64(ago)*time.Minute.Microseconds() }
	running := systemd.Unit{
		ID: "a.service", Load: "loaded", Active: "active", Sub: "running", Result: "success", FileState: "enabled",
		Invocation: "1", ActiveEnter: minute(5), ExecStart: minute(5), After: []string{"b.service", "gone.service"},
	}
	did := systemd.Unit{ID: "a.service", Load: "loaded", Active: "inactive", Sub: "dead", Result: "success", Invocation: "1", ExecStart: minute(3), ExecExit: minute(2)}
	with := func(u systemd.Unit, change func(*systemd.Unit)) systemd.Unit { change(&u); return u }
	b, gone := systemd.Unit{ID: "b.service", Load: "loaded", Names: []string{"b.service", "alias.service"}}, systemd.Unit{ID: "gone.service", Load: "not-found"}
	for name, c := range map[string]struct {
		spec   UnitSpec
		found  systemd.Unit
		before *systemd.Unit
		want   string
	}{
		"runs":                    {UnitSpec{}, running, nil, ""},
		"not there":               {UnitSpec{}, with(gone, func(u *systemd.Unit) { u.ID = "a.service" }), nil, "not-loaded"},
		"wanted away":             {UnitSpec{Load: "not-found"}, systemd.Unit{ID: "a.service", Load: "not-found"}, nil, ""},
		"wanted masked":           {UnitSpec{Load: "masked"}, running, nil, "load"},
		"a job waits":             {UnitSpec{}, with(running, func(u *systemd.Unit) { u.Job = 7 }), nil, "hung"},
		"the job waited before":   {UnitSpec{}, with(running, func(u *systemd.Unit) { u.Job = 7 }), ptr(with(running, func(u *systemd.Unit) { u.Job = 7 })), ClassFailedBefore},
		"failed":                  {UnitSpec{}, with(running, func(u *systemd.Unit) { u.Active, u.Sub, u.Result = "failed", "failed", "signal" }), nil, "failed"},
		"wanted failed":           {UnitSpec{Active: "failed"}, with(running, func(u *systemd.Unit) { u.Active = "failed" }), nil, ""},
		"loops":                   {UnitSpec{}, with(running, func(u *systemd.Unit) { u.Active, u.Sub, u.Result = "activating", "auto-restart", "exit-code" }), nil, "crash-loop"},
		"skipped":                 {UnitSpec{}, with(did, func(u *systemd.Unit) { u.ConditionFailed = true }), nil, "skipped"},
		"skipped on purpose":      {UnitSpec{Condition: &no}, with(did, func(u *systemd.Unit) { u.ConditionFailed = true }), nil, ""},
		"not skipped":             {UnitSpec{Condition: &no}, running, nil, "not-skipped"},
		"must not be skipped":     {UnitSpec{Active: "inactive", Condition: &yes}, with(did, func(u *systemd.Unit) { u.ConditionFailed = true }), nil, "skipped"},
		"inactive, skipped":       {UnitSpec{Active: "inactive"}, with(did, func(u *systemd.Unit) { u.ConditionFailed = true }), nil, ""},
		"oneshot":                 {UnitSpec{Finished: true}, did, nil, ""},
		"oneshot that remains":    {UnitSpec{Finished: true}, with(did, func(u *systemd.Unit) { u.Active, u.Sub = "active", "exited" }), nil, ""},
		"oneshot under way":       {UnitSpec{Finished: true}, with(did, func(u *systemd.Unit) { u.Active, u.ExecStart = "activating", minute(1) }), nil, "unfinished"},
		"oneshot never ran":       {UnitSpec{Finished: true}, with(did, func(u *systemd.Unit) { u.ExecStart, u.ExecExit = 0, 0 }), nil, "unfinished"},
		"ended lately":            {UnitSpec{Finished: true, EndedWithin: time.Hour}, did, nil, ""},
		"ended long ago":          {UnitSpec{Finished: true, EndedWithin: time.Minute}, did, nil, "stale"},
		"never ended":             {UnitSpec{EndedWithin: time.Minute}, running, nil, "stale"},
		"stopped":                 {UnitSpec{}, did, nil, "state"},
		"stopped before":          {UnitSpec{}, did, &did, ClassFailedBefore},
		"stopped by the trial":    {UnitSpec{}, did, &running, "state"},
		"other sub":               {UnitSpec{Sub: "exited"}, running, nil, "state"},
		"result":                  {UnitSpec{Active: "inactive", Result: "success"}, did, nil, ""},
		"other result":            {UnitSpec{Active: "inactive", Result: "success"}, with(did, func(u *systemd.Unit) { u.Result = "resources" }), nil, "result"},
		"file state":              {UnitSpec{FileState: "enabled"}, running, nil, ""},
		"other file state":        {UnitSpec{FileState: "linked"}, running, &running, "file-state"},
		"exit status":             {UnitSpec{Active: "inactive", ExitStatus: &zero}, did, nil, ""},
		"other exit status":       {UnitSpec{Active: "inactive", ExitStatus: &two}, did, nil, "exit-status"},
		"no exit status":          {UnitSpec{ExitStatus: &zero}, running, nil, "exit-status"},
		"same exit status before": {UnitSpec{Active: "inactive", ExitStatus: &two}, did, &did, ClassFailedBefore},
		"up for long enough":      {UnitSpec{MinUptime: time.Minute}, running, nil, ""},
		"up for too short":        {UnitSpec{MinUptime: time.Hour}, running, nil, "uptime"},
		"restarts":                {UnitSpec{MaxRestarts: &one}, with(running, func(u *systemd.Unit) { u.Restarts = 2 }), nil, "restarts"},
		"one restart since":       {UnitSpec{MaxRestarts: &one}, with(running, func(u *systemd.Unit) { u.Restarts = 4 }), ptr(with(running, func(u *systemd.Unit) { u.Restarts = 3 })), ""},
		"counter began anew":      {UnitSpec{MaxRestarts: &one}, with(running, func(u *systemd.Unit) { u.Restarts = 2 }), ptr(with(running, func(u *systemd.Unit) { u.Restarts = 3 })), "restarts"},
		"not restarted":           {UnitSpec{Restarted: &yes}, running, &running, "not-restarted"},
		"restarted":               {UnitSpec{Restarted: &yes}, running, ptr(with(running, func(u *systemd.Unit) { u.Invocation = "0" })), ""},
		"restarted, left alone":   {UnitSpec{Restarted: &no}, running, ptr(with(running, func(u *systemd.Unit) { u.Invocation = "0" })), "restarted"},
		"left alone":              {UnitSpec{Restarted: &no}, running, &running, ""},
		"without a trial":         {UnitSpec{Restarted: &yes}, running, nil, ""},
		"ordered":                 {UnitSpec{After: []string{"b.service"}}, running, nil, ""},
		"ordered after an alias":  {UnitSpec{After: []string{"alias.service"}}, running, nil, ""},
		"dangling":                {UnitSpec{After: []string{"gone.service"}}, running, nil, "dangling-ordering"},
		"not ordered":             {UnitSpec{After: []string{"b.service"}}, with(running, func(u *systemd.Unit) { u.After = nil }), nil, "no-ordering"},
	} {
		s := newStandIn(t)
		for _, u := range []systemd.Unit{c.found, b, gone} {
			s.unit(shown(u))
		}
		for _, alias := range b.Names[1:] {
			s.alias(alias, b.ID)
		}
		var base *Baseline
		if c.before != nil {
			base = &Baseline{Units: map[string]systemd.Unit{c.before.ID: *c.before}}
		}
		probe := quick(KindUnit)
		c.spec.Unit = "a.service"
		*ask[UnitSpec](probe) = c.spec
		if got := runOne(t, probe, s.host(base)); got.Class != c.want || c.want != "" && got.Hint == "" || (c.want == "") != (got.Verdict == Pass) {
			t.Errorf("%s: want %q, got %+v", name, c.want, got)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// shown is a unit as `systemctl show` prints it.
func shown(u systemd.Unit) string {
	condition := "yes"
	if u.ConditionFailed {
		condition = "no"
	}
	return fmt.Sprintf(`Id=%s
Names=%s
LoadState=%s
ActiveState=%s
SubState=%s
Result=%s
InvocationID=%s
NRestarts=%d
ExecMainStatus=%d
UnitFileState=%s
ControlGroup=%s
After=%s
Job=%d
ConditionResult=%s
ConditionTimestampMonotonic=1
ActiveEnterTimestampMonotonic=%d
ExecMainStartTimestampMonotonic=%d
ExecMainExitTimestampMonotonic=%d`, u.ID, strings.Join(append([]string{u.ID}, u.Names...), " "), u.Load, u.Active, u.Sub, u.Result, u.Invocation, u.Restarts,
		u.ExitStatus, u.FileState, u.ControlGroup, strings.Join(u.After, " "), u.Job, condition, u.ActiveEnter, u.ExecStart, u.ExecExit)
}

// PID 1 forgets an inactive unit that nothing refers to, and with it that it ran.
func TestUnitFinishedAndForgotten(t *testing.T) {
	s := newStandIn(t)
	s.unit(shown(systemd.Unit{ID: "a.service", Load: "loaded", Active: "inactive", Sub: "dead", Result: "success"}))
	probe := quick(KindUnit)
	*ask[UnitSpec](probe) = UnitSpec{Unit: "a.service", Finished: true}
	runOne(t, probe, s.host(nil)).want(t, Fail, "unfinished", "never ran")
	entry := `{"MESSAGE":"Finished a.","MESSAGE_ID":"%s","_PID":"1","INVOCATION_ID":"f","__MONOTONIC_TIMESTAMP":"17"}` + "\n"
	s.write("ended", fmt.Sprintf(entry, messageFailed))
	runOne(t, probe, s.host(nil)).want(t, Fail, "unfinished", "")
	s.write("ended", fmt.Sprintf(entry, messageStarted))
	runOne(t, probe, s.host(nil)).want(t, Pass, "", "")
}

func TestUnitValidate(t *testing.T) {
	minus, large := -1, 256
	for want, spec := range map[string]UnitSpec{
		"name of a unit":     {Unit: "a"},
		"load must":          {Unit: "a.service", Load: "here"},
		"active must":        {Unit: "a.service", Active: "up"},
		"sub must":           {Unit: "a.service", Sub: strings.Repeat("x", 65)},
		"min_uptime":         {Unit: "a.service", MinUptime: -1},
		"exit_status":        {Unit: "a.service", ExitStatus: &large},
		"max_restarts":       {Unit: "a.service", MaxRestarts: &minus},
		"exclude":            {Unit: "a.service", Finished: true, Active: "active"},
		"at most 64 units":   {Unit: "a.service", After: make([]string, 65)},
		`"--all" is not the`: {Unit: "a.service", After: []string{"--all"}},
	} {
		if err := spec.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", spec, err, want)
		}
	}
}
