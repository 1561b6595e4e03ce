// Package openspec_test ties the scenarios of the specifications to the tests that prove
// them.
package openspec_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenario is one of a specification: its steps in their order, and what proves it.
type scenario struct {
	name  string
	steps []string
	tests []string
}

var (
	stepLine = regexp.MustCompile(`^- \*\*([A-Z]+)\*\* (.+)$`)
	quoted   = regexp.MustCompile("`([^`]+)`")
	// A case of a table goes by its name, which is a string in the package.
	goTest = regexp.MustCompile(`^([a-z/-]+)\.((?:Test|Fuzz)\w+)(?:/(.+))?$`)
	// What Nix evaluates is checked by a script, or by what that reads, and found there by
	// these words.
	nixCheck = regexp.MustCompile(`^((?:scripts|modules)/[a-z./-]+): (.+)$`)
)

// scenariosOf reads the scenarios of a specification. A step may go on in lines below it.
func scenariosOf(text string) []scenario {
	var all []scenario
	step := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		name, begins := strings.CutPrefix(line, "#### Scenario: ")
		match := stepLine.FindStringSubmatch(line)
		switch {
		case begins:
			all = append(all, scenario{name: name})
			step = ""
		case len(all) == 0:
		case match != nil:
			step = match[1]
			all[len(all)-1].steps = append(all[len(all)-1].steps, step)
		case !strings.HasPrefix(line, "  "):
			step = ""
		}
		if step == "TEST" {
			for _, name := range quoted.FindAllStringSubmatch(line, -1) {
				all[len(all)-1].tests = append(all[len(all)-1].tests, name[1])
			}
		}
	}
	return all
}

// sources are those of the repository at root, each package of which is read once.
type sources struct {
	root     string
	packages map[string]goPackage
}

// goPackage has the tests of a directory, whatever their build tags, and all strings in it.
type goPackage struct{ tests, words map[string]bool }

// lacks says what is wrong with a scenario.
func (s scenario) lacks(from sources) []string {
	var lacks []string
	for _, step := range []string{"WHEN", "THEN", "TEST"} {
		if !slices.Contains(s.steps, step) {
			lacks = append(lacks, "no step "+step)
		}
	}
	if len(s.tests) == 0 {
		lacks = append(lacks, "no test is named")
	}
	for _, name := range s.tests {
		if err := from.find(name); err != nil {
			lacks = append(lacks, err.Error())
		}
	}
	return lacks
}

// find looks for a test by the name that a scenario gives it.
func (s sources) find(name string) error {
	if match := nixCheck.FindStringSubmatch(name); match != nil {
		text, err := os.ReadFile(filepath.Join(s.root, match[1]))
		if err != nil || !strings.Contains(string(text), match[2]) {
			return fmt.Errorf("%s does not check %q", match[1], match[2])
		}
		return nil
	}
	match := goTest.FindStringSubmatch(name)
	if match == nil {
		return fmt.Errorf("%q is neither PACKAGE.TestName, PACKAGE.TestName/CASE nor scripts/FILE: WORDS", name)
	}
	found, err := s.read(match[1])
	switch {
	case err != nil:
		return fmt.Errorf("%s: %v", name, err)
	case !found.tests[match[2]]:
		return fmt.Errorf("%s has no %s", match[1], match[2])
	case match[3] != "" && !found.words[match[3]]:
		return fmt.Errorf("%s has no case %q", match[1], match[3])
	}
	return nil
}

func (s sources) read(folder string) (goPackage, error) {
	if known, ok := s.packages[folder]; ok {
		return known, nil
	}
	files, err := filepath.Glob(filepath.Join(s.root, folder, "*.go"))
	if err != nil || len(files) == 0 {
		return goPackage{}, fmt.Errorf("no Go package in %s", folder)
	}
	found := goPackage{map[string]bool{}, map[string]bool{}}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return goPackage{}, err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.FuncDecl:
				if node.Recv == nil && strings.HasSuffix(name, "_test.go") {
					found.tests[node.Name.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
					found.words[text] = true
				}
			}
			return true
		})
	}
	s.packages[folder] = found
	return found, nil
}

// A scenario that nothing proves is a wish.
func TestEveryScenarioNamesATestThatExists(t *testing.T) {
	count := 0
	from := sources{"..", map[string]goPackage{}}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "spec.md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		scenarios := scenariosOf(string(text))
		if len(scenarios) != strings.Count(string(text), "Scenario:") {
			t.Errorf("%s: not every scenario is a heading of level 4", path)
		}
		for _, s := range scenarios {
			for _, lack := range s.lacks(from) {
				t.Errorf("%s: scenario %q: %s", path, s.name, lack)
			}
		}
		count += len(scenarios)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count == 0 {
		t.Error("there are no scenarios")
	}
}

func TestWhatAScenarioLacks(t *testing.T) {
	const this = "openspec.TestWhatAScenarioLacks"
	for text, want := range map[string]string{
		"- **WHEN** a\n- **THEN** b\n- **TEST** `" + this + "`":                 "",
		"- **WHEN** a\n- **THEN** b\n- **TEST** `" + this + "`,\n  `lab.TestX`": "lab has no TestX",
		"- **WHEN** a\n- **THEN** b\n- **TEST** `" + this + "/WHEN`":            "",
		"- **WHEN** a\n- **THEN** b\n- **TEST** `" + this + "/no ca" + "se`":    `openspec has no case "no case"`,
		"- **WHEN** a\n- **THEN** b\n- **TEST** `openspec.find`":                `"openspec.find" is neither PACKAGE.TestName, PACKAGE.TestName/CASE nor scripts/FILE: WORDS`,
		"- **WHEN** a\n- **THEN** b\n- **TEST** `nowhere.TestX`":                "nowhere.TestX: no Go package in nowhere",
		"- **WHEN** a\n- **THEN** b\n- **TEST** `scripts/test: heading()`":      "",
		"- **WHEN** a\n- **THEN** b\n- **TEST** `scripts/test: nothing of it`":  `scripts/test does not check "nothing of it"`,
		"- **WHEN** a\n- **THEN** b\n- **TEST** by looking at it":               "no test is named",
		"- **WHEN** a\n- **THEN** b":                                            "no step TEST, no test is named",
		"- **THEN** b\n- **TEST** `" + this + "`":                               "no step WHEN",
		"- **WHEN** a\n- **TEST** `" + this + "`":                               "no step THEN",
	} {
		scenarios := scenariosOf("### Requirement: R\n\n#### Scenario: S\n\n" + text + "\n\nMore about `it`.\n")
		if len(scenarios) != 1 {
			t.Fatalf("%d scenarios in %q", len(scenarios), text)
		}
		if got := strings.Join(scenarios[0].lacks(sources{"..", map[string]goPackage{}}), ", "); got != want {
			t.Errorf("%q lacks %q, not %q", text, got, want)
		}
	}
}
