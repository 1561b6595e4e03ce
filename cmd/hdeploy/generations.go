package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

func generationsCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "generations", args: "HOST",
		usage: "list the generations of a host and what became of them",
		about: "Lists the generations of the host's system profile, newest first: date, versions, who\n" +
			"deployed what, the verdict, and which one runs, boots, and is the last known good.\n" +
			"Changes nothing.",
		example: "hdeploy generations web1",
		action: func(c *cli.Context) error {
			a, q, err := askOne(c, s, 0)
			if err != nil {
				return err
			}
			defer a.close()
			return runGenerations(c.Context, s, a, q)
		},
	})
}

// generationJSON is one line of "hdeploy generations --json".
type generationJSON struct {
	schemaJSON
	Host string `json:"host"`
	protocol.Generation
}

func runGenerations(ctx context.Context, s streams, a asking, q deploy.Question) error {
	list, err := deploy.Generations(ctx, q)
	if err != nil {
		return err
	}
	if a.output == display.JSON {
		lines := make([]generationJSON, len(list))
		for i, g := range list {
			lines[i] = generationJSON{schemaOf("generation"), q.Host.Name, g}
		}
		return printJSONLines(s, lines)
	}
	rows := make([]row, len(list))
	for i, g := range list {
		rows[i] = generationRow(g)
	}
	return write(s, []byte(table([]string{"NUMBER", "DATE", "NIXOS", "KERNEL", "VERDICT"}, rows)))
}

func generationRow(g protocol.Generation) row {
	number := "none"
	if g.Number > 0 {
		number = strconv.Itoa(g.Number)
	}
	r := row{cells: []string{number, local(g.Date), orDash(g.Version), orDash(g.Kernel), string(g.Verdict)}}
	var is []string
	for _, mark := range []struct {
		holds bool
		words string
	}{{g.Running, "runs"}, {g.Boots, "boots"}, {g.LastKnownGood, "last known good"}, {g.Current && !g.Boots, "profile points here"}} {
		if mark.holds {
			is = append(is, mark.words)
		}
	}
	if len(is) > 0 {
		r.below = append(r.below, strings.Join(is, ", "))
	}
	r.below = append(r.below, g.Path)
	if g.Deployer != "" {
		r.below = append(r.below, strings.TrimSuffix("by "+g.Deployer+", "+commit(g.Revision, g.Dirty), ", "))
	}
	return r
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
