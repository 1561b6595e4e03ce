// Package deployrs reads the deploy.nodes of a flake that was written for deploy-rs,
// as hosts that hdeploy deploys to.
//
// It keeps two promises. A setting means for hdeploy what it means for deploy-rs, or
// it is told, or refused, by name: none is dropped in silence. And the values of a
// flake are hostile until they are parsed: what is wrong is reported all at once, and
// nothing is contacted before.
package deployrs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/xrash/smetrics"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

var (
	accountName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	plainName      = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`)
	plainAttribute = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	hostAddress    = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%[A-Za-z0-9._-]+)?)$`)
)

const (
	longestText = 4096
	mostNodes   = 10000
)

// Source is where an answer comes from, and who reads it.
type Source struct {
	// Flake is the reference of the flake, absolute where it is a path.
	Flake string
	// User is who runs hdeploy: deploy-rs logs in as them where nothing else is said.
	User string
	// NoSSHConfig reads no ssh_config but what sshOpts name.
	NoSSHConfig bool
	// Kinds are those that the probes of a node can have.
	Kinds hosts.Kinds
}

// Reading is what a flake says.
type Reading struct {
	Inventory *hosts.Inventory
	// Notes are what a person should know of settings that mean something else
	// here, or nothing. Each is one line.
	Notes []string
}

// Read makes hosts of the answer to the question for [Settings]. Its errors are
// [hosts.ConfigErrors].
func Read(answer []byte, from Source) (Reading, error) {
	var document document
	r := &reader{source: from, file: clean(from.Flake) + "#deploy", configs: map[string]*sshconfig.Config{}, questions: map[string]hosts.Question{}}
	if err := json.Unmarshal(answer, &document); err != nil {
		r.fail("nodes", "the answer of nix cannot be read: %v", err)
		return Reading{}, r.faults
	}
	if len(document.Nodes) > mostNodes {
		r.fail("nodes", "there are more than %d", mostNodes)
		return Reading{}, r.faults
	}
	top := r.level("deploy", atTop, document.Top.Settings, document.Top.Others)
	inventory := &hosts.Inventory{Path: r.file, Flake: from.Flake, Probes: map[string]hosts.Probe{}, Questions: r.questions}
	for _, n := range document.Nodes {
		if host, ok := r.node(n, top); ok {
			inventory.Hosts = append(inventory.Hosts, host)
		}
	}
	if len(document.Nodes) == 0 {
		r.fail("nodes", "the flake defines no node")
	}
	if len(r.faults) > 0 {
		return Reading{}, r.faults
	}
	return Reading{Inventory: inventory, Notes: r.notes}, nil
}

// document is the answer as deploynodes.nix makes it.
type document struct {
	Top   level  `json:"top"`
	Nodes []node `json:"nodes"`
}

type level struct {
	Settings map[string]json.RawMessage `json:"settings"`
	Others   []string                   `json:"others"`
}

type node struct {
	level
	Name string `json:"name"`
	// Is is the type of a node, or of a profile, that is no set.
	Is string `json:"is"`
	// Profiles are the wanted ones, All the names of all.
	Profiles []profile `json:"profiles"`
	All      []string  `json:"all"`
}

type profile struct {
	level
	Name string `json:"name"`
	Is   string `json:"is"`
	Path bool   `json:"path"`
}

// reader keeps what is to be told.
type reader struct {
	source Source
	file   string
	faults hosts.ConfigErrors
	notes  []string
	// configs are the ssh_configs that were read, by the argument of -F.
	configs map[string]*sshconfig.Config
	// questions are what these were asked, by the names of the nodes.
	questions map[string]hosts.Question
}

// mostTold caps what a flake may make hdeploy say.
const mostTold = 100

func (r *reader) fail(place, format string, args ...any) {
	if len(r.faults) < mostTold {
		r.faults = append(r.faults, &hosts.ConfigError{File: r.file, Message: clean(place) + ": " + fmt.Sprintf(format, args...)})
	}
}

func (r *reader) note(format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	if len(r.notes) < mostTold && !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

// clean makes text of a flake fit for one line of a terminal.
func clean(text string) string {
	const longest = 500
	runes := []rune(text)
	if len(runes) > longest {
		runes = append(runes[:longest], '…')
	}
	for i, c := range runes {
		if !unicode.IsPrint(c) {
			runes[i] = '?'
		}
	}
	return string(runes)
}

// closest is the name most like word, or empty where none is like it.
func closest(word string, names []string) string {
	const alike, longest = 0.86, 64
	best, bestScore := "", alike
	if len(word) > longest {
		return ""
	}
	for _, name := range names {
		if score := smetrics.JaroWinkler(strings.ToLower(word), strings.ToLower(name), 0.7, 4); score > bestScore {
			best, bestScore = name, score
		}
	}
	return best
}
