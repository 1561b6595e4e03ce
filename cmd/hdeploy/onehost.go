package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/hosts"
)

// oneHostOptions are those of a command about one host.
type oneHostOptions struct {
	commonOptions
	host hosts.Host
	// all are those of the inventory.
	all []hosts.Host
}

// readOneHost reads HOST and at most more arguments after it.
func readOneHost(c *cli.Context, s streams, more int) (oneHostOptions, error) {
	common, err := readCommon(c, s)
	o := oneHostOptions{commonOptions: common}
	if err != nil {
		return o, err
	}
	name, next := c.Command.Name, "hdeploy help "+c.Command.Name
	if c.Args().Len() == 0 {
		return o, usageFailure(name+" needs a host", "hdeploy hosts")
	}
	if c.Args().Len() > 1+more {
		return o, usageFailure(fmt.Sprintf("%s takes one host, but got %q too", name, c.Args().Get(1+more)), next)
	}
	found, err := selectHosts(c.Context, common, s, "", c.Args().Slice()[:1])
	if err != nil {
		return o, err
	}
	selected := found.hosts
	if len(selected) != 1 {
		return o, usageFailure(fmt.Sprintf("%s takes one host, but %s stands for %d", name, c.Args().First(), len(selected)), next)
	}
	o.host, o.all = selected[0], found.inventory.Hosts
	return o, nil
}

// request is what the engine takes for a host that needs no flake.
func (o oneHostOptions) request(s streams) deploy.Request {
	return deploy.Request{Hosts: []hosts.Host{o.host}, Builders: o.all, Deployer: deployer(s), Automatic: automatic(s), Effect: inEffect(s)}
}
