package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
)

// shownByDefault is how many transactions are told unless more are asked for.
const shownByDefault, shownAtMost = 20, 1000

func historyCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "history", args: "HOST",
		usage: "tell what was deployed to a host, by whom, and how it ended",
		about: "Tells the transactions that the host remembers, newest first: deployer, revision, system,\n" +
			"outcome, durations, probes. Changes nothing.",
		example: "hdeploy history --limit 5 web1",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "limit", Aliases: []string{"n"}, Usage: "tell the newest `N` (default: 20)"},
		},
		action: func(c *cli.Context) error {
			limit, err := readLimit(c)
			if err != nil {
				return err
			}
			a, q, err := askOne(c, s, 0)
			if err != nil {
				return err
			}
			defer a.close()
			return runHistory(c.Context, s, a, q, limit)
		},
	})
}

func readLimit(c *cli.Context) (int, error) {
	if !c.IsSet("limit") {
		return shownByDefault, nil
	}
	n, err := strconv.Atoi(c.String("limit"))
	if err != nil || n < 1 || n > shownAtMost {
		return 0, usageFailure(fmt.Sprintf("--limit: %q is no number from 1 to %d", c.String("limit"), shownAtMost), "hdeploy help "+c.Command.Name)
	}
	return n, nil
}

// transactionJSON is one line of "hdeploy history --json".
type transactionJSON struct {
	schemaJSON
	Host string `json:"host"`
	deploy.Transaction
}

func runHistory(ctx context.Context, s streams, a asking, q deploy.Question, limit int) error {
	past, err := deploy.ReadHistory(ctx, q, limit)
	if err != nil {
		return err
	}
	if a.output == display.JSON {
		lines := make([]transactionJSON, len(past.Transactions))
		for i, t := range past.Transactions {
			lines[i] = transactionJSON{schemaOf("transaction"), q.Host.Name, t}
		}
		return printJSONLines(s, lines)
	}
	if len(past.Transactions) == 0 {
		return write(s, []byte(q.Host.Name+": nothing was deployed by hdeploy yet\n"))
	}
	rows := make([]row, len(past.Transactions))
	for i, t := range past.Transactions {
		rows[i] = transactionRow(t)
	}
	text := table([]string{"NUMBER", "ID", "STARTED", "ACTION", "OUTCOME", "TOOK"}, rows)
	if older := past.Remembered - len(past.Transactions); older > 0 {
		text += fmt.Sprintf("%d older: hdeploy history --limit %d %s\n", older, min(past.Remembered, shownAtMost), q.Host.Name)
	}
	return write(s, []byte(text))
}

func transactionRow(t deploy.Transaction) row {
	duration := "not over"
	if !t.Ended.IsZero() {
		duration = display.Seconds(t.Seconds)
	}
	r := row{cells: []string{strconv.FormatUint(t.Number, 10), t.ID, local(t.Started), t.Action, t.State, duration}}
	r.below = append(r.below, strings.TrimSuffix("by "+t.Deployer+", "+commit(t.Revision, t.Dirty), ", "), t.Closure)
	if steps := stepsText(t.Steps); steps != "" {
		r.below = append(r.below, steps)
	}
	if probes := probesText(t.Probes); probes != "" {
		r.below = append(r.below, probes)
	}
	if t.Reach != nil {
		r.below = append(r.below, t.Reach.Summary)
	}
	for _, p := range t.Probes {
		if p.Verdict != "pass" && !strings.HasPrefix(t.Reason, "probe "+p.Name+" ") {
			r.below = append(r.below, fmt.Sprintf("probe %s: %s: expected %s, saw %s", p.Name, p.Verdict, p.Expected, p.Seen))
		}
	}
	for _, p := range t.AfterRollback {
		if p.Verdict != "pass" {
			r.below = append(r.below, fmt.Sprintf("after the rollback, probe %s: %s (%s): expected %s, saw %s", p.Name, p.Verdict, p.Policy, p.Expected, p.Seen))
		}
	}
	if t.Reason != "" {
		r.below = append(r.below, "because "+t.Reason)
	}
	for _, note := range t.Notes {
		if note != t.Reason {
			r.below = append(r.below, "note: "+note)
		}
	}
	return r
}

// stepsText tells how long each state but the last one took.
func stepsText(steps []deploy.TransactionStep) string {
	var parts []string
	for i, step := range steps {
		if i+1 < len(steps) {
			parts = append(parts, step.State+" "+display.Seconds(step.Seconds))
		}
	}
	return strings.Join(parts, ", ")
}

func probesText(probes []event.Probe) string {
	if len(probes) == 0 {
		return ""
	}
	passed := 0
	for _, p := range probes {
		if p.Verdict == "pass" {
			passed++
		}
	}
	return fmt.Sprintf("%d of %d probes passed", passed, len(probes))
}
