package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func logCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "log", args: "HOST [ID]",
		usage: "print what a deployment's activation printed on the host",
		about: "Prints what the switches of a transaction printed on the host: of the newest one, or of that\n" +
			"with the ID or number which hdeploy history shows. The host keeps the last 20.",
		example: "hdeploy log web1 12",
		action: func(c *cli.Context) error {
			id, number, err := readTransaction(c.Args().Get(1))
			if err != nil {
				return err
			}
			a, q, err := askOne(c, s, 1)
			if err != nil {
				return err
			}
			defer a.close()
			return runLog(c.Context, s, a, q, id, number)
		},
	})
}

// readTransaction reads what names a transaction: its id, its number, or nothing
// for the newest.
func readTransaction(name string) (id string, number uint64, err error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil && n > 0 && len(name) < 8 {
		return "", n, nil
	}
	if name != "" && !transaction.ValidID(name) {
		return "", 0, usageFailure(fmt.Sprintf("%q is neither the id nor the number of a transaction", name), "hdeploy help log")
	}
	return name, 0, nil
}

// logJSON is one line of "hdeploy log --json".
type logJSON struct {
	schemaJSON
	Host        string `json:"host"`
	Transaction string `json:"transaction"`
	Text        string `json:"text"`
	// Cut says, of the first line, that there were more before it.
	Cut bool `json:"cut,omitempty"`
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
			lines[i] = logJSON{schemaOf("log"), q.Host.Name, t.ID, text, log.Cut && i == 0}
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
