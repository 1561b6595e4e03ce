package lab

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLayerIsBuiltOnceAndNeverHalf(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HDEPLOY_LAB_CACHE", cache)

	broken := errors.New("broken")
	_, err := layer(t.Context(), "image-x", func(dir string) error {
		_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o600)
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("a failed build: %v", err)
	}
	// What a build that was killed leaves.
	if err := os.MkdirAll(filepath.Join(cache, "image-x.unfinished", "half"), 0o700); err != nil {
		t.Fatal(err)
	}

	var builds atomic.Int32
	var tasks sync.WaitGroup
	for range 4 {
		tasks.Go(func() {
			dir, err := layer(t.Context(), "image-x", func(dir string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "whole" {
				t.Errorf("the layer has %v, %v", entries, err)
			}
		})
	}
	tasks.Wait()
	if count := builds.Load(); count != 1 {
		t.Errorf("built %d times", count)
	}
}

func TestDigestTreeSeesEveryChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	seen := map[string]string{}
	look := func(what string) {
		t.Helper()
		sum, err := digestTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		if before, known := seen[sum]; known {
			t.Errorf("%s and %s have the same digest", what, before)
		}
		seen[sum] = what
	}
	steps := []struct {
		what   string
		change func() error
	}{
		{"one file", func() error { return os.WriteFile(file, []byte("x"), 0o600) }},
		{"other content", func() error { return os.WriteFile(file, []byte("y"), 0o600) }},
		{"executable", func() error { return os.Chmod(file, 0o700) }},
		{"other name", func() error { return os.Rename(file, file+"b") }},
	}
	look("nothing")
	for _, step := range steps {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		look(step.what)
	}
	if _, err := digestTree(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing folder has a digest")
	}
}
