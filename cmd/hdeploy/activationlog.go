package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
)

func logCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "log", args: "HOST [ID]",
		usage: "print what a deployment's activation printed on the host",
		about: "Prints what the switches of a transaction printed on the host: of the newest one, or of that\n" +
			"with the ID or number which hdeploy history shows. The host keeps the last 20.",
		example: "hdeploy log web1 12",
		action: func(c *cli.Context) error {
			a, q, err := askOne(c, s, 1)
			if err != nil {
				return err
			}
			defer a.close()
			id, number := c.Args().Get(1), uint64(0)
			if n, err := strconv.ParseUint(id, 10, 31); err == nil {
				id, number = "", n
			}
			return runLog(c.Context, s, a, q, id, number)
		},
	})
}

// logJSON is one line of "hdeploy log --json".
type logJSON struct {
	schemaJSON
	Host        string `json:"host"`
	Transaction string `json:"transaction"`
	Text        string `json:"text"`
}

func runLog(ctx context.Context, s streams, a asking, q deploy.Question, id string, number uint64) error {
	log, err := deploy.ReadLog(ctx, q, id, number)
	if err != nil {
		return err
	}
	t := log.Transaction
	if a.output == display.JSON {
		lines := make([]logJSON, len(log.Lines))
		for i, text := range log.Lines {
			lines[i] = logJSON{schemaOf("log"), q.Host.Name, t.ID, text}
		}
		return printJSONLines(s, lines)
	}
	// The head is no part of the log, which may be piped somewhere.
	head := fmt.Sprintf("%s: transaction %d (%s) by %s, %s, %s", q.Host.Name, t.Number, t.ID, t.Deployer, local(t.Started), t.State)
	if log.Cut {
		head += "; only the end of the log is kept"
	}
	fmt.Fprintln(s.ErrOut, display.Clean(head))
	var b strings.Builder
	for _, line := range log.Lines {
		b.WriteString(display.Clean(line) + "\n")
	}
	return write(s, []byte(b.String()))
}
