package git

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository makes one with a commit and returns its folder.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, "init", "-q", "-b", "main")
	commit(t, dir, "flake.nix", "{ }")
	return dir
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, dir, name, text string) string {
	t.Helper()
	put(t, dir, name, text)
	run(t, dir, "add", name)
	run(t, dir, "commit", "-q", "-m", name+text)
	return run(t, dir, "rev-parse", "HEAD")
}

func look(t *testing.T, dir string) Tree {
	t.Helper()
	tree, err := Look(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestHowATreeStands(t *testing.T) {
	dir := repository(t)
	if tree := look(t, dir); tree.Commit != run(t, dir, "rev-parse", "HEAD") || tree.Changed != 0 || tree.Upstream != "" {
		t.Errorf("a clean tree: %+v", tree)
	}
	put(t, dir, "untracked", "x")
	if tree := look(t, dir); tree.Changed != 0 {
		t.Errorf("a file that is no part of the flake: %+v", tree)
	}
	put(t, dir, "flake.nix", "{ outputs = _: { }; }")
	put(t, dir, "added", "x")
	run(t, dir, "add", "added")
	if tree := look(t, dir); tree.Changed != 2 {
		t.Errorf("two changed files: %+v", tree)
	}
	below := filepath.Join(dir, "hosts")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if tree := look(t, below); tree.Changed != 2 {
		t.Errorf("from a folder below: %+v", tree)
	}
}

func TestBehindUpstream(t *testing.T) {
	upstream := repository(t)
	dir := filepath.Join(t.TempDir(), "clone")
	run(t, upstream, "clone", "-q", upstream, dir)
	if tree := look(t, dir); tree.Upstream != "origin/main" || tree.Behind != 0 {
		t.Errorf("a fresh clone: %+v", tree)
	}
	commit(t, upstream, "a", "1")
	commit(t, upstream, "a", "2")
	if tree := look(t, dir); tree.Behind != 0 {
		t.Errorf("nothing was fetched: %+v", tree)
	}
	run(t, dir, "fetch", "-q")
	if tree := look(t, dir); tree.Behind != 2 {
		t.Errorf("two commits behind: %+v", tree)
	}
	run(t, dir, "checkout", "-q", "--detach")
	if tree := look(t, dir); tree.Upstream != "" {
		t.Errorf("no branch: %+v", tree)
	}
	run(t, dir, "checkout", "-q", "main")
	run(t, dir, "update-ref", "-d", "refs/remotes/origin/main")
	if tree := look(t, dir); tree.Upstream != "" || tree.Behind != 0 {
		t.Errorf("an upstream that is gone: %+v", tree)
	}
}

func TestRelations(t *testing.T) {
	dir := repository(t)
	first := look(t, dir).Commit
	second := commit(t, dir, "a", "1")
	run(t, dir, "checkout", "-q", "-b", "other", first)
	aside := commit(t, dir, "b", "1")
	run(t, dir, "checkout", "-q", "main")
	for _, test := range []struct {
		at, commit string
		want       Relation
	}{
		{"main", second, Newer}, {"main", first, Newer}, {"main", aside, Diverged}, {"main", strings.Repeat("0", 40), Unknown},
		{"main", "--help", Unknown}, {"main", "", Unknown}, {first, second, Older},
	} {
		run(t, dir, "checkout", "-q", test.at)
		if got, err := look(t, dir).RelationTo(t.Context(), test.commit); got != test.want || err != nil {
			t.Errorf("%s to %s: %s, %v", test.at, test.commit, got, err)
		}
	}
}

func TestWhatIsNoTree(t *testing.T) {
	if _, err := Look(t.Context(), t.TempDir()); !errors.Is(err, ErrNone) {
		t.Errorf("a plain folder: %v", err)
	}
	empty := t.TempDir()
	run(t, empty, "init", "-q")
	if _, err := Look(t.Context(), empty); !errors.Is(err, ErrNone) {
		t.Errorf("nothing committed: %v", err)
	}
	broken := t.TempDir()
	put(t, broken, ".git", "gitdir: /nonexistent\n")
	if _, err := Look(t.Context(), broken); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a broken tree: %v", err)
	}
}

func TestWithoutGit(t *testing.T) {
	dir, plain := repository(t), t.TempDir()
	t.Setenv("PATH", t.TempDir())
	if _, err := Look(t.Context(), plain); !errors.Is(err, ErrNone) {
		t.Errorf("a plain folder: %v", err)
	}
	if _, err := Look(t.Context(), dir); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a tree: %v", err)
	}
}

// A repository may name programs for git to run.
func TestNoProgramOfTheRepositoryIsRun(t *testing.T) {
	dir := repository(t)
	ran := filepath.Join(dir, "ran")
	put(t, dir, "monitor", "#!/bin/sh\ntouch "+ran+"\n")
	if err := os.Chmod(filepath.Join(dir, "monitor"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "config", "core.fsmonitor", filepath.Join(dir, "monitor"))
	look(t, dir)
	if _, err := os.Stat(ran); err == nil {
		t.Error("the monitor ran")
	}
}
