package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// arrange puts arguments into the one order in which the library reads them
// right: command, options, "--", names, and, where there are some, "--" and arguments
// for Nix. Left alone it would take an option
// after a name for one more name, so that a trailing --dry-run would deploy.
// Every option is checked here, since an option that is silently dropped, or
// taken for the value of another one, is a deployment nobody asked for.
func arrange(app *cli.App, args []string) ([]string, error) {
	a := arrangement{app: app, seen: map[string]bool{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			err = a.forNix(args)
			args = nil
		case len(arg) > 1 && arg[0] == '-':
			args, err = a.option(arg, args)
		default:
			err = a.names([]string{arg})
		}
		if err != nil {
			return nil, err
		}
	}
	return a.result()
}

type arrangement struct {
	app       *cli.App
	command   *cli.Command // nil until its name was read
	options   []string
	arguments []string
	nix       []string
	seen      map[string]bool
	help      bool
}

func (a *arrangement) result() ([]string, error) {
	switch {
	case a.command == nil && a.help:
		return []string{"help", "--"}, nil
	case a.command == nil:
		return nil, usageFailure("no command given", "hdeploy help")
	case a.help:
		return []string{"help", "--", a.command.Name}, nil
	}
	out := append([]string{a.command.Name}, a.options...)
	out = append(append(out, "--"), a.arguments...)
	if len(a.nix) > 0 {
		out = append(append(out, "--"), a.nix...)
	}
	return out, nil
}

// forNix takes what stands after "--". An option of hdeploy there is a mistake: with
// --dry-run behind it, that would deploy.
func (a *arrangement) forNix(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if a.command == nil {
		return usageFailure(`after "--" stand arguments for Nix, and no command stands before it`, "hdeploy help")
	}
	if !evaluates(a.command.Name) {
		return usageFailure(fmt.Sprintf(`after "--" stand arguments for Nix, and %s evaluates and builds nothing`, a.command.Name), a.nextHelp())
	}
	for _, arg := range args {
		written, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(written, "--") && findFlag(a.command.Flags, written) != nil {
			return usageFailure(fmt.Sprintf(`option %s is hdeploy's own, and after "--" stand arguments for Nix: write it before`, written), a.nextHelp())
		}
	}
	a.nix = args
	return nil
}

// evaluates says whether a command hands arguments on to Nix.
func evaluates(command string) bool {
	switch command {
	case "switch", "boot", "test", "dry-activate", "build", "push", "check", "probe", "status", "init":
		return true
	}
	return false
}

// cutNix parts arranged words from what is for Nix.
func cutNix(arranged []string) (words, arguments []string) {
	first := slices.Index(arranged, "--") + 1
	if at := slices.Index(arranged[first:], "--"); at >= 0 {
		return arranged[:first+at], arranged[first+at+1:]
	}
	return arranged, nil
}

func (a *arrangement) names(words []string) error {
	for _, word := range words {
		if a.command != nil {
			a.arguments = append(a.arguments, word)
			continue
		}
		if a.command = a.app.Command(word); a.command == nil {
			return unknownCommand(a.app, word)
		}
	}
	return nil
}

// option reads one option and, where it takes one, its value from the rest.
func (a *arrangement) option(arg string, rest []string) ([]string, error) {
	written, value, attached := strings.Cut(arg, "=")
	switch {
	case written == "--help" || written == "-h":
		a.help = true
		return rest, nil
	case written == "--version" && a.command == nil:
		return rest, a.names([]string{"version"})
	}
	flag := findFlag(a.flags(), written)
	if flag == nil {
		return nil, a.unknownOption(written)
	}
	name := "--" + flag.Names()[0]
	if a.seen[name] {
		return nil, usageFailure(fmt.Sprintf("option %s is given twice", name), a.nextHelp())
	}
	a.seen[name] = true
	if !takesValue(flag) {
		a.options = append(a.options, strings.Replace(arg, written, name, 1))
		return rest, nil
	}
	if !attached {
		if len(rest) == 0 || rest[0] == "--" {
			return nil, usageFailure(fmt.Sprintf("option %s needs a value", name), a.nextHelp())
		}
		value, rest = rest[0], rest[1:]
		if len(value) > 1 && value[0] == '-' {
			return nil, usageFailure(fmt.Sprintf("option %s needs a value, but %q is an option; if it is meant, write %s=%s",
				name, value, name, value), a.nextHelp())
		}
	}
	if value == "" {
		return nil, usageFailure(fmt.Sprintf("option %s has an empty value", name), a.nextHelp())
	}
	a.options = append(a.options, name+"="+value)
	return rest, nil
}

// flags are the options that may stand here.
func (a *arrangement) flags() []cli.Flag {
	if a.command != nil {
		return a.command.Flags
	}
	return a.app.Flags
}

func (a *arrangement) nextHelp() string {
	if a.command == nil {
		return "hdeploy help"
	}
	return "hdeploy help " + a.command.Name
}

func (a *arrangement) unknownOption(written string) error {
	if a.command == nil {
		for _, c := range a.app.Commands {
			if findFlag(c.Flags, written) != nil {
				return usageFailure(fmt.Sprintf("option %s belongs after its command", written),
					fmt.Sprintf("hdeploy %s %s", c.Name, written))
			}
		}
	}
	var known []string
	for _, f := range a.flags() {
		for _, name := range f.Names() {
			known = append(known, dashed(name))
		}
	}
	return usageFailure(fmt.Sprintf("unknown option %q", written)+didYouMean(written, append(known, "--help")), a.nextHelp())
}

func unknownCommand(app *cli.App, word string) error {
	var known []string
	for _, c := range app.Commands {
		known = append(known, c.Name)
	}
	return usageFailure(fmt.Sprintf("unknown command %q", word)+didYouMean(word, known), "hdeploy help")
}

// findFlag finds a flag as it was written: two dashes before a word, one
// before a letter.
func findFlag(flags []cli.Flag, written string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool {
		return slices.ContainsFunc(f.Names(), func(name string) bool { return dashed(name) == written })
	})
	if i < 0 {
		return nil
	}
	return flags[i]
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// didYouMean names the known word most like the unknown one, if any is.
func didYouMean(word string, known []string) string {
	best := nearest(word, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// nearest is the one that is most like word, or empty where none is like it.
func nearest(word string, known []string) string {
	const longest, alike = 64, 0.8
	if len(word) > longest {
		return ""
	}
	best, bestScore := "", alike
	for _, k := range known {
		bare := func(s string) string { return strings.ToLower(strings.TrimLeft(s, "-")) }
		if score := smetrics.JaroWinkler(bare(word), bare(k), 0.7, 4); score > bestScore {
			best, bestScore = k, score
		}
	}
	return best
}
