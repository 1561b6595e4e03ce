package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// unitFile is a unit as text: section, key, and the values in the order in which they stand.
type unitFile map[string]map[string][]string

// readUnit reads a unit file and the drop-ins beside it.
func readUnit(path string) (unitFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read unit: %v", err)
	}
	unit := unitFile{}
	unit.parse(string(data))
	dropIns, err := filepath.Glob(globEscape(path) + ".d/*.conf")
	if err != nil {
		return nil, fmt.Errorf("list drop-ins of %s: %v", path, err)
	}
	sort.Strings(dropIns)
	for _, dropIn := range dropIns {
		data, err := os.ReadFile(dropIn)
		if err != nil {
			return nil, fmt.Errorf("read drop-in: %v", err)
		}
		unit.parse(string(data))
	}
	return unit, nil
}

// Unit names may hold backslashes, which a pattern would take for itself.
func globEscape(path string) string { return strings.ReplaceAll(path, `\`, `\\`) }

func (u unitFile) parse(text string) {
	section := ""
	for _, line := range joinContinued(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			if u[section] == nil {
				u[section] = map[string][]string{}
			}
		default:
			key, value, found := strings.Cut(line, "=")
			if !found || section == "" {
				continue
			}
			key = strings.TrimSpace(key)
			u[section][key] = append(u[section][key], strings.TrimSpace(value))
		}
	}
}

func joinContinued(text string) []string {
	var lines []string
	continued := false
	for _, line := range strings.Split(text, "\n") {
		rest, continues := strings.CutSuffix(line, `\`)
		if continued {
			lines[len(lines)-1] = strings.TrimRight(lines[len(lines)-1], " ") + " " + strings.TrimSpace(rest)
		} else {
			lines = append(lines, rest)
		}
		continued = continues
	}
	return lines
}

// flag reads a boolean of the [Unit] section; the last one wins.
func (u unitFile) flag(key string, otherwise bool) bool {
	values := u["Unit"][key]
	if len(values) == 0 {
		return otherwise
	}
	switch strings.ToLower(values[len(values)-1]) {
	case "1", "yes", "true", "on", "y", "t":
		return true
	}
	return false
}

// difference says what a changed unit file asks for.
type difference int

const (
	equal difference = iota
	needsReload
	needsRestart
)

// Keys of [Unit] that do not concern what runs.
var describing = []string{
	"Description", "Documentation", "OnFailure", "OnSuccess", "OnFailureJobMode", "IgnoreOnIsolate", "StopWhenUnneeded",
	"RefuseManualStart", "RefuseManualStop", "AllowIsolation", "CollectMode", "SourcePath",
}

func compare(current, next unitFile) difference {
	result := equal
	for section := range merged(current, next) {
		if section == "Install" {
			continue
		}
		for key := range merged(current[section], next[section]) {
			if slices.Equal(current[section][key], next[section][key]) {
				continue
			}
			switch {
			case section == "Unit" && key == "X-Reload-Triggers", section == "Mount" && key == "Options":
				result = max(result, needsReload)
			case section == "Unit" && slices.Contains(describing, key):
			default:
				return needsRestart
			}
		}
	}
	return result
}

func merged[V any](a, b map[string]V) map[string]bool {
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return keys
}
