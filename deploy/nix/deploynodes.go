package nix

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// NodeName is one target in the deploy.nodes of a flake that was written for
// deploy-rs.
type NodeName struct {
	Node string
	// Profile is empty for all of the node's.
	Profile string
	// Word is what was given as one word, where it was: a node of this name, dots
	// included, comes before Node and Profile.
	Word string
}

// NodesQuery is what is asked of deploy.nodes.
type NodesQuery struct {
	// Targets are the wanted nodes and profiles; none stand for all.
	Targets []NodeName
	// Settings are the names whose values are wanted. Others are only named.
	Settings []string
}

// UnknownNodeError says that the flake has no such node, or the node no such profile.
type UnknownNodeError struct {
	// Node is what was asked for; Profile is empty where the node is missing.
	Node, Profile string
	// Available are the names there are instead, sorted, at most 500.
	Available []string
}

func (e *UnknownNodeError) Error() string {
	if e.Profile == "" {
		return fmt.Sprintf("find node %q in deploy.nodes of the flake: not defined", e.Node)
	}
	return fmt.Sprintf("find profile %q of deploy.nodes.%s: not defined", e.Profile, e.Node)
}

// NoNodesError says that the flake was not written for deploy-rs.
type NoNodesError struct {
	// Outputs are the outputs it has instead; empty where it has deploy, but no nodes.
	Outputs []string
}

func (e *NoNodesError) Error() string {
	if len(e.Outputs) == 0 {
		return "read deploy.nodes: the flake's deploy has no nodes"
	}
	return "read deploy.nodes: the flake has no output deploy, only " + strings.Join(e.Outputs[:min(len(e.Outputs), 12)], ", ")
}

//go:embed deploynodes.nix
var deployNodesNix string

// mostNodesBytes is far above the settings of any fleet.
const mostNodesBytes = 8 << 20

// DeployNodes reads the settings of the wanted nodes, in one nix process that
// evaluates no system. The answer is the object that deploynodes.nix returns; its
// values are those of the flake, and hostile until they are parsed. The errors are
// [*UnknownNodeError] (joined, if several), [*NoNodesError], [*TooOldError], [*Error]
// or the context's.
func (n *Nix) DeployNodes(ctx context.Context, flake string, query NodesQuery, on func(Progress)) (json.RawMessage, error) {
	if err := checkFlake(flake); err != nil {
		return nil, err
	}
	output, err := n.askNodes(ctx, flake, ".", query.expression(), on)
	var failed *Error
	if errors.As(err, &failed) {
		version, versionErr := n.Version(ctx)
		switch {
		case versionErr != nil:
			return nil, err
		case !version.Usable():
			return nil, &TooOldError{Have: version}
		case !version.hasRootFragment():
			output, err = n.askNodes(ctx, flake, "deploy", "value: ("+query.expression()+") { deploy = value; }", on)
		}
	}
	if err != nil {
		return nil, err
	}
	return output, nodesFault(output)
}

func (n *Nix) askNodes(ctx context.Context, flake, fragment, function string, on func(Progress)) (json.RawMessage, error) {
	args := arguments("eval", "--json", flake+"#"+fragment, "--apply", function)
	output, err := n.run(ctx, "read deploy.nodes", append(args, n.Extra...), newTracker(evaluating, on))
	if err != nil {
		return nil, err
	}
	if len(output) > mostNodesBytes {
		return nil, &Error{Step: "read deploy.nodes", Cause: fmt.Sprintf("the settings are larger than %d MiB", mostNodesBytes>>20)}
	}
	return output, nil
}

// expression is the function from the flake's outputs to the answer.
func (q NodesQuery) expression() string {
	optional := func(text string) string {
		if text == "" {
			return "null"
		}
		return quote(text)
	}
	var targets strings.Builder
	for _, t := range q.Targets {
		fmt.Fprintf(&targets, "{ node = %s; profile = %s; word = %s; } ", quote(t.Node), optional(t.Profile), optional(t.Word))
	}
	return fmt.Sprintf("(%s) { wanted = [ %s]; settings = %s; }", deployNodesNix, targets.String(), quoteList(q.Settings))
}

// nodesFault reads what keeps the answer from being one.
func nodesFault(output json.RawMessage) error {
	var answer struct {
		NoDeploy  bool     `json:"noDeploy"`
		NoNodes   bool     `json:"noNodes"`
		Available []string `json:"available"`
		Missing   []struct {
			Node      string   `json:"node"`
			Profile   string   `json:"profile"`
			Available []string `json:"available"`
		} `json:"missing"`
	}
	if err := json.Unmarshal(output, &answer); err != nil {
		return &Error{Step: "read deploy.nodes", Cause: fmt.Sprintf("read the answer of nix: %v", err)}
	}
	if answer.NoDeploy || answer.NoNodes {
		return &NoNodesError{Outputs: cleanNames(answer.Available)}
	}
	var unknown []error
	for _, m := range answer.Missing {
		unknown = append(unknown, &UnknownNodeError{Node: oneLine(m.Node, 200), Profile: oneLine(m.Profile, 200), Available: cleanNames(m.Available)})
	}
	return errors.Join(unknown...)
}
