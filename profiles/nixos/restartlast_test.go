package nixos

import (
	"slices"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestWhatIsRestartedLast(t *testing.T) {
	unit := func(active, invocation string) systemd.Unit {
		return systemd.Unit{Load: "loaded", Active: active, Invocation: invocation}
	}
	const here, there = true, false // the new system runs, or the previous one
	for _, c := range []struct {
		name             string
		now, was         systemd.Unit
		leftAlone, onNew bool
		want             bool
	}{
		{"left alone by the activation", unit("active", "a"), unit("active", "a"), true, here, true},
		{"left alone, and started anew before the files were new", unit("active", "b"), unit("active", "a"), true, here, true},
		{"restarted by the activation", unit("active", "b"), unit("active", "a"), false, here, false},
		{"the activation should have restarted it", unit("active", "a"), unit("active", "a"), false, here, true},
		{"it failed before", unit("failed", "a"), unit("failed", "a"), true, here, true},
		{"systemd tries it again and again", unit("activating", "b"), unit("failed", "a"), true, here, true},
		{"stopped in the trial", unit("inactive", "a"), unit("active", "a"), true, here, true},
		{"it never ran", unit("inactive", ""), systemd.Unit{}, true, here, false},
		{"the new system does not have it", systemd.Unit{Load: "not-found", Active: "active"}, unit("active", "a"), false, here, false},
		{"on the way back", unit("active", "b"), unit("active", "a"), true, there, true},
		{"on the way back, not left alone", unit("active", "b"), unit("active", "a"), false, there, true},
		{"on the way back, broken", unit("failed", "b"), unit("active", "a"), true, there, true},
		{"on the way back, new with the trial", unit("inactive", "b"), unit("inactive", ""), true, there, false},
	} {
		if got := isStale(c.now, c.was, c.leftAlone, c.onNew); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestWhatDoesNotRunAfterItsRestart(t *testing.T) {
	for _, c := range []struct {
		name         string
		unit         systemd.Unit
		down, moving bool
	}{
		{"it runs", systemd.Unit{Active: "active"}, false, false},
		{"it is being started", systemd.Unit{Active: "activating", Sub: "start-pre", Result: "success"}, true, true},
		{"systemd waits before it tries again", systemd.Unit{Active: "activating", Sub: "auto-restart", Result: "exit-code"}, true, false},
		{"it failed", systemd.Unit{Active: "failed", Result: "exit-code"}, true, false},
		{"it is queued", systemd.Unit{Active: "inactive", Job: 7}, true, true},
		{"it did its work", systemd.Unit{Load: "loaded", Active: "inactive", Result: "success", ExecStart: 5}, false, false},
		{"it was not begun", systemd.Unit{Load: "loaded", Active: "inactive", Result: "success"}, true, false},
	} {
		const name = "alias.service"
		c.unit.ID, c.unit.Names = "agent.service", []string{"agent.service", name}
		down, moving := notRunning([]string{name}, map[string]systemd.Unit{"agent.service": c.unit})
		if slices.Contains(down, name) != c.down || moving != c.moving {
			t.Errorf("%s: down %v, moving %v", c.name, down, moving)
		}
	}
	if down, _ := notRunning([]string{"gone.service"}, nil); len(down) != 1 {
		t.Error("a unit that nobody knows runs")
	}
}
