package nixos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// unkillable is the end of a control group's name that is too long for the kernel: the
// attempt to kill it is an error that names the group.
var unkillable = strings.Repeat("x", 5000)

func block(id, active, sub string) string {
	return fmt.Sprintf("Id=%[1]s\nLoadState=loaded\nActiveState=%[2]s\nSubState=%[3]s\nControlGroup=/system.slice/%[1]s-%[4]s\n", id, active, sub, unkillable)
}

// scripted is a manager whose systemctl is a script; the answers are files beside
// it.
func scripted(t *testing.T, script string, answers map[string]string) (m systemd.Manager, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range answers {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return systemd.Of(toplevel(t, map[string]string{"sw/bin/systemctl": "PATH=/usr/bin:/bin; cd " + dir + "\n" + script})), dir
}

func TestUnblockSparesWhatWorksByItself(t *testing.T) {
	states := []struct{ id, active, sub string }{
		{"hung.service", "activating", "start"},
		{"stopping.service", "deactivating", "stop-sigterm"},
		{"runs.service", "active", "running"},
		{"backup.service", "activating", "start"},       // by its timer, in a job
		{"restarts.service", "activating", "start-pre"}, // by itself, without a job
		{"user@1000.service", "activating", "start"},    // of a fresh login
		{"slow.service", "activating", "start"},         // since before the trial
		{"idle.service", "activating", "start"},         // its timer was off
		{"hdeploy-abcd1234-rollback.service", "activating", "start"},
	}
	var units, lines []string
	for _, s := range states {
		units = append(units, block(s.id, s.active, s.sub))
		lines = append(lines, fmt.Sprintf("%s loaded %s %s A description", s.id, s.active, s.sub))
	}
	m, dir := scripted(t, `case "$1" in
show) cat units;; list-units) cat lines;; list-jobs) cat jobs;; *) echo "$*" >> log;; esac`, map[string]string{
		"units": strings.Join(units, "\n"), "lines": strings.Join(lines, "\n") + "\n",
		"jobs": `7 slow.service start running
8 hung.service start running
9 stopping.service stop running
10 backup.service start running
11 user@1000.service start running
12 hdeploy-abcd1234-rollback.service start running
13 idle.service start running
14 runs.service start waiting
`,
	})
	was := probe.Baseline{Jobs: []int{7}, Units: map[string]systemd.Unit{
		"backup.timer": {ID: "backup.timer", Active: "active"},
		"idle.timer":   {ID: "idle.timer", Active: "inactive"},
		"slow.service": {ID: "slow.service", Active: "activating"},
	}}
	err := unblock(within(t), m, was)
	killed := map[string]bool{"hung.service": true, "stopping.service": true, "idle.service": true}
	for _, s := range states {
		if tried := err != nil && strings.Contains(err.Error(), "/"+s.id+"-x"); tried != killed[s.id] {
			t.Errorf("%s: killed %v", s.id, tried)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if got := strings.TrimSpace(string(log)); err != nil || got != "cancel 8 9 13 14" {
		t.Errorf("called %q, %v", got, err)
	}
}

func TestStartsByItself(t *testing.T) {
	was := probe.Baseline{Units: map[string]systemd.Unit{"on.timer": {Active: "active"}, "off.timer": {Active: "inactive"}}}
	for id, want := range map[string]bool{
		"on.service": true, "off.service": false, "other.service": false, "user@0.service": true,
		"user@0.socket": false, "on.target": false, "on.timer": false, "": false,
	} {
		if startsByItself(id, was) != want {
			t.Errorf("%s: not %v", id, want)
		}
	}
}

func TestMissingUnitsLeavesOutWhatEndsByItself(t *testing.T) {
	m, _ := systemctl(t, running("multi-user.target"), "", "")
	service := systemd.Unit{Active: "active", Sub: "running"}
	was := probe.Baseline{Units: map[string]systemd.Unit{
		"backup.service": service, "backup.timer": {Active: "active"}, "user@0.service": service,
		"nix-daemon.service": service, "nix-daemon.socket": {Active: "active"}, "web.service": service,
	}}
	got, err := missingUnits(within(t), m, was)
	if err != nil || !slices.Equal(got, []string{"nix-daemon.socket", "web.service"}) {
		t.Errorf("missing %v, %v", got, err)
	}
}

// Its socket would start it, were it not for its failure.
func TestMissingUnitsKnowsAFailedServiceOfASocket(t *testing.T) {
	m, _ := scripted(t, `cat lines`, map[string]string{"lines": "dbus.socket loaded active listening A socket\ndbus.service loaded failed failed A bus\n"})
	was := probe.Baseline{Units: map[string]systemd.Unit{
		"dbus.service": {Active: "active", Sub: "running"}, "dbus.socket": {Active: "active"},
	}}
	got, err := missingUnits(within(t), m, was)
	if err != nil || !slices.Equal(got, []string{"dbus.service"}) {
		t.Errorf("missing %v, %v", got, err)
	}
}

func TestServicesOfTheNewSystemAreRestarted(t *testing.T) {
	service := func(invocation, start string) string {
		return "ActiveState=active\nSubState=running\nInvocationID=" + invocation + "\nExecMainStartTimestampMonotonic=" + start + "\n\n"
	}
	units, lines, was := "", "", probe.Baseline{Units: map[string]systemd.Unit{}}
	for id, is := range map[string]string{
		"same.service":             service("1", "100"),
		"new.service":              service("2", "200"),
		"since.service":            service("2", "9000000"), // started by what was prepared
		"hdeploy-x-y.service":      service("2", "200"),
		"user@0.service":           service("2", "200"),
		"made-at-run-time.service": service("2", "200"),
	} {
		units += "Id=" + id + "\n" + is
		lines += id + " loaded active running A service\n"
		was.Units[id] = systemd.Unit{ID: id, Active: "active", Sub: "running", Invocation: "1"}
	}
	was.Units["made-at-run-time.service"] = systemd.Unit{Active: "active", Invocation: "1", Fragment: "/run/systemd/transient/made-at-run-time.service"}
	m, dir := scripted(t, `case "$1" in show) cat units;; list-units) cat lines;; *) echo "$*" >> log;; esac`, map[string]string{"units": units, "lines": lines})
	restartStale(within(t), m, was, 5*time.Second)
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(log) != "restart -- new.service\n" {
		t.Errorf("called %q, %v", log, err)
	}
}

func TestLogindIsRestartedAfterItsBus(t *testing.T) {
	for name, c := range map[string]struct {
		bus, logind string
		want        bool
	}{
		"bus and logind of before": {"1", "1", false},
		"a new bus":                {"2", "1", true},
		"both are new":             {"2", "2", false},
	} {
		units := ""
		for id, invocation := range map[string]string{"dbus.service": c.bus, logind: c.logind} {
			units += "Id=" + id + "\nActiveState=active\nInvocationID=" + invocation + "\n\n"
		}
		m, dir := scripted(t, `case "$1" in show) cat units;; *) echo "$*" >> log;; esac`, map[string]string{"units": units})
		was := systemd.Unit{Active: "active", Sub: "running", Invocation: "1"}
		reconnectLogins(within(t), m, probe.Baseline{Units: map[string]systemd.Unit{"dbus.service": was, logind: was}})
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); (string(log) == "restart -- "+logind+"\n") != c.want {
			t.Errorf("%s: called %q", name, log)
		}
	}
}

func TestJudgeMissing(t *testing.T) {
	ended := systemd.Unit{Load: "loaded", Active: "inactive", Sub: "dead", Result: "success", ExecStart: 5}
	with := func(change func(*systemd.Unit)) systemd.Unit {
		u := ended
		change(&u)
		return u
	}
	for _, c := range []struct {
		name, id       string
		unit           systemd.Unit
		broken, moving bool
	}{
		{"a service that ended well", "hostnamed.service", ended, false, false},
		{"one that never started", "web.service", with(func(u *systemd.Unit) { u.ExecStart = 0 }), true, false},
		{"one that failed", "web.service", with(func(u *systemd.Unit) { u.Active, u.Result = "failed", "exit-code" }), true, false},
		{"one that ended badly", "web.service", with(func(u *systemd.Unit) { u.Result = "timeout" }), true, false},
		{"one that is gone", "web.service", systemd.Unit{Load: "not-found", Active: "inactive", Result: "success"}, true, false},
		{"one that is masked", "web.service", with(func(u *systemd.Unit) { u.Load = "masked" }), true, false},
		{"one that starts", "db.service", with(func(u *systemd.Unit) { u.Active = "activating" }), true, true},
		{"one that stops", "db.service", with(func(u *systemd.Unit) { u.Active = "deactivating" }), true, true},
		{"one that waits for its turn", "db.service", with(func(u *systemd.Unit) { u.Job = 3 }), false, true},
		{"a target", "multi-user.target", with(func(u *systemd.Unit) { u.ExecStart = 0 }), true, false},
		{"a socket is nothing that ends", "nix-daemon.socket", ended, true, false},
		{"a target that refuses to be started", "network.target", systemd.Unit{Load: "loaded", Active: "inactive", RefusesStart: true}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken, moving := judgeMissing([]string{c.id}, map[string]systemd.Unit{c.id: c.unit})
			if (len(broken) == 1) != c.broken || moving != c.moving {
				t.Errorf("broken %v, moving %v", broken, moving)
			}
		})
	}
	if broken, moving := judgeMissing([]string{"web.service"}, nil); len(broken) != 1 || moving {
		t.Errorf("of which nothing is known: %v, %v", broken, moving)
	}
}

// slowStart counts its calls of list-units in the file looks; web.service starts
// for as long as there are fewer than NEEDED.
const slowStart = `case "$1" in
list-units)
	echo x >> looks
	if [ "$(wc -l < looks)" -lt NEEDED ]; then echo "web.service loaded activating start Web"
	else echo "web.service loaded active running Web"; fi;;
show) cat starting;;
esac`

var wasServing = probe.Baseline{Units: map[string]systemd.Unit{"web.service": {ID: "web.service", Active: "active", Sub: "running"}}}

func TestReviveWaitsForWhatStillStarts(t *testing.T) {
	needed := fmt.Sprint(int(calm/(100*time.Millisecond)) + 10)
	m, _ := scripted(t, strings.Replace(slowStart, "NEEDED", needed, 1), map[string]string{"starting": block("web.service", "activating", "start")})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := revive(ctx, m, wasServing); err != nil {
		t.Error(err)
	}
}

func TestReviveGivesUpEarlyWhereNothingMoves(t *testing.T) {
	dead := strings.Replace(block("web.service", "failed", "failed"), "SubState", "Result=exit-code\nSubState", 1)
	m, _ := scripted(t, strings.Replace(slowStart, "NEEDED", "1000000", 1), map[string]string{"starting": dead})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := revive(ctx, m, wasServing); err == nil || !strings.Contains(err.Error(), "web.service") || ctx.Err() != nil {
		t.Errorf("got %v, %v", err, ctx.Err())
	}
}

func TestReviveAcceptsAServiceThatEndedWell(t *testing.T) {
	ended := block("web.service", "inactive", "dead") + "Result=success\nExecMainStartTimestampMonotonic=5\n"
	m, _ := scripted(t, strings.Replace(slowStart, "NEEDED", "1000000", 1), map[string]string{"starting": ended})
	if err := revive(within(t), m, wasServing); err != nil {
		t.Error(err)
	}
}

// Whatever else fails, what would let the last resort act goes first.
func TestFinishClosesTheWayBack(t *testing.T) {
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
	if err := errors.Join(os.MkdirAll(h.dir(id), 0o700), atomicfile.Write(h.open(id), nil, 0o600), CopySelf(h.agent(id))); err != nil {
		t.Fatal(err)
	}
	// Of another boot: there is no timer any more.
	_ = h.Finish(within(t), transaction.Record{ID: id, State: transaction.RolledBack, BootID: "another"})
	for _, name := range []string{h.open(id), h.agent(id)} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}
