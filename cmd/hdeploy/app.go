package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
)

// Main runs one command line, without the program's name, and returns the
// exit code of the process.
func Main(ctx context.Context, args []string, s streams) int {
	return interruptible(ctx, s, func(ctx context.Context) int {
		if len(args) > 0 && args[0] == completeCommand {
			return runComplete(s, args[1:])
		}
		if len(args) > 1 && args[0] == joinCommand {
			return runJoin(ctx, s, args[1])
		}
		return conclude(s, args, run(ctx, args, s))
	})
}

func run(ctx context.Context, args []string, s streams) error {
	app := newApp(s)
	arranged, err := arrange(app, args)
	if err != nil {
		return err
	}
	arranged, forNix := cutNix(arranged)
	arranged, added, err := withEnvironment(app, arranged, s)
	if err != nil {
		return err
	}
	app.Metadata = map[string]any{environmentKey: added, nixKey: forNix}
	return blameEnvironment(app.RunContext(ctx, append([]string{app.Name}, arranged...)), added)
}

// nixKey is where the library keeps, for the commands, what stood after "--".
const nixKey = "arguments for Nix"

// newApp returns the whole command tree. Nothing of it is shared, so that
// tests may run as many as they like.
func newApp(s streams) *cli.App {
	app := &cli.App{
		Name:            "hdeploy",
		Usage:           "deploy NixOS systems to remote hosts, and take them back when they fail",
		Writer:          s.Out,
		ErrWriter:       s.ErrOut,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags:           globalFlags(),
		OnUsageError:    onUsageError,
		// The library would exit the process by itself.
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: append(deploymentCommands(s),
			effectCommand(s),
			rollbackCommand(s),
			attachCommand(s),
			confirmCommand(s),
			abortCommand(s),
			statusCommand(s),
			probeCommand(s),
			checkCommand(s),
			generationsCommand(s),
			historyCommand(s),
			logCommand(s),
			lockCommand(s),
			unlockCommand(s),
			hostsCommand(s),
			configCommand(s),
			initCommand(s),
			trustCommand(s),
			versionCommand(s),
			completionCommand(s),
			helpCommand(),
		),
	}
	app.CustomAppHelpTemplate = appHelp(app)
	return app
}

// commandSpec is what one command adds to what all commands share.
type commandSpec struct {
	name, args string
	usage      string // one line
	about      string // what a person needs to know, and one example
	example    string
	flags      []cli.Flag
	action     func(*cli.Context) error
}

// newCommand is the only maker of commands: the library prints usage errors to
// standard output unless every single command says otherwise.
func newCommand(c commandSpec) *cli.Command {
	if c.contacts() {
		c.flags = append(c.flags, reachFlags()...)
	}
	return &cli.Command{
		Name:               c.name,
		Usage:              c.usage,
		ArgsUsage:          c.args,
		CustomHelpTemplate: commandHelp(c),
		HideHelpCommand:    true,
		Flags:              append(c.flags, globalFlags()...),
		OnUsageError:       onUsageError,
		Action:             c.action,
	}
}

func onUsageError(_ *cli.Context, err error, _ bool) error {
	return usageFailure(err.Error(), "hdeploy help")
}

// globalFlags are accepted before and after the command.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read hosts from `FILE` (default: deploy.toml here or in a parent folder)"},
		&cli.StringFlag{Name: "output", Usage: "show progress as `KIND`: auto, terminal, plain, json or quiet (default: auto)"},
		&cli.BoolFlag{Name: "json", Usage: "the same as --output json", DisableDefaultText: true},
		&cli.BoolFlag{Name: "no-color", Usage: "use no colour, as with NO_COLOR=1", DisableDefaultText: true},
		&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` on: trace, debug, info, warn, error or off (default: off; debug with --log-file)"},
		&cli.StringFlag{Name: "log-file", Usage: "append the log to `FILE` instead of standard error"},
	}
}

// conclude prints what went wrong, in the form the command line asked for, and
// returns the exit code.
func conclude(s streams, args []string, err error) int {
	if err == nil {
		return deploy.CodeOK
	}
	f := failureOf(s, err)
	if !f.told {
		f.print(s)
		if wantsJSON(args) || environmentWantsJSON(s, args) {
			f.printJSON(s)
		}
	}
	return f.code
}

// wantsJSON reads what the arguments ask for even if they are wrong elsewhere.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "--json", arg == "--json=true", arg == "--output=json":
			return true
		case arg == "json" && i > 0 && args[i-1] == "--output":
			return true
		}
	}
	return false
}

func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageFailure(fmt.Sprintf("%s takes no arguments, but got %q", c.Command.Name, c.Args().First()), "hdeploy help "+c.Command.Name)
	}
	return nil
}
