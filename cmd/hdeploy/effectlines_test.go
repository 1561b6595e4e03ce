package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// scripts/check-lib compares the file with the effects that lib.deployEffect makes.
func TestEffectsOfTheFlakeAreUnderstood(t *testing.T) {
	golden, err := os.ReadFile("../../deploy/testdata/effects.golden")
	if err != nil {
		t.Fatal(err)
	}
	understood := 0
	for line := range strings.Lines(string(golden)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "hdeploy" {
			continue
		}
		s, _, _ := testStreams(t)
		app := newApp(s)
		effect := app.Command("effect")
		effect.Action = func(c *cli.Context) error {
			understood++
			if name := c.Args().First(); c.Args().Len() != 1 || !slices.Contains([]string{"web1", "web2", "db1"}, name) {
				t.Errorf("%s: the hosts are %q", line, c.Args().Slice())
			}
			for _, name := range []string{"closure", "expectations", "config"} {
				if !strings.HasPrefix(c.String(name), "/nix/store/HASH-") {
					t.Errorf("%s: --%s is %q", line, name, c.String(name))
				}
			}
			if !commitName.MatchString(c.String("rev")) || c.IsSet("branch") && !branchName.MatchString(c.String("branch")) {
				t.Errorf("%s: --rev is %q, --branch %q", line, c.String("rev"), c.String("branch"))
			}
			return nil
		}
		arranged, err := arrange(app, words[1:])
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if err := app.RunContext(t.Context(), append([]string{"hdeploy"}, arranged...)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if understood < 5 {
		t.Errorf("%d lines", understood)
	}
}
