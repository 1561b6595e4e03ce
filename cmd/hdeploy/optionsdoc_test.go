package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

const optionsDocument = "../../docs/options.md"

// The table of options is that of the command tree.
func TestPublishedOptionsAreThoseOfTheProgram(t *testing.T) {
	s, _, _ := testStreams(t)
	text, err := os.ReadFile(optionsDocument)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- options: begin -->\n", "<!-- options: end -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		t.Fatalf("%s has no place for the table", optionsDocument)
	}
	want := before + begin + optionsTable(newApp(s)) + end + after
	if *update {
		if err := os.WriteFile(optionsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s has another table than the program; write it with: go test ./cmd/hdeploy -run Published -update", optionsDocument)
	}
}

// optionRow is an option and the commands that take it with this meaning.
type optionRow struct {
	flag     cli.DocGenerationFlag
	names    []string
	commands []string
}

func optionsTable(app *cli.App) string {
	rows := map[string]*optionRow{}
	for _, command := range app.Commands {
		for _, f := range command.Flags {
			documented := f.(cli.DocGenerationFlag)
			key := f.Names()[0] + documented.GetUsage()
			if rows[key] == nil {
				rows[key] = &optionRow{flag: documented, names: f.Names()}
			}
			rows[key].commands = append(rows[key].commands, command.Name)
		}
	}
	var sorted []*optionRow
	for _, r := range rows {
		sorted = append(sorted, r)
	}
	slices.SortFunc(sorted, func(a, b *optionRow) int {
		return cmp.Or(cmp.Compare(a.names[0], b.names[0]), cmp.Compare(a.commands[0], b.commands[0]))
	})
	var b strings.Builder
	b.WriteString("| option | variable | commands | meaning |\n| --- | --- | --- | --- |\n")
	for _, r := range sorted {
		b.WriteString(r.line(len(app.Commands)))
	}
	return b.String()
}

var placeholder = regexp.MustCompile("`([^`]+)`")

func (r *optionRow) line(allCommands int) string {
	usage := r.flag.GetUsage()
	var names []string
	for _, name := range r.names {
		written := dashed(name)
		if value := placeholder.FindStringSubmatch(usage); value != nil && r.flag.TakesValue() {
			written += " " + value[1]
		}
		names = append(names, "`"+written+"`")
	}
	variable := ""
	if v := variables()[r.names[0]]; v != "" {
		variable = "`" + v + "`"
	}
	commands := strings.Join(r.commands, ", ")
	if len(r.commands) == allCommands {
		commands = "all"
	}
	meaning := strings.NewReplacer("`", "", "|", "\\|").Replace(usage)
	return fmt.Sprintf("| %s | %s | %s | %s |\n", strings.Join(names, ", "), variable, commands, meaning)
}

// A variable that belongs to no option would silently do nothing.
func TestEveryVariableHasAnOption(t *testing.T) {
	s, _, _ := testStreams(t)
	app := newApp(s)
	for option, variable := range variables() {
		if want := "HDEPLOY_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_")); variable != want {
			t.Errorf("--%s has the variable %s, want %s", option, variable, want)
		}
		if !slices.ContainsFunc(app.Commands, func(c *cli.Command) bool { return findFlag(c.Flags, "--"+option) != nil }) {
			t.Errorf("no command has --%s", option)
		}
	}
}

func TestWithEnvironment(t *testing.T) {
	for _, c := range []struct{ args, environment, want string }{
		{"switch web1", "", "switch -- web1"},
		{"switch web1", "HDEPLOY_CONFIG=a.toml HDEPLOY_CONFIRM_TIMEOUT=2m HDEPLOY_OTHER=x", "switch --confirm-timeout=2m --config=a.toml -- web1"},
		{"switch --config b.toml web1", "HDEPLOY_CONFIG=a.toml", "switch --config=b.toml -- web1"},
		{"switch --json web1", "HDEPLOY_OUTPUT=plain", "switch --json -- web1"},
		{"switch --output quiet web1", "HDEPLOY_OUTPUT=plain", "switch --output=quiet -- web1"},
		{"hosts", "HDEPLOY_OUTPUT=plain HDEPLOY_FLAKE=.", "hosts --output=plain --"},
		{"status --no-flake", "HDEPLOY_FLAKE=.", "status --no-flake --"},
		{"hosts", "HDEPLOY_OUTPUT=", "hosts --"},
		{"switch -- --impure", "HDEPLOY_CONFIG=-x.toml", "switch --config=-x.toml -- -- --impure"},
	} {
		s, _, _ := testStreams(t)
		s.Env = func(name string) (string, bool) {
			for _, entry := range strings.Fields(c.environment) {
				if key, value, _ := strings.Cut(entry, "="); key == name {
					return value, true
				}
			}
			return "", false
		}
		app := newApp(s)
		arranged, err := arrange(app, strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := withEnvironment(app, arranged, s)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s with %s: got %q, %v; want %s", c.args, c.environment, got, err, c.want)
		}
	}
}
