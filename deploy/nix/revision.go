package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Revision is the commit that a flake is at.
type Revision struct {
	// Commit is empty where the flake is under no version control.
	Commit string
	// Dirty says that the tree has changes that are not in the commit.
	Dirty bool
}

// revisionLimit bounds the question: what was evaluated a moment ago is not
// fetched again.
const revisionLimit = 30 * time.Second

// Revision asks at which commit a flake is. It costs a process, since an evaluation
// sees a flake's outputs and not its source.
func (n *Nix) Revision(ctx context.Context, flake string) (Revision, error) {
	if err := checkFlake(flake); err != nil {
		return Revision{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, revisionLimit)
	defer cancel()
	args := append(append([]string{}, features...), "flake", "metadata", "--json", flake)
	output, err := n.run(ctx, "ask for the revision", args, newTracker(quiet, nil))
	if err != nil {
		return Revision{}, err
	}
	return parseRevision(output)
}

// parseRevision reads what `nix flake metadata --json` prints. Of a tree with
// changes it has only dirtyRevision: the commit with "-dirty" behind it.
func parseRevision(output []byte) (Revision, error) {
	var metadata struct {
		Revision      string `json:"revision"`
		DirtyRevision string `json:"dirtyRevision"`
	}
	if err := json.Unmarshal(output, &metadata); err != nil {
		return Revision{}, fmt.Errorf("read the flake's metadata: %v", err)
	}
	commit, dirty := strings.CutSuffix(metadata.DirtyRevision, "-dirty")
	if commit == "" {
		commit = metadata.Revision
	}
	if !isCommit(commit) {
		return Revision{}, nil
	}
	return Revision{Commit: commit, Dirty: dirty}, nil
}

// isCommit says whether text is a hash: the record that it goes into is shown to
// people.
func isCommit(text string) bool {
	return len(text) >= 40 && len(text) <= 64 && strings.Trim(text, "0123456789abcdef") == ""
}
