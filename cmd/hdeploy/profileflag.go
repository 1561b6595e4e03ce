package main

import "github.com/urfave/cli/v2"

// profileFlag names one of the several profiles of a host.
func profileFlag() cli.Flag {
	return &cli.StringFlag{Name: "profile", Usage: "the `NAME` of one of the host's profiles, if not its system"}
}
