package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLeaveResult(t *testing.T) {
	result := filepath.Join(t.TempDir(), "an exit")
	for script, want := range map[string]int{"exit 3": 3, "true": 0, "kill -KILL $$": 137, "/none": 127} {
		out, err := exec.CommandContext(within(t), "/bin/sh", "-c", leaveResult, result, "/bin/sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := readResult(result); err != nil || got != want {
			t.Errorf("%s: %d, %v", script, got, err)
		}
	}
}

func TestReadResult(t *testing.T) {
	name := filepath.Join(t.TempDir(), "exit")
	if _, err := readResult(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	for text, want := range map[string]int{"0": 0, "101\n": 101, "": -1, "four": -1, "4 4": -1} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readResult(name); got != want || (want < 0) != (err != nil) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestAwaitResult(t *testing.T) {
	name := filepath.Join(t.TempDir(), "exit")
	if _, err := (Manager{Bin: t.TempDir()}).awaitResult(within(t), "hdeploy-none.service", name); !errors.Is(err, ErrNoResult) {
		t.Errorf("an empty group without a result: %v", err)
	}
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Manager{Bin: t.TempDir()}).awaitResult(within(t), "hdeploy-none.service", name); err == nil || errors.Is(err, ErrNoResult) {
		t.Errorf("a damaged result: %v", err)
	}
}

// taken is a systemd-run for a name that PID 1 still knows so many times.
func taken(t *testing.T, times int) (m Manager, calls func() int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calls")
	m = manager(t, map[string]string{"systemd-run": fmt.Sprintf(`PATH=/usr/bin:/bin
echo x >> %[1]s
[ "$(wc -l < %[1]s)" -gt %[2]d ] || { echo "Unit hdeploy-x.service was already loaded" >&2; exit 1; }`, file, times)})
	return m, func() int {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(data), "x")
	}
}

func TestStartAnewTriesAgainWhileTheNameIsTaken(t *testing.T) {
	unit := Transient{Name: "hdeploy-x.service", Command: []string{"/bin/true"}}
	m, calls := taken(t, 3)
	if err := m.startAnew(within(t), unit); err != nil || calls() != 4 {
		t.Errorf("%d calls, %v", calls(), err)
	}
	m, calls = taken(t, 1000)
	if err := m.startAnew(within(t), unit); err == nil || !strings.Contains(err.Error(), "already loaded") || calls() < 2 {
		t.Errorf("%d calls, %v", calls(), err)
	}
	m, calls = taken(t, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), collectLimit/6)
	defer cancel()
	begun := time.Now()
	if err := m.startAnew(ctx, unit); err == nil || time.Since(begun) > collectLimit {
		t.Errorf("%d calls in %v, %v", calls(), time.Since(begun), err)
	}
}
