package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/hosts"
)

// reach is where and as whom one host is reached this time, in place of what
// deploy.toml says. Its host keys stay what they are.
type reach struct {
	address string // empty where deploy.toml decides, as all of these
	port    int
	user    string
	origins hosts.Origins
}

func reachFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "reach the one HOST at `ADDRESS[:PORT]` this time, \"local\" for this machine"},
		&cli.StringFlag{Name: "ssh-user", Usage: "log in to the one HOST as `USER` this time"},
	}
}

// contacts says whether the command connects to the hosts that it takes.
func (c commandSpec) contacts() bool {
	switch c.name {
	case "build", "config":
		return false
	}
	return strings.Contains(c.args, "HOST")
}

func readReach(c *cli.Context) (reach, error) {
	r := reach{user: c.String("ssh-user")}
	next := "hdeploy help " + c.Command.Name
	if c.IsSet("address") {
		var err error
		if r.address, r.port, err = hosts.ParseAddress(c.String("address")); err != nil {
			return r, usageFailure("--address: "+err.Error(), next)
		}
		r.origins.Say("address", originOf(c, "address"))
		if r.port != 0 {
			r.origins.Say("port", originOf(c, "address"))
		}
	}
	if c.IsSet("ssh-user") {
		if err := hosts.CheckUser(r.user); err != nil {
			return r, usageFailure("--ssh-user: "+err.Error(), next)
		}
		r.origins.Say("user", originOf(c, "ssh-user"))
	}
	return r, nil
}

// options are those that were given, for messages.
func (r reach) options() string {
	switch {
	case r.address != "" && r.user != "":
		return "--address and --ssh-user are"
	case r.address != "":
		return "--address is"
	}
	return "--ssh-user is"
}

// over puts it over what deploy.toml says, which is about one host or is an error.
func (r reach) over(found selection) error {
	if r.address == "" && r.user == "" {
		return nil
	}
	if n := len(found.hosts); n != 1 {
		return usageFailure(fmt.Sprintf("%s for one host, and %d are selected", r.options(), n), "hdeploy hosts")
	}
	reached, err := found.inventory.Reach(found.hosts[0], r.address, r.port, r.user, r.origins)
	found.hosts[0] = reached
	return err
}
