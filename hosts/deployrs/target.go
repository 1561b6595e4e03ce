package deployrs

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Target is one thing to deploy, as deploy-rs writes it: flake#node.profile.
type Target struct {
	// Flake is the part before #, empty where there is none.
	Flake string
	// Node and Profile are empty for all of them.
	Node, Profile string
	// Word is what was given where it was one word without #; a node may have
	// this name, dots included.
	Word string
}

// Names tells whether the word names a flake, and no host of deploy.toml: it has
// a # or a character that no name of a host has, or is a path.
func Names(word string) bool {
	return word == "." || word == ".." || !strings.HasPrefix(word, "@") && strings.ContainsAny(word, "#/:")
}

// mostTargetBytes caps a word of the command line.
const mostTargetBytes = 4096

// ParseTarget reads a word of the command line. The part after # is an attribute
// path in Nix's notation of at most two names: one with a dot in it stands in double
// quotes, in which a backslash escapes the next character.
func ParseTarget(word string) (Target, error) {
	if len(word) > mostTargetBytes || !utf8.ValidString(word) || strings.ContainsFunc(word, unicode.IsControl) {
		return Target{}, fmt.Errorf("read target %.60q: it is too long, or no text of one line", word)
	}
	if !Names(word) {
		names, err := splitNames(word)
		if err != nil || len(names) > 2 {
			// Only a node whose name this is can be meant.
			return Target{Node: word, Word: word}, nil
		}
		return Target{Node: names[0], Profile: second(names), Word: word}, nil
	}
	flake, fragment, _ := strings.Cut(word, "#")
	if flake == "" {
		flake = "."
	}
	t := Target{Flake: flake}
	if fragment == "" {
		return t, nil
	}
	names, err := splitNames(fragment)
	if err != nil {
		return Target{}, fmt.Errorf("read target %q: %v", word, err)
	}
	if len(names) > 2 {
		return Target{}, fmt.Errorf(`read target %q: after # stand a node and a profile, and no third name; a name with a dot is quoted: %s#'"web1.example.org".system'`, word, flake)
	}
	t.Node, t.Profile = names[0], second(names)
	return t, nil
}

func second(names []string) string {
	if len(names) < 2 {
		return ""
	}
	return names[1]
}

// splitNames cuts an attribute path into its names.
func splitNames(path string) ([]string, error) {
	var names []string
	for {
		name, rest, err := cutName(path)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		if rest == "" {
			return names, nil
		}
		if path = strings.TrimPrefix(rest, "."); len(path) == len(rest) {
			return nil, fmt.Errorf("a dot is missing before %q", rest)
		}
	}
}

// cutName takes the first name off an attribute path; the rest begins with the dot.
func cutName(path string) (name, rest string, err error) {
	if !strings.HasPrefix(path, `"`) {
		name, rest = path, ""
		if end := strings.IndexAny(path, `."`); end >= 0 {
			name, rest = path[:end], path[end:]
		}
		if name == "" {
			return "", "", fmt.Errorf("a name is empty")
		}
		if strings.ContainsAny(name, "${}\\ ") {
			return "", "", fmt.Errorf("%q is no name; put it into double quotes", name)
		}
		return name, rest, nil
	}
	var b strings.Builder
	escaped := false
	for i, r := range path[1:] {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '"' && b.Len() == 0:
			return "", "", fmt.Errorf("a name is empty")
		case r == '"':
			return b.String(), path[i+2:], nil
		default:
			b.WriteRune(r)
		}
	}
	return "", "", fmt.Errorf("a quote is not closed")
}

// attribute is the path of a profile's derivation within the flake.
func attribute(node, profile string) string {
	return "deploy.nodes." + quoted(node) + ".profiles." + quoted(profile) + ".path"
}

// quoted writes a name as Nix's command line reads it. It knows no escapes, and
// names that would need one are refused before.
func quoted(name string) string {
	if plainAttribute.MatchString(name) {
		return name
	}
	return `"` + name + `"`
}
