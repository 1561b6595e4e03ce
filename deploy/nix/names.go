package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Names returns the names of the attributes in one of the flake's outputs, such as
// those of its nixosConfigurations, without evaluating what they stand for. Where
// the flake has no such output there are none. The errors are those of
// [Nix.Evaluate].
func (n *Nix) Names(ctx context.Context, flake, output string) ([]string, error) {
	if err := checkFlake(flake); err != nil {
		return nil, err
	}
	args := arguments("eval", "--json", flake+"#"+output, "--apply", "builtins.attrNames")
	text, err := n.run(ctx, "read the names in "+output, append(args, n.Extra...), newTracker(quiet, nil))
	var failed *Error
	if errors.As(err, &failed) {
		if strings.Contains(failed.Output, "does not provide attribute") {
			return nil, nil
		}
		if version, versionErr := n.Version(ctx); versionErr == nil && !version.Usable() {
			return nil, &TooOldError{Have: version}
		}
	}
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, &Error{Step: "evaluate", Cause: fmt.Sprintf("read the answer of nix: %v", err)}
	}
	return cleanNames(names), nil
}
