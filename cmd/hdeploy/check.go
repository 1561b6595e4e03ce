package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
)

func checkCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "check", args: "HOST...",
		usage: "find out what a deployment would meet, before it",
		about: "Looks at the lock file, evaluates the configuration of each HOST and looks at the host:\n" +
			"inputs that are not locked, owners of secrets that do not exist, units that are named\n" +
			"and are not there, an empty token, a lock, the lack of space, and more, each with cause\n" +
			"and remedy. Changes nothing and takes no lock. The exit code is 11 where a failure was\n" +
			"found; warnings and notes leave it at 0.",
		example: "hdeploy check --build hetzner-vps",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "flake", Usage: "check flake `REF` instead of the one in deploy.toml"},
			&cli.BoolFlag{Name: "build", Usage: "build the systems, too", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			o, err := readSwitch(c, s)
			if err != nil {
				return err
			}
			return runCheck(c.Context, s, o, c.Bool("build"))
		},
	})
}

func runCheck(ctx context.Context, s streams, o switchOptions, build bool) error {
	request, err := o.request(ctx, s)
	if err != nil {
		return err
	}
	return runEngine(ctx, s, o.commonOptions, request, engineRun{
		interrupted: "interrupted; nothing was changed",
		work: func(ctx context.Context, r deploy.Request, _ *stage) (deploy.Report, error) {
			return deploy.Check(ctx, deploy.CheckRequest{Request: r, Build: build})
		},
	})
}
