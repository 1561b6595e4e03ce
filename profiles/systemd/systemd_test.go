package systemd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager has one program of each name, a shell script.
func manager(t *testing.T, programs map[string]string) Manager {
	t.Helper()
	m := Of(t.TempDir())
	if err := os.MkdirAll(m.Bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(m.Bin, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// recorded makes a program that writes its arguments, one in a line, to log.
func recorded(t *testing.T) (script string, calls func() []string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	return `for a in "$@"; do echo "$a" >> ` + log + "; done\n", func() []string {
		data, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestShow(t *testing.T) {
	file, err := filepath.Abs("testdata/show.txt")
	if err != nil {
		t.Fatal(err)
	}
	script, calls := recorded(t)
	units, err := manager(t, map[string]string{"systemctl": script + "while IFS= read -r l; do echo \"$l\"; done < " + file}).Show(within(t), "sshd.service", "--help")
	if err != nil || len(units) != 4 {
		t.Fatalf("got %v, %v", units, err)
	}
	sshd := units["sshd.service"]
	if sshd.Load != "loaded" || sshd.Active != "active" || sshd.Sub != "running" || sshd.Result != "success" ||
		sshd.Invocation != "6f0c2a4f1f6a4d0d8a3b2f1e0d9c8b7a" || sshd.Restarts != 2 || sshd.MainPID != 812 || sshd.FileState != "linked" ||
		sshd.ControlGroup != "/system.slice/sshd.service" || sshd.Fragment != "/etc/systemd/system/sshd.service" ||
		len(sshd.After) != 5 || !slices.Equal(sshd.Wants, []string{"sshd-keygen.service"}) ||
		sshd.StateChange != 8123456 || sshd.ActiveEnter != 8123456 || sshd.ExecStart != 8120001 || sshd.Job != 0 || sshd.Failing() {
		t.Errorf("sshd is %+v", sshd)
	}
	if opnix := units["opnix-secrets.service"]; opnix.Job != 4711 || opnix.ExitStatus != 1 || !opnix.Failing() || len(opnix.Wants) != 0 {
		t.Errorf("opnix-secrets is %+v", opnix)
	}
	if none := units["none.service"]; none.Load != "not-found" || none.Job != 0 || none.Restarts != 0 {
		t.Errorf("none is %+v", none)
	}
	if got := calls(); got[0] != "show" || !slices.Equal(got[len(got)-3:], []string{"--", "sshd.service", "--help"}) {
		t.Errorf("called with %q", got)
	}
}

func TestEveryPropertyThatIsReadIsAskedFor(t *testing.T) {
	asked := strings.Split(properties, ",")
	data, err := os.ReadFile("testdata/show.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		key, _, ok := strings.Cut(line, "=")
		if ok && !slices.Contains(asked, key) {
			t.Errorf("%s is read and not asked for", key)
		}
	}
}

func TestShowOfNonsense(t *testing.T) {
	for _, text := range []string{"", "\n\n\n", "Id=", "no equals sign", "ActiveState=active\n\nId", strings.Repeat("=\n", 1000)} {
		if got := parseShow([]byte(text)); len(got) != 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestFailing(t *testing.T) {
	for _, c := range []struct {
		unit Unit
		want bool
	}{
		{Unit{Active: "failed"}, true},
		{Unit{Active: "activating", Sub: "auto-restart", Result: "exit-code"}, true},
		{Unit{Active: "activating", Sub: "auto-restart", Result: "success"}, false},
		{Unit{Active: "activating", Sub: "start", Result: "success"}, false},
		{Unit{Active: "active", Sub: "running"}, false},
		{Unit{Active: "inactive", Result: "exit-code"}, false},
		{Unit{}, false},
	} {
		if c.unit.Failing() != c.want {
			t.Errorf("%+v", c.unit)
		}
	}
}

func TestJobs(t *testing.T) {
	m := manager(t, map[string]string{"systemctl": `cat <<'END'
4711 opnix-secrets.service start running
4712 consumer.service      restart waiting
4713 dev-disk-by\x2dlabel-data.device start running

No jobs running.
x y.service start waiting
4714 too few
END`})
	script := m.Bin
	m = manager(t, map[string]string{"systemctl": "PATH=/usr/bin:/bin; . " + filepath.Join(script, "systemctl")})
	got, err := m.Jobs(within(t))
	want := []Job{{4711, "opnix-secrets.service", "start", "running"}, {4712, "consumer.service", "restart", "waiting"}, {4713, `dev-disk-by\x2dlabel-data.device`, "start", "running"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCancel(t *testing.T) {
	script, calls := recorded(t)
	m := manager(t, map[string]string{"systemctl": script})
	if err := m.Cancel(within(t), nil); err != nil || calls()[0] != "" {
		t.Errorf("without jobs `cancel` would cancel all of them: %v, %v", calls(), err)
	}
	if err := m.Cancel(within(t), []Job{{ID: 3}, {ID: 4}}); err != nil || !slices.Equal(calls(), []string{"cancel", "3", "4"}) {
		t.Errorf("called with %q, %v", calls(), err)
	}
}

func TestStartDoesNotWait(t *testing.T) {
	script, calls := recorded(t)
	if err := manager(t, map[string]string{"systemctl": script}).Start(within(t), "a.service", "-b"); err != nil || !slices.Equal(calls(), []string{"start", "--no-block", "--", "a.service", "-b"}) {
		t.Errorf("called with %q, %v", calls(), err)
	}
}

func TestStop(t *testing.T) {
	for exit, fails := range map[string]bool{"0": false, "5": false, "1": true} {
		script, calls := recorded(t)
		err := manager(t, map[string]string{"systemctl": script + `[ "$1" = stop ] && exit ` + exit + "\nexit 0"}).Stop(within(t), "a.timer")
		if fails != (err != nil) {
			t.Errorf("exit %s: %v", exit, err)
		}
		if got := calls(); !slices.Equal(got, []string{"stop", "--", "a.timer"}) {
			t.Errorf("called with %q", got)
		}
	}
}

func TestManagerStart(t *testing.T) {
	if got, err := manager(t, map[string]string{"systemctl": "echo 1500000"}).ManagerStart(within(t)); err != nil || got != 1500*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, script := range []string{"echo", "echo infinity", "exit 1"} {
		if got, err := manager(t, map[string]string{"systemctl": script}).ManagerStart(within(t)); err == nil {
			t.Errorf("%s: got %v", script, got)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Setenv("NIX_REMOTE", "daemon")
	m := manager(t, map[string]string{
		"env":   `echo "$PATH|$LC_ALL|$NIX_REMOTE|$HOME"`,
		"fails": "echo out; echo first >&2; echo second >&2; exit 3",
		"mute":  "exit 1",
		"long":  `exec /bin/sh -c 'i=0; x=0123456789abcdef; while [ $i -lt 12 ]; do x=$x$x; i=$((i+1)); done; i=0; while [ $i -lt 140 ]; do echo $x; i=$((i+1)); done'`,
	})
	if out, err := m.Output(within(t), "env"); err != nil || string(out) != m.Bin+":/run/wrappers/bin|C||/root\n" {
		t.Errorf("got %q, %v", out, err)
	}
	out, err := m.Output(within(t), "fails", "argument")
	if string(out) != "out\n" || err == nil || !strings.Contains(err.Error(), "fails argument") || !strings.HasSuffix(err.Error(), "first") {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := m.Output(within(t), "mute"); err == nil || strings.HasSuffix(err.Error(), ": ") {
		t.Errorf("got %v", err)
	}
	if out, err := m.Output(within(t), "long"); err != nil || len(out) != outputLimit {
		t.Errorf("kept %d bytes, %v", len(out), err)
	}
	if _, err := m.Output(within(t), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// The child of a killed program holds its output open.
func TestOutputEndsAtItsDeadline(t *testing.T) {
	m := manager(t, map[string]string{"hangs": "/bin/sleep 60 &\nwait"})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := m.Output(ctx, "hangs"); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestRunMakesAUnitThatSurvives(t *testing.T) {
	script, calls := recorded(t)
	m := manager(t, map[string]string{"systemd-run": script})
	err := m.Run(within(t), Transient{
		Name: "hdeploy-x-deadman.service", Command: []string{"/run/agent", "deadman", "x"}, OnStartup: 1500 * time.Millisecond,
		OnFailure: "last.service", Description: "d", Environment: []string{"A=b c"}, Log: "/run/log", KillAfter: 2 * time.Second,
		StopPost: "/run/agent stopped x",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := calls()
	if !slices.Equal(got[len(got)-4:], []string{"--", "/run/agent", "deadman", "x"}) {
		t.Errorf("command %q", got)
	}
	wanted := []string{"--collect", "--unit=hdeploy-x-deadman.service", "--description=d", "--property=KillMode=control-group",
		"--property=TimeoutStopSec=5", "--property=OOMScoreAdjust=-900", "--property=OnFailure=last.service", "--setenv=A=b c",
		"--property=StandardOutput=append:/run/log", "--property=StandardError=append:/run/log", "--property=RuntimeMaxSec=2.000000",
		"--property=ExecStopPost=-/run/agent stopped x",
		"--on-startup=1.500000", "--timer-property=AccuracySec=100ms", "--setenv=PATH=" + m.Bin + ":/run/wrappers/bin"}
	for _, p := range []string{"DefaultDependencies=no", "IgnoreOnIsolate=yes", "Conflicts=shutdown.target", "Before=shutdown.target"} {
		wanted = append(wanted, "--property="+p, "--timer-property="+p)
	}
	for _, w := range wanted {
		if !slices.Contains(got, w) {
			t.Errorf("%s is missing in %q", w, got)
		}
	}
}

func TestRunWithoutATimer(t *testing.T) {
	script, calls := recorded(t)
	m := manager(t, map[string]string{"systemd-run": script})
	if err := m.Run(within(t), Transient{Name: "a.service", Command: []string{"/x"}}); err != nil {
		t.Fatal(err)
	}
	for _, a := range calls() {
		if strings.HasPrefix(a, "--on-") || strings.HasPrefix(a, "--timer") || strings.Contains(a, "OnFailure") || strings.Contains(a, "RuntimeMax") || strings.Contains(a, "StopPost") || strings.Contains(a, "StandardOutput") {
			t.Errorf("nobody asked for %s", a)
		}
	}
	m = manager(t, map[string]string{"systemd-run": "echo 'Unit a.service already exists.' >&2; exit 1"})
	if err := m.Run(within(t), Transient{Name: "a.service", Command: []string{"/x"}}); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v", err)
	}
}

// group is a directory that looks like a control group.
func group(t *testing.T, populated bool) string {
	t.Helper()
	dir := t.TempDir()
	populate(t, dir, populated)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func populate(t *testing.T, dir string, populated bool) {
	t.Helper()
	text := "populated 0\nfrozen 0\n"
	if populated {
		text = "populated 1\nfrozen 0\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.events"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKillWaitsUntilTheGroupIsEmpty(t *testing.T) {
	dir := group(t, true)
	done := make(chan error, 1)
	ctx := within(t)
	go func() { done <- killGroup(ctx, dir) }()
	for {
		if data, err := os.ReadFile(filepath.Join(dir, "cgroup.kill")); err == nil && string(data) == "1" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("nobody killed")
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	populate(t, dir, false)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKillOfWhatIsEmptyOrGone(t *testing.T) {
	dir := group(t, false)
	if err := killGroup(within(t), dir); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "cgroup.kill")); err != nil || len(data) != 0 {
		t.Errorf("killed an empty group: %q, %v", data, err)
	}
	if err := killGroup(within(t), filepath.Join(dir, "gone")); err != nil {
		t.Error(err)
	}
	for err, want := range map[error]bool{fs.ErrNotExist: true, syscall.ENODEV: true, syscall.EPERM: false} {
		if gone(err) != want {
			t.Errorf("gone(%v) = %v", err, !want)
		}
	}
}

func TestKillEndsAtItsDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := killGroup(ctx, group(t, true)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTheRootGroupIsNeverKilled(t *testing.T) {
	for _, name := range []string{"", "/", "/..", "../../..", "/system.slice/.."} {
		if err := KillGroup(within(t), name); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := Kill(within(t), "hdeploy-no-such-unit.service"); err != nil {
		t.Error(err)
	}
	if populated, err := isPopulated(Manager{}.group("hdeploy-no-such-unit.service")); populated || err != nil {
		t.Errorf("%v, %v", populated, err)
	}
}

func TestList(t *testing.T) {
	m := manager(t, map[string]string{"systemctl": `echo "sshd.service loaded active running OpenSSH daemon
none.service not-found inactive dead none.service
broken.mount loaded failed failed /data
too few words
"`})
	got, err := m.List(within(t))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	if u := got["broken.mount"]; u.Load != "loaded" || u.Active != "failed" || u.Sub != "failed" {
		t.Errorf("broken.mount is %+v", u)
	}
	if u := got["none.service"]; u.Load != "not-found" || u.Active != "inactive" {
		t.Errorf("none.service is %+v", u)
	}
	if _, err := manager(t, map[string]string{"systemctl": "exit 1"}).List(within(t)); err == nil {
		t.Error("no error")
	}
}
