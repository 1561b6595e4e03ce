package main

import (
	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// deployment is what one of the commands that bring systems to hosts does and the
// others do not.
type deployment struct {
	name   string
	goal   deploy.Goal
	action transaction.Action
	usage  string
	about  string
	// example holds what follows the command's name.
	example string
}

var deployments = [...]deployment{{
	name: "switch", action: transaction.Switch,
	usage: "build, copy and activate a system, and keep it only if it proves healthy",
	about: "Evaluates and builds the system of each HOST (@TAG stands for all hosts with that\n" +
		"tag), copies it, tries it, and makes it the boot default only after the host was\n" +
		"reached again and its probes passed. Until then the host goes back by itself. In a\n" +
		"flake written for deploy-rs, HOST may be .#NODE.PROFILE; without a deploy.toml, NODE.",
	example: "--dry-run web1",
}, {
	name: "boot", action: transaction.Boot,
	usage: "build and copy a system, and boot it from the next boot on",
	about: "Builds and copies the system of each HOST and makes it the boot default. What runs\n" +
		"stays as it is, so that nothing is activated and no probe asked; what cannot be\n" +
		"switched to while the system runs is brought to a host in this way.",
	example: "@web --dry-run",
}, {
	name: "test", action: transaction.Test,
	usage: "activate a system until the next boot, with the way back armed",
	about: "Does what switch does, probes and way back included, but leaves profile and boot\n" +
		"default alone: after a reboot, or a power cut, the host is what it was.",
	example: "web1 --confirm-timeout 5m",
}, {
	name: "dry-activate", goal: deploy.GoalDryActivate,
	usage: "show which units an activation would stop, start, restart and reload",
	about: "Builds and copies the system of each HOST and asks it what its activation would do\n" +
		"there. Nothing is changed on the host, and nothing is left but store paths.",
	example: "@web",
}, {
	name: "build", goal: deploy.GoalBuild,
	usage: "build the systems, contact no host, and print their store paths",
	about: "Evaluates and builds the system of each HOST here, and prints nothing on standard\n" +
		"output but one store path for each. The results are kept from being collected\n" +
		"until the same hosts are built or deployed again.",
	example: "web1 web2",
}, {
	name: "push", goal: deploy.GoalPush,
	usage: "build the systems and copy them to the hosts, and nothing else",
	about: "Builds the system of each HOST and copies it there. A root keeps the last two that\n" +
		"were pushed from being collected, so that a later switch has nothing to copy.",
	example: "@eu",
}, {
	name: "reboot", goal: deploy.GoalReboot,
	usage: "reboot hosts that need it, and see that they come back right",
	about: "Reboots each HOST whose kernel, initrd or modules are not those of the system that\n" +
		"it boots next, or that runs another system than that, and waits until it answers\n" +
		"in a new boot, runs what it was to boot, and its probes pass.",
	example: "@web",
}}

func deploymentCommands(s streams) []*cli.Command {
	var commands []*cli.Command
	for _, d := range deployments {
		commands = append(commands, d.command(s))
	}
	return commands
}

func (d deployment) command(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: d.name, args: "HOST...", usage: d.usage, about: d.about,
		example: "hdeploy " + d.name + " " + d.example,
		flags:   d.flags(),
		action: func(c *cli.Context) error {
			opts, err := readSwitch(c, s)
			if err != nil {
				return err
			}
			opts.deployment = d
			if err := opts.chooseReboot(c); err != nil {
				return err
			}
			return runSwitch(c.Context, s, opts)
		},
	})
}

// flags are the options that mean something to the command; every other one is an
// error and not a deployment that nobody asked for.
func (d deployment) flags() []cli.Flag {
	transacts := d.goal == deploy.GoalTransact
	if d.goal == deploy.GoalReboot {
		return []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say whether a reboot is needed, and why", DisableDefaultText: true},
			&cli.BoolFlag{Name: "force", Usage: "reboot a host that does not need it, or is frozen", DisableDefaultText: true},
		}
	}
	flags := []cli.Flag{
		&cli.StringFlag{Name: "flake", Usage: "deploy from flake `REF` instead of the one in deploy.toml"},
	}
	if d.goal != deploy.GoalBuild {
		flags = append(flags, closureFlags()...)
		flags = append(flags,
			&cli.BoolFlag{Name: "force-identity", Usage: "deploy to a host of another name, which renames it", DisableDefaultText: true},
			&cli.BoolFlag{Name: "strict", Usage: "refuse a git tree that is dirty, behind, or older than what runs", DisableDefaultText: true})
	}
	if transacts || d.goal == deploy.GoalPush {
		flags = append(flags, &cli.BoolFlag{Name: "dry-run", Usage: "build and look, but copy and change nothing", DisableDefaultText: true})
	}
	if transacts {
		flags = append(flags,
			&cli.BoolFlag{Name: "force", Usage: "deploy to a frozen host, and a system that was rejected there before", DisableDefaultText: true},
			&cli.StringFlag{Name: "confirm-timeout", Usage: "let the host wait `DURATION` for the confirmation before it goes back"})
	}
	if transacts && d.action.Activates() {
		flags = append(flags,
			&cli.BoolFlag{Name: "no-rollback", Usage: "leave a system that fails its trial running, for a person to look at", DisableDefaultText: true})
	}
	if d.action == transaction.Boot {
		flags = append(flags,
			&cli.BoolFlag{Name: "reboot", Usage: "boot it once, judge it, and keep it only if it proves healthy", DisableDefaultText: true},
			&cli.BoolFlag{Name: "no-fallback", Usage: "with --reboot: reboot even where the host would not come back by itself", DisableDefaultText: true})
	}
	if transacts && d.action.Activates() || d.goal == deploy.GoalDryActivate {
		flags = append(flags, &cli.StringFlag{Name: "activation-timeout", Usage: "let the activation take at most `DURATION`"})
	}
	if transacts && d.action == transaction.Switch {
		flags = append(flags,
			&cli.BoolFlag{Name: "or-boot", Usage: "boot a system next that cannot be switched to while the host runs", DisableDefaultText: true})
	}
	return flags
}

// chooseReboot makes of boot what --reboot says: a boot with a way back, or one
// without.
func (o *switchOptions) chooseReboot(c *cli.Context) error {
	switch reboot, alone := c.Bool("reboot"), c.Bool("no-fallback"); {
	case alone && !reboot:
		return usageFailure("--no-fallback means something with --reboot only", "hdeploy boot --reboot --no-fallback HOST")
	case alone:
		o.thenReboot = true
	case reboot:
		o.action = transaction.Reboot
	}
	return nil
}
