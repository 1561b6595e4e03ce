package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Signs tells whether the Nix of this machine signs what it builds: whether its
// configuration, the user's part among it, has secret-key-files. It takes about 20 ms.
func (n *Nix) Signs(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	output, err := n.showConfig(ctx, "config", "show", "--json")
	var failed *Error
	if errors.As(err, &failed) {
		output, err = n.showConfig(ctx, "show-config", "--json")
	}
	if err != nil {
		return false, err
	}
	return parseSigns(output)
}

func (n *Nix) showConfig(ctx context.Context, command ...string) ([]byte, error) {
	return n.run(ctx, "read the configuration of nix", append(append([]string{}, features...), command...), newTracker(quiet, nil))
}

// parseSigns reads an object of settings, of which each is an object with a value. A
// list of files is a list, or their names in one text.
func parseSigns(output []byte) (bool, error) {
	var settings map[string]struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(output, &settings); err != nil {
		return false, fmt.Errorf("read the configuration of nix: %v", err)
	}
	value := settings["secret-key-files"].Value
	var files []string
	var text string
	switch {
	case value == nil:
		return false, nil // a relative of Nix that has no such setting signs nothing
	case json.Unmarshal(value, &files) == nil:
		return len(files) > 0, nil
	case json.Unmarshal(value, &text) == nil:
		return strings.TrimSpace(text) != "", nil
	}
	return false, fmt.Errorf("read the configuration of nix: secret-key-files is %s", oneLine(string(value), 200))
}
