package hosts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const reference = "../docs/deploy-toml.md"

var tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")

func tomlBlocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range tomlBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no toml block", file)
	}
	return blocks
}

// Every key that the package reads is described and stands in an example.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	described := string(tomlBlock.ReplaceAllString(string(text), ""))
	examples := strings.Join(tomlBlocks(t, reference), "\n")
	keys := readKeys(t)
	if len(keys) < 30 {
		t.Fatalf("only %d keys found in the source: %v", len(keys), keys)
	}
	for _, key := range keys {
		name := regexp.QuoteMeta(key)
		if !regexp.MustCompile("`\\[?" + name + "(\\.NAME\\])?\\]?`").MatchString(described) {
			t.Errorf("%q is described nowhere in %s", key, reference)
		}
		if !regexp.MustCompile(`(?m)(^\[(hosts\.\w+\.)?` + name + `\b|(^|[{,])\s*` + name + ` *=)`).MatchString(examples) {
			t.Errorf("%q stands in no example of %s", key, reference)
		}
	}
}

// readKeys finds what the decoder asks a table for: the first argument of its
// readers, wherever that is a literal.
func readKeys(t *testing.T) []string {
	t.Helper()
	readers := []string{
		"lookup", "text", "oneOf", "strings", "set", "distinct", "list",
		"integer", "boolean", "duration", "optionalDuration", "field", "each",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if method, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(readers, method.Sel.Name) {
				keys = append(keys, literals(call.Args)...)
			}
			return true
		})
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// literals returns the key among the first two arguments: each takes the table
// before it.
func literals(args []ast.Expr) []string {
	for _, arg := range args[:min(len(args), 2)] {
		if literal, ok := arg.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if key, err := strconv.Unquote(literal.Value); err == nil {
				return []string{key}
			}
		}
	}
	return nil
}
