package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/hosts"
)

func deployRsDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/from-deploy-rs.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands below a heading, its table row by row.
func section(t *testing.T, text, heading string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var rows [][]string
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| deploy-rs ") && !strings.HasPrefix(line, "| ---") {
			rows = append(rows, cells)
		}
	}
	if len(rows) < 5 {
		t.Fatalf("%d rows in %s", len(rows), heading)
	}
	return rows
}

// What the guide says that hdeploy has, it has.
func TestTheGuideFromDeployRsNamesWhatThereIs(t *testing.T) {
	doc, app := deployRsDoc(t), newApp(streams{})
	var flags []cli.Flag
	for _, command := range app.Commands {
		flags = append(flags, command.Flags...)
	}
	for _, row := range section(t, doc, "Flags") {
		for _, flag := range regexp.MustCompile("`(--[a-z-]+)").FindAllStringSubmatch(row[len(row)-1], -1) {
			if flag[1] != "--" && findFlag(flags, flag[1]) == nil {
				t.Errorf("there is no option %s: %q", flag[1], row)
			}
		}
	}
	for _, name := range regexp.MustCompile("[`$] ?hdeploy ([a-z-]+)").FindAllStringSubmatch(doc, -1) {
		if app.Command(name[1]) == nil {
			t.Errorf("there is no command %s", name[1])
		}
	}
	schema, err := hosts.Schema(deploy.ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range section(t, doc, "Settings") {
		for _, key := range regexp.MustCompile("`([a-z_.]+)").FindAllStringSubmatch(row[len(row)-1], -1) {
			for _, part := range strings.Split(key[1], ".") {
				if !strings.Contains(string(schema), `"`+part+`"`) {
					t.Errorf("deploy.toml has no %s: %q", part, row)
				}
			}
		}
	}
}

func TestTheDeployTOMLOfTheGuideIsValid(t *testing.T) {
	_, text, found := strings.Cut(deployRsDoc(t), "```toml\n")
	text, _, ended := strings.Cut(text, "```")
	path := filepath.Join(t.TempDir(), "deploy.toml")
	t.Setenv("HOME", t.TempDir())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || !found || !ended {
		t.Fatal(err, found, ended)
	}
	inventory, err := hosts.Load(path, deploy.ProbeKinds())
	if err != nil || len(inventory.Hosts[0].Profiles) != 2 {
		t.Errorf("%v %+v", err, inventory)
	}
}
