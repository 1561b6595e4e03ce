package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Revision is what a flake's source was fetched as.
type Revision struct {
	// Commit is empty where the flake is under no version control.
	Commit string
	// Dirty says that the tree had more than the commit in it.
	Dirty bool
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// Revision asks under which revision a flake's source is known. The source is only
// fetched, not evaluated, and its lock file is left to the evaluation beside it.
// https://nix.dev/manual/nix/2.26/command-ref/new-cli/nix3-flake-metadata
func (n *Nix) Revision(ctx context.Context, flake string) (Revision, error) {
	if err := checkFlake(flake); err != nil {
		return Revision{}, err
	}
	args := arguments("flake", "metadata", "--json", "--no-write-lock-file", flake)
	output, err := n.run(ctx, "read the flake's revision", append(args, n.Extra...), newTracker(evaluating, nil))
	if err != nil {
		return Revision{}, err
	}
	return parseRevision(output)
}

func parseRevision(output []byte) (Revision, error) {
	var told struct {
		Revision      string `json:"revision"`
		DirtyRevision string `json:"dirtyRevision"`
		ResolvedURL   string `json:"resolvedUrl"`
	}
	if err := json.Unmarshal(output, &told); err != nil {
		return Revision{}, fmt.Errorf("read the flake's revision: %v", err)
	}
	r := Revision{Commit: told.Revision}
	if told.Revision == "" {
		r.Commit = strings.TrimSuffix(told.DirtyRevision, "-dirty")
		r.Dirty = told.DirtyRevision != "" || strings.HasPrefix(told.ResolvedURL, "git+file:")
	}
	if !commitForm.MatchString(r.Commit) || strings.Trim(r.Commit, "0") == "" { // a repository without commits
		r.Commit = ""
	}
	return r, nil
}
