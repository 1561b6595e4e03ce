package deploy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/git"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// objection is something about the flake's tree that a person may not know of.
type objection struct {
	level, said, next string
}

// treeOf is the folder whose git tree a flake is, empty where the flake is none, or a
// named commit of one.
func treeOf(flake string) string {
	path, query, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(flake, "git+file://"), "git+file:"), "?")
	path = strings.TrimPrefix(path, "path:")
	for parameter := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(parameter, "="); name == "ref" || name == "rev" {
			return ""
		}
	}
	if !filepath.IsAbs(path) {
		return ""
	}
	return path
}

// lookAtTree asks how the flake's tree stands.
func (r *run) lookAtTree(ctx context.Context) {
	dir := treeOf(r.Flake)
	if dir == "" || r.Goal == GoalBuild {
		return
	}
	tree, err := git.Look(ctx, dir)
	if err == nil {
		r.tree = &tree
		return
	}
	if !errors.Is(err, git.ErrNone) && ctx.Err() == nil {
		r.treeUnknown = err
	}
}

// treeObjections are those against the tree itself.
func (r *run) treeObjections() []objection {
	if err := r.treeUnknown; err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = errors.New("git is not installed here")
		}
		return []objection{{"info", "how the flake's git tree stands is not known: " + err.Error(), "git -C " + treeOf(r.Flake) + " status"}}
	}
	if r.tree == nil {
		return nil
	}
	var found []objection
	if n := r.tree.Changed; n > 0 {
		found = append(found, objection{"info", fmt.Sprintf("the flake's git tree is dirty: %s not as in commit %.12s", isOrAre(n, "file"), r.tree.Commit), "git -C " + treeOf(r.Flake) + " commit -a"})
	}
	if n := r.tree.Behind; n > 0 {
		found = append(found, objection{"warning", fmt.Sprintf("the flake's git tree is %s behind %s", plural(n, "commit"), r.tree.Upstream), "git -C " + treeOf(r.Flake) + " pull"})
	}
	return found
}

func isOrAre(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return plural(n, noun) + " are"
}

// hostObjection compares the tree with what runs on the host; nil where nothing is
// known against it.
func (h *hostRun) hostObjection(ctx context.Context) *objection {
	commit := h.runningCommit()
	if h.run.tree == nil || commit == "" {
		return nil
	}
	relation, err := h.run.tree.RelationTo(ctx, commit)
	if err != nil {
		h.run.Log.Info().Err(err).Msg("the commit that runs on the host cannot be compared")
		return nil
	}
	next := "git -C " + treeOf(h.run.Flake) + " log --oneline --left-right " + commit + "...HEAD"
	h.outdated = relation == git.Older || relation == git.Diverged
	switch relation {
	case git.Newer:
		return nil
	case git.Older:
		return &objection{"warning", fmt.Sprintf("the flake's git tree is older than what runs on the host: commit %.12s, deployed by %s", commit, capped(h.facts.Transaction.Deployer)), next}
	case git.Diverged:
		return &objection{"warning", fmt.Sprintf("the flake's git tree lacks changes that run on the host: commit %.12s, deployed by %s", commit, capped(h.facts.Transaction.Deployer)), next}
	case git.Unknown:
	}
	return &objection{"warning", fmt.Sprintf("the flake's git repository does not have commit %.12s, which runs on the host, deployed by %s", capped(commit), capped(h.facts.Transaction.Deployer)),
		"git -C " + treeOf(h.run.Flake) + " fetch"}
}

// tree is what the record says of the tree.
func (h *hostRun) tree() transaction.Tree {
	t := transaction.Tree{Older: h.outdated}
	if h.run.tree != nil {
		t.Behind = h.run.tree.Behind
	}
	if p := h.prebuilt(); p != nil {
		t.Branch = p.Branch
	}
	return t
}

// runningCommit is what the running system was made of, empty where it is not known.
func (h *hostRun) runningCommit() string {
	if t := h.facts.Transaction; t != nil && t.State == transaction.Committed && t.New == h.facts.Running {
		return t.Revision
	}
	return ""
}

// judgeTree says what speaks against the tree, before anything is built, and refuses
// the hosts for that where only a tree without a flaw is to be deployed.
func (r *run) judgeTree(ctx context.Context, hostRuns []*hostRun) {
	if r.Goal == GoalBuild {
		return
	}
	general := r.treeObjections()
	for _, o := range general {
		r.emit(event.Event{Type: "note", Note: &event.Note{Level: o.level, Text: o.said}})
	}
	for _, h := range hostRuns {
		if h.failure != nil {
			continue
		}
		all := general
		if o := h.hostObjection(ctx); o != nil {
			h.note(o.level, "%s", o.said)
			all = append(all[:len(all):len(all)], *o)
		}
		if r.Strict && len(all) > 0 {
			h.fail(h.strictly(all))
		}
	}
}

func (h *hostRun) strictly(all []objection) error {
	var said []string
	for _, o := range all {
		said = append(said, o.said)
	}
	return refused(h.Name, "identity", all[0].next+"\n"+h.again()+"  # without --strict, to deploy all the same", "refused by --strict: %s", strings.Join(said, "; "))
}

// treeFindings are the objections as a check tells them.
func (r *run) treeFindings() []event.Finding {
	var all []event.Finding
	for _, o := range r.treeObjections() {
		severity := event.Remark
		if o.level == "warning" {
			severity = event.Warning
		}
		all = append(all, event.Finding{Name: "git tree", Severity: severity, Cause: o.said, Remedy: o.next})
	}
	return all
}
