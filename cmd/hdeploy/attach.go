package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func attachCommand(s streams) *cli.Command {
	return decideCommand(s, commandSpec{
		name: "attach", args: "HOST [ID]",
		usage: "follow the deployment that runs on a host, or tell how one ended",
		about: "Follows the deployment that runs on HOST to its end, whoever began it, or tells how\n" +
			"the last one ended; ID, or how it begins, names an earlier one. The exit code is\n" +
			"that of the deployment. Ctrl-C only stops following.",
		example: "hdeploy attach web1",
	}, "interrupted: no longer following; the host goes on", deploy.Attach)
}

func confirmCommand(s streams) *cli.Command {
	return decideCommand(s, commandSpec{
		name: "confirm", args: "HOST [ID]",
		usage: "confirm by hand the system that a host has in trial",
		about: "Says, over a new connection, that the system in trial on HOST is good, in place of\n" +
			"whoever deploys it. The host accepts that only while it waits for it, and tells\n" +
			"why not otherwise.",
		example: "hdeploy confirm web1",
	}, "interrupted: a confirmation that was accepted is waited for; interrupt again to leave at once", deploy.Confirm)
}

func abortCommand(s streams) *cli.Command {
	return decideCommand(s, commandSpec{
		name: "abort", args: "HOST [ID]",
		usage: "take back by hand the deployment that runs on a host",
		about: "Makes HOST go back from the system that it has in trial, and waits until it is back.\n" +
			"That system is then refused to deployments that no person watches, until --force.\n" +
			"Once it was committed, hdeploy rollback takes it back.",
		example: "hdeploy abort web1",
	}, "interrupted: waiting until the host is back; interrupt again to leave at once", deploy.Abort)
}

// decideCommand makes a command about one transaction on one host.
func decideCommand(s streams, spec commandSpec, interrupted string, work func(context.Context, deploy.Request, string) deploy.Report) *cli.Command {
	spec.flags = append(spec.flags, profileFlag())
	spec.action = func(c *cli.Context) error {
		o, err := readOneHost(c, s, 1)
		if err != nil {
			return err
		}
		id := c.Args().Get(1) // empty for the one that runs, or the last one
		if id != "" && !transaction.ValidIDPrefix(id) {
			return usageFailure(fmt.Sprintf("not the id of a transaction, nor how one begins: %q", id), "hdeploy attach "+o.host.Name)
		}
		return runEngine(c.Context, s, o.commonOptions, o.request(s), engineRun{
			interrupted: interrupted,
			work: func(ctx context.Context, r deploy.Request, _ *stage) (deploy.Report, error) {
				r.Profile = c.String("profile")
				return work(ctx, r, id), nil
			},
		})
	}
	return newCommand(spec)
}
