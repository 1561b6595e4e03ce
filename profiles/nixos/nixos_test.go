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

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const id = "abcd1234"

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// runsAtOnce is a systemd-run that becomes the unit's program.
const runsAtOnce = `while [ "$1" != -- ]; do
	case "$1" in --setenv=*) export "${1#--setenv=}";; esac
	shift
done
shift
export GORACE=atexit_sleep_ms=0
exec "$@"
`

// toplevel is a system whose programs are shell scripts.
func toplevel(t *testing.T, programs map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, script := range programs {
		file := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// trial is a host and a record whose previous system has this systemd-run, and
// whose new one this switch-to-configuration.
func trial(t *testing.T, systemdRun, stc string) (Host, transaction.Record) {
	t.Helper()
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
	r := transaction.Record{
		ID: id, New: toplevel(t, map[string]string{"bin/switch-to-configuration": stc}),
		Previous: transaction.Previous{Running: toplevel(t, map[string]string{"sw/bin/systemd-run": systemdRun})},
	}
	return h, r
}

func TestActivateReturnsTheExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 4": 4, "exit 101": 101, "kill -9 $$": 137} {
		h, r := trial(t, runsAtOnce, script)
		if got, err := h.Activate(within(t), r); err != nil || got != want {
			t.Errorf("%s: got %d, %v", script, got, err)
		}
	}
	h, r := trial(t, runsAtOnce, "")
	if err := os.Remove(filepath.Join(r.New, "bin/switch-to-configuration")); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Activate(within(t), r); err != nil || got != 127 {
		t.Errorf("without a program: %d, %v", got, err)
	}
}

func TestOnlyTheWayBackSkipsTheChecks(t *testing.T) {
	for _, unchecked := range []bool{false, true} {
		h, r := trial(t, runsAtOnce, `echo "$* ${NIXOS_NO_CHECK-unset}" > "${0%/bin/*}/said"`)
		if _, err := h.run(within(t), r, switching{role: "rollback", toplevel: r.New, action: "test", unchecked: unchecked}); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: "test unset\n", true: "test 1\n"}[unchecked]
		if said, err := os.ReadFile(filepath.Join(r.New, "said")); err != nil || string(said) != want {
			t.Errorf("called with %q, %v; want %q", said, err, want)
		}
	}
}

