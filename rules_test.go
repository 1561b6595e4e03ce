// Package hdeploy_test holds the rules of this repository that no linter knows.
package hdeploy_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/hbohlen/hdeploy"

// sources calls look for every text file of the repository that is not built or fetched.
func sources(t *testing.T, look func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, path) {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if utf8.Valid(content) {
			look(path, content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A package comment says what the package is and what it keeps true. Two of them
// contradict each other sooner or later.
func TestEveryPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{}
	sources(t, func(path string, content []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		dir := filepath.Dir(path)
		comments[dir] = append(comments[dir], nil...) // a package without any is counted too
		if file.Doc == nil {
			return
		}
		comments[dir] = append(comments[dir], path)
		want := "Package " + file.Name.Name + " "
		if file.Name.Name == "main" {
			want = "Command " + filepath.Base(dir) + " "
		}
		if text := file.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment does not begin with %q", path, want)
		}
	})
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, want 1: %v", dir, len(files), files)
		}
	}
}

func TestNoLongFiles(t *testing.T) {
	const limit = 500
	sources(t, func(path string, content []byte) {
		lines := bytes.Count(content, []byte("\n"))
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && lines > limit {
			t.Errorf("%s has %d lines, more than %d: it holds more than one thing", path, lines, limit)
		}
	})
}

// The words are put together so that they do not find themselves.
var unwanted = []struct {
	why   string
	words []string
}{
	{"names a path of one machine", []string{"/wo" + "rk/"}},
	{"names a package registry, of which machines have mirrors of their own", []string{
		"deb." + "debian.org", "security." + "debian.org", "archive." + "ubuntu.com", "proxy." + "golang.org", "sum." + "golang.org",
		"registry." + "npmjs.org", "pypi" + ".org", "crates" + ".io", "hub." + "docker.com", "ghcr" + ".io",
	}},
	{"puts off what is either done or an issue", []string{"TO" + "DO", "FIX" + "ME"}},
}

func TestTextIsFitForEveryMachine(t *testing.T) {
	sources(t, func(path string, content []byte) {
		for _, rule := range unwanted {
			for _, word := range rule.words {
				if at := bytes.Index(content, []byte(word)); at >= 0 {
					line := 1 + bytes.Count(content[:at], []byte("\n"))
					t.Errorf("%s:%d: %q %s", path, line, word, rule.why)
				}
			}
		}
	})
}

// The agent is uploaded to every host and runs there as root: what it links must be needed.
var notInAgent = []struct{ pkg, why string }{
	{"golang.org/x/crypto/ssh", "the agent is spoken to over its standard input and output"},
	{"github.com/urfave/cli/v2", "nobody types the agent's arguments"},
	{"github.com/pelletier/go-toml/v2", "the configuration is read where the deployment starts"},
	{"github.com/charmbracelet/bubbletea", "the agent has no terminal"},
	{"github.com/charmbracelet/x/ansi", "the agent has no terminal"},
	{"golang.org/x/term", "the agent has no terminal"},
	{module + "/deploy", "the agent serves a run, it does not make one"},
	{module + "/hosts", "the agent is on the host already"},
	{module + "/lab", "hdeploy knows nothing of the world it is tested in"},
	{"text/template", "it keeps the linker from dropping unused methods"},
	{"html/template", "it keeps the linker from dropping unused methods"},
	{"testing", "tests are not shipped"},
}

func TestAgentLinksNothingItDoesNotNeed(t *testing.T) {
	linked := dependencies(t, "./cmd/hdeploy-agent")
	for _, banned := range notInAgent {
		for _, pkg := range linked {
			if pkg == banned.pkg || strings.HasPrefix(pkg, banned.pkg+"/") {
				t.Errorf("the agent links %s: %s", pkg, banned.why)
			}
		}
	}
}

// A rule about a package that nobody uses any more guards nothing.
func TestAgentRulesNameWhatHdeployLinks(t *testing.T) {
	linked := dependencies(t, "./cmd/hdeploy")
	for _, banned := range notInAgent {
		third := strings.Contains(banned.pkg, ".") && !strings.HasPrefix(banned.pkg, module)
		if third && !slices.Contains(linked, banned.pkg) {
			t.Errorf("hdeploy does not link %s; the rule is out of date", banned.pkg)
		}
	}
}

func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("list dependencies of %s: %v: %s", pkg, err, stderr.String())
	}
	return strings.Fields(string(output))
}
