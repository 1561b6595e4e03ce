package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
)

type rollbackOptions struct {
	oneHostOptions
	to, profile string
	yes, force  bool
}

func rollbackCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "rollback", args: "HOST",
		usage: "go back to the last system that was confirmed, with SSH and nothing else",
		about: "Makes HOST run the last system that was confirmed healthy before the present one, or\n" +
			"takes a deployment back that is under way. It shows what it will do and asks. The\n" +
			"host tries the system, and returns to what it runs now unless it can be reached\n" +
			"afterwards; probes only alert. What is left is then refused to deployments that no\n" +
			"person watches, until --force. Needs no flake and no Nix.",
		example: "hdeploy rollback web1 --to 41",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "go to `GENERATION`, a number or a store path"},
			profileFlag(),
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", DisableDefaultText: true},
			&cli.BoolFlag{Name: "force", Usage: "go back though somebody else has frozen the host", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			one, err := readOneHost(c, s, 0)
			if err != nil {
				return err
			}
			return runRollback(c.Context, s, rollbackOptions{one, c.String("to"), c.String("profile"), c.Bool("yes"), c.Bool("force")})
		},
	})
}

func runRollback(ctx context.Context, s streams, o rollbackOptions) error {
	if !o.yes && (!s.InTTY || !s.ErrTTY) {
		return usageFailure("there is no terminal to ask on whether to go back; nothing was contacted", "hdeploy rollback "+o.host.Name+" --yes")
	}
	return runEngine(ctx, s, o.commonOptions, o.request(s), engineRun{
		asks:        !o.yes,
		interrupted: "interrupted: bringing the host into a state that can be named; interrupt again to leave at once",
		work: func(ctx context.Context, r deploy.Request, g *stage) (deploy.Report, error) {
			r.Force, r.Profile = o.force, o.profile
			request := deploy.RollbackRequest{Request: r, To: o.to}
			if !o.yes {
				request.Agree = func(ctx context.Context, plan event.Plan) error { return ask(ctx, s, o, g, plan) }
			}
			return deploy.Rollback(ctx, request), nil
		},
	})
}

// ask shows the plan and waits for a yes. What was shown is not told again, but to
// a program.
func ask(ctx context.Context, s streams, o rollbackOptions, g *stage, plan event.Plan) error {
	fmt.Fprintf(s.ErrOut, "%s\n", o.host.Name)
	for _, line := range display.PlanLines(plan) {
		fmt.Fprintf(s.ErrOut, "  %s\n", line)
	}
	fmt.Fprintf(s.ErrOut, "Go back? [y/N] ")
	g.shown = o.output != display.JSON
	if err := yes(ctx, s); err != nil {
		return err
	}
	return g.open()
}

// yes reads the answer. A read from a terminal cannot be ended: the one that an
// interrupt leaves behind ends with the process.
func yes(ctx context.Context, s streams) error {
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(s.In).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answered:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return errors.New("the answer was not yes")
	case <-ctx.Done():
		fmt.Fprintln(s.ErrOut)
		return errors.New("interrupted at the question")
	}
}
