// Package git asks the repository that a flake lives in how it stands: at which
// commit, with which changes, and whether others are ahead.
//
// It only looks. No lock is taken, no remote is asked, no program that the repository
// configures is run, and every question has a deadline.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Tree is how a working tree stands.
type Tree struct {
	// Commit is what is checked out.
	Commit string
	// Changed is how many files that git knows differ from it.
	Changed int
	// Upstream is the branch that this one follows, as it was when it was last fetched,
	// empty for none; Behind is how many of its commits are missing here.
	Upstream string
	Behind   int

	dir string
}

// ErrNone says that a folder belongs to no working tree with a commit.
var ErrNone = errors.New("no git tree")

// deadline is for one question; a large tree on a slow disk takes seconds.
const deadline = 20 * time.Second

// Look looks at the tree that a folder belongs to. The error is ErrNone where there is
// none, and one that satisfies errors.Is(err, exec.ErrNotFound) where there is one and
// no git to ask.
func Look(ctx context.Context, dir string) (Tree, error) {
	if !inTree(dir) {
		return Tree{}, ErrNone
	}
	t := Tree{dir: dir}
	commit, err := t.ask(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if code, answered := exitCode(err); answered && code == 1 {
		return Tree{}, ErrNone // nothing was committed yet
	}
	if err != nil {
		return Tree{}, err
	}
	t.Commit = commit
	changes, err := t.ask(ctx, "status", "--porcelain=v1", "--untracked-files=no", "--no-renames")
	if err != nil {
		return Tree{}, err
	}
	if changes != "" {
		t.Changed = strings.Count(changes, "\n") + 1
	}
	return t, t.lookUpstream(ctx)
}

func (t *Tree) lookUpstream(ctx context.Context) error {
	upstream, err := t.ask(ctx, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
	if _, answered := exitCode(err); answered {
		return nil // the branch follows none, or there is no branch
	}
	if err != nil {
		return err
	}
	count, err := t.ask(ctx, "rev-list", "--count", "HEAD..@{upstream}")
	if _, answered := exitCode(err); answered {
		return nil // the branch that it follows was never fetched
	}
	if err != nil {
		return err
	}
	t.Upstream = upstream
	t.Behind, err = strconv.Atoi(count)
	return err
}

// inTree looks for a repository in the folder and those above it, without git: where
// there is none, it does not matter that git is absent.
func inTree(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// Relation is how the tree's commit stands to another one.
type Relation string

// The relations.
const (
	// Newer: the tree contains the other commit, or is at it.
	Newer Relation = "newer"
	// Older: the other commit contains the tree's, and more.
	Older Relation = "older"
	// Diverged: each has what the other lacks.
	Diverged Relation = "diverged"
	// Unknown: the repository does not have the other commit.
	Unknown Relation = "unknown"
)

var commitName = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// RelationTo compares the tree with a commit, which may come from a host.
func (t Tree) RelationTo(ctx context.Context, commit string) (Relation, error) {
	if !commitName.MatchString(commit) {
		return Unknown, nil
	}
	for _, step := range []struct {
		relation Relation
		args     []string
	}{
		{Unknown, []string{"cat-file", "-e", commit + "^{commit}"}},
		{Newer, []string{"merge-base", "--is-ancestor", commit, t.Commit}},
		{Older, []string{"merge-base", "--is-ancestor", t.Commit, commit}},
	} {
		_, err := t.ask(ctx, step.args...)
		code, answered := exitCode(err)
		switch {
		case err != nil && !answered, step.relation != Unknown && code > 1:
			return Unknown, err
		case (err == nil) != (step.relation == Unknown):
			return step.relation, nil
		}
	}
	return Diverged, nil
}

// ask runs one git command in the tree and returns what it printed.
func (t Tree) ask(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	command := exec.CommandContext(ctx, "git", append([]string{"-C", t.dir, "-c", "core.fsmonitor=false"}, args...)...)
	command.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")
	command.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("ask git: %w", ctx.Err())
	case err != nil:
		reason, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("ask git %s: %w: %s", args[0], err, reason)
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}

// exitCode is git's, if it ran to its end.
func exitCode(err error) (int, bool) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		return 0, false
	}
	return exit.ExitCode(), true
}
