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
	ask := func(fragment, function string) ([]byte, error) {
		args := arguments("eval", "--json", flake+"#"+fragment, "--apply", function)
		return n.run(ctx, "read the names in "+output, append(args, n.Extra...), newTracker(quiet, nil))
	}
	// By its name alone nix would look for it among the packages first.
	text, err := ask(".", "flake: builtins.attrNames (flake."+output+" or { })")
	var failed *Error
	if errors.As(err, &failed) {
		version, versionErr := n.Version(ctx)
		switch {
		case versionErr != nil:
			return nil, err
		case !version.Usable():
			return nil, &TooOldError{Have: version}
		case !version.hasRootFragment():
			text, err = ask(output, "builtins.attrNames")
			if errors.As(err, &failed) && strings.Contains(failed.Output, "does not provide attribute") {
				return nil, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, &Error{Step: "evaluate", Cause: fmt.Sprintf("read the answer of nix: %v", err)}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return cleanNames(names), nil
}

// ConfigurationOf is the name of the NixOS configuration in a path like
// nixosConfigurations.web1.config.system.build.toplevel; empty where a path leads elsewhere.
func ConfigurationOf(attribute string) string {
	path, err := splitAttribute(attribute)
	if err != nil || len(path) < 2 || path[0] != "nixosConfigurations" {
		return ""
	}
	return path[1]
}