func TestAUnitThatDiedIsNotTakenForItsPredecessor(t *testing.T) {
	h, r := trial(t, "exit 0", "")
	if err := errors.Join(os.MkdirAll(h.dir(id), 0o700), os.WriteFile(filepath.Join(h.dir(id), "activation.exit"), []byte("0"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Activate(within(t), r); !errors.Is(err, systemd.ErrNoResult) {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestAUnitThatCannotBeMade(t *testing.T) {
	h, r := trial(t, "echo 'Failed to connect to bus' >&2; exit 1", "")
	if got, err := h.Activate(within(t), r); err == nil || got != -1 || !strings.Contains(err.Error(), "Failed to connect to bus") {
		t.Errorf("got %d, %v", got, err)
	}
}

// After a restart nothing of /run is left, and what was begun must still be ended.
func TestSwitchesRunAfterARestart(t *testing.T) {
	h, r := trial(t, runsAtOnce, "exit 0")
	for range 2 {
		if _, err := h.Activate(within(t), r); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(h.Store.Run); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopySelfReplacesWhatIsThere(t *testing.T) {
	to := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(to, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := CopySelf(to); err != nil {
		t.Fatal(err)
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || info.Size() != own.Size() || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestLasting(t *testing.T) {
	for _, c := range []struct {
		id   string
		was  systemd.Unit
		want bool
	}{
		{"multi-user.target", systemd.Unit{Active: "active"}, true},
		{"rescue.target", systemd.Unit{Active: "inactive"}, false},
		{"sshd.service", systemd.Unit{Active: "active", Sub: "running"}, true},
		{"setup.service", systemd.Unit{Active: "active", Sub: "exited"}, false},
		{"web.service", systemd.Unit{Active: "failed"}, false},
		{"web.service", systemd.Unit{Active: "activating", Sub: "auto-restart"}, false},
		{"user@1000.service", systemd.Unit{Active: "active", Sub: "running"}, false},
		{"dbus.socket", systemd.Unit{Active: "active", Sub: "running"}, true},
		{"dbus.socket", systemd.Unit{Active: "inactive"}, false},
		{"nix-gc.timer", systemd.Unit{Active: "active"}, false},
		{"home.mount", systemd.Unit{Active: "active"}, false},
		{"run-r5.service", systemd.Unit{Active: "active", Sub: "running", Fragment: "/run/systemd/transient/run-r5.service"}, false},
		{"hdeploy-abcd1234-supervisor.service", systemd.Unit{Active: "active", Sub: "running"}, false},
		{"nosuffix", systemd.Unit{Active: "active", Sub: "running"}, false},
	} {
		if lasting(c.id, c.was) != c.want {
			t.Errorf("%s %+v: not %v", c.id, c.was, c.want)
		}
	}
}

// systemctl is a manager whose units are the blocks of the file state; `start`
// puts the file started there, and every other call is recorded.
func systemctl(t *testing.T, state, started, jobs string) (m systemd.Manager, calls func() string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"state": state, "state-list": list(state), "started": started, "started-list": list(started), "jobs": jobs, "log": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	top := toplevel(t, map[string]string{"sw/bin/systemctl": "PATH=/usr/bin:/bin; cd " + dir + `
case "$1" in
show) cat state;;
list-units) cat state-list;;
list-jobs) cat jobs;;
start) cp started state; cp started-list state-list; echo "$*" >> log;;
*) echo "$*" >> log;;
esac`})
	return systemd.Of(top), func() string {
		data, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
}

func running(names ...string) string {
	var blocks []string
	for _, name := range names {
		blocks = append(blocks, "Id="+name+"\nLoadState=loaded\nActiveState=active\nSubState=running\n")
	}
	return strings.Join(blocks, "\n")
}

// list is what list-units says of the blocks that show prints.
func list(blocks string) string {
	var lines strings.Builder
	for line := range strings.Lines(blocks) {
		if name, ok := strings.CutPrefix(line, "Id="); ok {
			lines.WriteString(strings.TrimSpace(name) + " loaded active running A description\n")
		}
	}
	return lines.String()
}

var before = probe.Baseline{
	Jobs: []int{7},
	Units: map[string]systemd.Unit{
		"sshd.service":      {ID: "sshd.service", Active: "active", Sub: "running"},
		"multi-user.target": {ID: "multi-user.target", Active: "active"},
		"broken.service":    {ID: "broken.service", Active: "failed"},
		"slow.service":      {ID: "slow.service", Active: "activating", Invocation: "a"},
	},
}

func TestReviveStartsWhatRanBefore(t *testing.T) {
	m, calls := systemctl(t, running("web.service"), running("sshd.service", "multi-user.target"), "")
	if missing, err := missingUnits(within(t), m, before); err != nil || !slices.Equal(missing, []string{"multi-user.target", "sshd.service"}) {
		t.Errorf("missing %v, %v", missing, err)
	}
	if err := revive(within(t), m, before); err != nil {
		t.Error(err)
	}
	if got := calls(); got != "reset-failed -- multi-user.target sshd.service\nstart --no-block -- multi-user.target sshd.service" {
		t.Errorf("called %q", got)
	}
}

func TestReviveNamesWhatDoesNotRunAgain(t *testing.T) {
	m, _ := systemctl(t, running("multi-user.target"), running("multi-user.target"), "")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := revive(ctx, m, before); err == nil || !strings.Contains(err.Error(), "sshd.service") || strings.Contains(err.Error(), "multi-user") {
		t.Errorf("got %v", err)
	}
}

func TestReviveWithoutABaselineJudgesNothing(t *testing.T) {
	m, calls := systemctl(t, "", "", "")
	if err := revive(within(t), m, probe.Baseline{}); err != nil || calls() != "" {
		t.Errorf("%v, %q", err, calls())
	}
}

func TestUnblockCancelsOnlyTheJobsOfTheTrial(t *testing.T) {
	m, calls := systemctl(t, running("sshd.service"), "",
		"7 slow.service start running\n8 hung.service start running\n9 hdeploy-abcd1234-rollback.service start running\n10 consumer.service start waiting\n")
	if err := unblock(within(t), m, before); err != nil {
		t.Fatal(err)
	}
	if got := calls(); got != "cancel 8 10" {
		t.Errorf("called %q", got)
	}
}

func TestInhibitors(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1}`: `{"a":1}`, "": "", "{": "", "text": "",
		`{"a":"` + strings.Repeat("x", 64<<10) + `"}`: "",
	} {
		top := t.TempDir()
		if err := os.WriteFile(filepath.Join(top, "switch-inhibitors"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := string(inhibitors(top)); got != want {
			t.Errorf("%.20q: %.20q", text, got)
		}
	}
	if got := inhibitors(t.TempDir()); got != nil {
		t.Errorf("without the file: %s", got)
	}
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	if free(dir) == 0 {
		t.Error("nothing is free in a temporary directory")
	}
	if free(filepath.Join(dir, "not", "yet")) == 0 {
		t.Error("a directory that does not exist yet has its parent's space")
	}
}

func TestFacts(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "system")
	f := Look(profile)
	if f.UID != os.Getuid() || f.BootID == "" || f.BootID == "unknown" || f.Hostname == "" || f.OS == "" || f.Profile != (profiles.Generation{}) {
		t.Errorf("facts %+v", f)
	}
	if !strings.HasSuffix(f.System, "-linux") || strings.HasPrefix(f.System, "-") {
		t.Errorf("system %q", f.System)
	}
	if (f.BootsError == "") == (f.Boots.System == "") {
		t.Errorf("boots %+v, error %q: exactly one of them is known", f.Boots, f.BootsError)
	}
}

func TestFirstLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "machine-id")
	if got := firstLine(name); got != "" {
		t.Errorf("none: %q", got)
	}
	if err := os.WriteFile(name, []byte("0123\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstLine(name); got != "0123" {
		t.Errorf("got %q", got)
	}
}

func TestClock(t *testing.T) {
	var c Clock
	first := c.Now()
	if second := c.Now(); first <= 0 || second < first {
		t.Errorf("%d, then %d", first, second)
	}
	if c.Wall().Location() != time.UTC || c.BootID() != (Clock{}).BootID() {
		t.Error("the clock is not steady")
	}
}

// history is a profile with generations, each with what it points at.
func history(t *testing.T, generations map[int]string) string {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "system")
	for n, path := range generations {
		if err := os.Symlink(path, fmt.Sprintf("%s-%d-link", profile, n)); err != nil {
			t.Fatal(err)
		}
	}
	return profile
}

func TestOwnGeneration(t *testing.T) {
	for _, c := range []struct {
		name        string
		generations map[int]string
		want        string
		bad         bool
	}{
		{"made", map[int]string{11: "/old", 12: "/old", 13: "/new"}, "system-13-link", false},
		{"not made", map[int]string{11: "/old", 12: "/old"}, "", false},
		{"reused", map[int]string{11: "/new", 12: "/old"}, "", false},
		{"somebody else's", map[int]string{12: "/old", 13: "/else"}, "", true},
		{"none", nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := transaction.Record{Profile: history(t, c.generations), New: "/new", Previous: transaction.Previous{Newest: 12}}
			if got, err := ownGeneration(r); got != c.want || c.bad != (err != nil) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestBootTarget(t *testing.T) {
	whole := toplevel(t, map[string]string{"bin/switch-to-configuration": ""})
	for boots, want := range map[string]string{whole: whole, "/collected": "/profile", "": "/profile"} {
		r := transaction.Record{Previous: transaction.Previous{Boots: boots, Profile: profiles.Generation{Path: "/profile"}}}
		if got := bootTarget(r); got != want {
			t.Errorf("%q: %q", boots, got)
		}
	}
}

func TestSyncOfWhatIsGone(t *testing.T) {
	if err := Sync(t.TempDir(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error")
	}
	if err := Sync(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestFenceOfWhatDoesNotRun(t *testing.T) {
	if err := (Host{}).Fence(within(t), id); err != nil {
		t.Error(err)
	}
}
