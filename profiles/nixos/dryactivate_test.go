package nixos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saying is a toplevel whose switch-to-configuration is a script.
func saying(t *testing.T, script string) string {
	t.Helper()
	top := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(top, "bin"), 0o700),
		os.WriteFile(filepath.Join(top, "bin/switch-to-configuration"), []byte("#!/bin/sh\n"+script), 0o700)); err != nil {
		t.Fatal(err)
	}
	return top
}

func TestDryActivate(t *testing.T) {
	for name, c := range map[string]struct {
		script, says string
		exit         int
	}{
		"both streams": {`echo "would stop the following units: a.service" >&2; echo "$1 in $PWD"`, "would stop the following units: a.service\ndry-activate in /\n", 0},
		"an exit code": {"echo no; exit 100", "no\n", 100},
		"much":         {"head -c 1000000 /dev/zero", strings.Repeat("\x00", previewLimit), 0},
	} {
		t.Run(name, func(t *testing.T) {
			// head is not where a NixOS toplevel has its programs.
			got, exit, err := DryActivate(t.Context(), saying(t, "PATH=/usr/bin:/bin\n"+c.script))
			if err != nil || exit != c.exit || string(got) != c.says {
				t.Errorf("%d bytes %.100q, exit %d, %v", len(got), got, exit, err)
			}
		})
	}
	if _, _, err := DryActivate(t.Context(), t.TempDir()); err == nil {
		t.Error("a system without switch-to-configuration is no error")
	}
}

// What hangs is ended with everything that it started.
func TestDryActivateEndsWithItsContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	top := saying(t, fmt.Sprintf("PATH=/usr/bin:/bin\necho begun\n(echo hangs > %s; sleep 60) & wait", file))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	got, _, err := DryActivate(ctx, top)
	if !errors.Is(err, context.DeadlineExceeded) || string(got) != "begun\n" {
		t.Errorf("%q, %v", got, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}
