package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy/display"
)

func helpCommand() *cli.Command {
	return newCommand(commandSpec{
		name: "help", args: "[COMMAND]",
		usage:   "explain hdeploy or one of its commands",
		about:   "Prints the commands, or the options and an example of one command.",
		example: "hdeploy help switch",
		action: func(c *cli.Context) error {
			switch c.Args().Len() {
			case 0:
				return cli.ShowAppHelp(c)
			case 1:
			default:
				return usageFailure("help takes at most one command", "hdeploy help")
			}
			name := c.Args().First()
			if c.App.Command(name) == nil {
				return unknownCommand(c.App, name)
			}
			return cli.ShowCommandHelp(c.Lineage()[1], name)
		},
	})
}

// appHelp explains hdeploy. It is written here and not by a template of the
// library's, which would leave every line as long as it is.
func appHelp(app *cli.App) string {
	var commands []explained
	for _, c := range app.Commands {
		commands = append(commands, explained{c.Name, c.Usage})
	}
	return hanging("hdeploy: "+app.Usage, "  ") + `

Usage: hdeploy COMMAND [options] [HOST...]

Commands:
` + sideBySide(commands) + flagHelp("Options of every command:", app.Flags) + `
Options may stand anywhere. What follows "--" goes to Nix (evaluation, build).
Start with: hdeploy switch --dry-run HOST
Exit codes: 0 all well, 2 usage or configuration, 3 evaluation or build failed,
4 copy failed, 5 refused, 6 unreachable, 7 rolled back, 8 look at the host now,
9 degraded, 10 interrupted, 11 not healthy or not ready, 1 internal error.
`
}

// commandHelp explains one command.
func commandHelp(c commandSpec) string {
	if evaluates(c.name) {
		c.args += " [-- NIX ARGUMENT...]"
	}
	return hanging("hdeploy "+c.name+": "+c.usage, "  ") + "\n\n" +
		hanging("Usage: hdeploy "+c.name+" [options] "+c.args, "  ") + "\n\n" +
		strings.Join(display.Wrap(c.about, lineWidth), "\n") + "\n\n" +
		"Example:\n\n    " + c.example + "\n" +
		flagHelp("Options:", c.flags) + flagHelp("Options of every command:", globalFlags())
}

func flagHelp(title string, flags []cli.Flag) string {
	if len(flags) == 0 {
		return ""
	}
	flags = slices.SortedFunc(slices.Values(flags), func(a, b cli.Flag) int { return cmp.Compare(a.Names()[0], b.Names()[0]) })
	var all []explained
	for _, f := range flags {
		names, usage, _ := strings.Cut(f.String(), "\t")
		if variable := variables()[f.Names()[0]]; variable != "" {
			usage += " [$" + variable + "]"
		}
		all = append(all, explained{names, usage})
	}
	return "\n" + title + "\n" + sideBySide(all)
}

// explained is a word of the command line and what it means.
type explained struct{ word, meaning string }

// sideBySide aligns the meanings behind their words, continued under themselves.
func sideBySide(all []explained) string {
	const indent = "   "
	width := 0
	for _, e := range all {
		width = max(width, ansi.StringWidth(e.word))
	}
	under := strings.Repeat(" ", len(indent)+width+2)
	var b strings.Builder
	for _, e := range all {
		word := e.word + strings.Repeat(" ", width-ansi.StringWidth(e.word)+2)
		b.WriteString(indent + word + hanging(e.meaning, under) + "\n")
	}
	return b.String()
}
