package probe

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// before is the baseline that a stand-in shows now.
func (s *standIn) before() *Baseline {
	s.t.Helper()
	b, err := Take(s.t.Context(), systemd.Manager{Bin: s.dir})
	if err != nil {
		s.t.Fatal(err)
	}
	return &b
}

func TestTake(t *testing.T) {
	s := newStandIn(t)
	s.show("all.show")
	s.change("record.service", "ActiveState=failed", "SubState=failed", "Result=exit-code")
	s.write("last", recorded(t, "odd.json"))
	b := s.before()
	if len(b.Units) < 50 || b.Units["multi-user.target"].Load != "loaded" {
		t.Errorf("%d units", len(b.Units))
	}
	if want := []string{"record.service"}; !slices.Equal(b.Failed, want) {
		t.Errorf("failed: %v, want %v", b.Failed, want)
	}
	if !slices.Contains(b.ActiveTargets, "basic.target") || slices.Contains(b.ActiveTargets, "emergency.target") {
		t.Errorf("targets: %v", b.ActiveTargets)
	}
	if len(b.Jobs) != 5 || !slices.IsSorted(b.Jobs) {
		t.Errorf("jobs: %v", b.Jobs)
	}
	if !strings.HasPrefix(b.JournalCursor, "s=") || len(b.BootID) != 36 || b.Monotonic <= 0 {
		t.Errorf("cursor %q, boot %q, clock %d", b.JournalCursor, b.BootID, b.Monotonic)
	}
	if calls := strings.Count(s.calls(), "\n"); calls != 4 {
		t.Errorf("%d processes, want 4:\n%s", calls, s.calls())
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var back Baseline
	if err := json.Unmarshal(text, &back); err != nil || len(back.Units) != len(b.Units) {
		t.Errorf("JSON: %v", err)
	}
}

func TestTakeWithoutAnswers(t *testing.T) {
	s := newStandIn(t)
	s.show("good.show")
	s.write("broken-journal", "")
	if b, err := Take(t.Context(), systemd.Manager{Bin: s.dir}); err != nil || b.JournalCursor != "" {
		t.Errorf("without a journal: %v, %q", err, b.JournalCursor)
	}
	s.write("broken", "")
	if _, err := Take(t.Context(), systemd.Manager{Bin: s.dir}); err == nil || !strings.Contains(err.Error(), "connect to bus") {
		t.Errorf("without systemd: %v", err)
	}
	hung := newStandIn(t)
	hung.write("hang", "")
	hung.write("hang-journal", "")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Take(ctx, systemd.Manager{Bin: hung.dir}); err == nil {
		t.Error("a hanging systemd is no baseline")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if _, err := Take(t.Context(), systemd.Manager{Bin: newStandIn(t).dir}); err == nil {
		t.Error("no units are no baseline")
	}
}

func TestNewlyFailing(t *testing.T) {
	failed := func(id string) systemd.Unit {
		return systemd.Unit{ID: id, Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"}
	}
	fine := func(id string) systemd.Unit {
		return systemd.Unit{ID: id, Load: "loaded", Active: "active", Sub: "running", Result: "success"}
	}
	units := func(list ...systemd.Unit) map[string]systemd.Unit {
		m := map[string]systemd.Unit{}
		for _, u := range list {
			m[u.ID] = u
		}
		return m
	}
	waiting := systemd.Unit{ID: "w.service", Active: "activating", Sub: "auto-restart", Result: "exit-code"}
	polling := systemd.Unit{ID: "p.service", Active: "activating", Sub: "auto-restart", Result: "success"}
	for _, c := range []struct {
		name        string
		before, now map[string]systemd.Unit
		want        string
	}{
		{"nothing", units(fine("a.service")), units(fine("a.service")), ""},
		{"fails now", units(fine("a.service")), units(failed("a.service")), "a.service"},
		{"is new and fails", nil, units(failed("b.service"), failed("a.service")), "a.service b.service"},
		{"failed before", units(failed("a.service")), units(failed("a.service")), ""},
		{"waits to restart", units(fine("w.service")), units(waiting), "w.service"},
		{"restarts on success", units(fine("p.service")), units(polling), ""},
		{"was waiting and failed for good", units(waiting), units(failed("w.service")), ""},
		{"our own", nil, units(failed("hdeploy-x.service"), failed("hdeploy-x.timer")), ""},
		{"only named like ours", nil, units(failed("hdeployer.service"), failed("hdeploy-data.mount")), "hdeploy-data.mount hdeployer.service"},
	} {
		var got []string
		for _, u := range NewlyFailing(Baseline{Units: c.before}, c.now) {
			got = append(got, u.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got, c.want)
		}
	}
}

func TestNoNewFailedUnits(t *testing.T) {
	s := newStandIn(t)
	s.show("all.show")
	s.change("record.service", "ActiveState=failed", "SubState=failed", "Result=exit-code")
	s.show("good.show")
	b := s.before()
	probe := quick(KindNoNewFailedUnits)
	runOne(t, probe, s.host(b)).want(t, Pass, "", "failed before: record.service")
	runOne(t, probe, s.host(nil)).want(t, Fail, "failed", "record.service is failed")

	s.change("hercules-ci-agent.service", "NRestarts=3")
	runOne(t, probe, s.host(b)).want(t, Fail, "crash-loop", "hercules-ci-agent.service")

	s.show("crash.show")
	crash := s.before().Units["hercules-ci-agent.service"].Invocation
	s.lines(crash, 0, "first", "hercules-ci-agent: no token")
	s.change("opnix-secrets.service", "ActiveState=active", "SubState=exited", "Result=success")
	r := runOne(t, probe, s.host(b))
	r.want(t, Fail, "failed", "hercules-ci-agent.service is activating/auto-restart, result exit-code")
	if r.Evidence != "hercules-ci-agent: no token" {
		t.Errorf("evidence %q", r.Evidence)
	}

	s.write("broken", "")
	r = runOne(t, probe, s.host(b))
	r.want(t, Unknown, "systemd", "connect to bus")
	if !MustRollBack([]Result{r}) {
		t.Error("a systemd that does not answer is a broken host")
	}
	hung := newStandIn(t)
	hung.write("hang", "")
	probe.Deadline, probe.Timeout = 300*time.Millisecond, 300*time.Millisecond
	runOne(t, probe, hung.host(b)).want(t, Unknown, "systemd", "")
	runOne(t, probe, newStandIn(t).host(b)).want(t, Unknown, "systemd", "no unit")
}

func TestUnit(t *testing.T) {
	s := newStandIn(t)
	s.show("good.show")
	probed := func(name string, change func(*UnitSpec), b *Baseline) Result {
		probe := quick(KindUnit)
		ask[UnitSpec](probe).Unit = name
		if change != nil {
			change(ask[UnitSpec](probe))
		}
		return runOne(t, probe, s.host(b))
	}
	probed("hercules-ci-agent.service", nil, nil).want(t, Pass, "", "active/running")
	probed("opnix-secrets.service", func(u *UnitSpec) { u.Sub = "running" }, nil).want(t, Fail, "state", "active/exited")
	probed("no-such.service", nil, nil).want(t, Fail, "not-loaded", "not-found")
	probed("no-such.service", func(u *UnitSpec) { u.Active = "inactive" }, nil).want(t, Fail, "not-loaded", "")

	s.show("crash.show")
	b := s.before()
	s.lines(b.Units["opnix-secrets.service"].Invocation, 0, "ERROR: Token file is empty!")
	probed("opnix-secrets.service", nil, nil).want(t, Fail, "failed", "Token file is empty")
	old := probed("opnix-secrets.service", nil, b)
	old.want(t, Unknown, ClassFailedBefore, "before the trial")
	if MustRollBack([]Result{old}) || Judge(InTrial, []Result{old}) != Degraded {
		t.Error("what failed before must alert and not roll back, although unknown rolls back for units")
	}
	s.change("opnix-secrets.service", "InvocationID=0000000000000000000000000000000f")
	probed("opnix-secrets.service", nil, b).want(t, Unknown, ClassFailedBefore, "") // an activation starts it once more

	// systemd's own restarts of a loop that ran before are not the trial's.
	s.change("hercules-ci-agent.service", "InvocationID=0000000000000000000000000000000f", "NRestarts=1")
	probed("hercules-ci-agent.service", nil, b).want(t, Unknown, ClassFailedBefore, "")

	s.write("hang", "")
	probe := quick(KindUnit)
	ask[UnitSpec](probe).Unit, probe.Timeout, probe.Deadline = "a.service", 200*time.Millisecond, 300*time.Millisecond
	runOne(t, probe, s.host(nil)).want(t, Unknown, "systemd", "")
}

func TestCurrentSystem(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "new"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) string {
		t.Helper()
		path := filepath.Join(dir, from)
		os.Remove(path)
		if err := os.Symlink(filepath.Join(dir, to), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	current, special := link("current-system", "new"), link("specialisation", "new")
	for _, c := range []struct {
		wanted, verdict, class string
	}{
		{filepath.Join(dir, "new"), Pass, ""},
		{special, Pass, ""},
		{filepath.Join(dir, "old"), Fail, "other-system"},
		{filepath.Join(dir, "gone"), Fail, "no-system"},
		{"", Unknown, "invalid"},
	} {
		a := attempt{Spec: Defaults(KindCurrentSystem), host: &Host{NewSystem: c.wanted}}
		a.systemAt(current).result(a.Spec).want(t, c.verdict, c.class, "")
	}
	link("current-system", "gone")
	a := attempt{Spec: Defaults(KindCurrentSystem), host: &Host{NewSystem: filepath.Join(dir, "new")}}
	a.systemAt(current).result(a.Spec).want(t, Fail, "no-system", "leads nowhere")
}
