package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// completeCommand is what the shells call. It is not part of the command tree:
// its arguments are somebody's unfinished command line.
const completeCommand = "__complete"

// shells are those for which a completion exists.
var shells = [...]string{"bash", "zsh", "fish"}

func completionCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "completion", args: "bash|zsh|fish",
		usage:   "print the completion script of a shell",
		about:   "Prints a script that completes commands, options, and the hosts of deploy.toml.",
		example: `source <(hdeploy completion bash)`,
		action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usageFailure("completion needs the name of one shell: bash, zsh or fish", "hdeploy help completion")
			}
			script, known := completionScripts[c.Args().First()]
			if !known {
				return usageFailure(fmt.Sprintf("no completion for shell %q", c.Args().First())+didYouMean(c.Args().First(), shells[:]),
					"hdeploy help completion")
			}
			return write(s, []byte(script))
		},
	})
}

// candidate is one way to go on.
type candidate struct{ word, about string }

// files stands for "complete file names", which each shell does best itself.
var files = candidate{word: ":files"}

// runComplete prints the candidates for the last of the words, one per line,
// each with a tab and an explanation. It never fails: a completion that
// prints errors into a half-typed line helps nobody.
func runComplete(s streams, words []string) int {
	var b strings.Builder
	for _, c := range complete(s, words) {
		b.WriteString(c.word)
		if c.about != "" {
			b.WriteString("\t" + display.Clean(c.about))
		}
		b.WriteString("\n")
	}
	_ = write(s, []byte(b.String()))
	return deploy.CodeOK
}

func complete(s streams, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	typed := readTyped(newApp(s), before)
	if typed.config == "" {
		typed.config = s.env(variables()["config"])
	}
	if typed.value != nil {
		return matching(values(typed.value), last)
	}
	if typed.ended {
		return nil // what stands there is Nix's
	}
	if strings.HasPrefix(last, "-") {
		if name, value, ok := strings.Cut(last, "="); ok {
			return attached(findFlag(typed.flags, name), name, value)
		}
		return matching(options(typed.flags), last)
	}
	if typed.command == nil {
		return matching(commands(newApp(s)), last)
	}
	return matching(arguments(s, typed), last)
}

// typed is what stands before the word that is completed.
type typed struct {
	command   *cli.Command
	flags     []cli.Flag // that may follow
	value     cli.Flag   // the option whose value comes next, or nil
	ended     bool       // "--" was there
	list      bool       // --list was there
	arguments []string
	config    string
}

func readTyped(app *cli.App, words []string) typed {
	t := typed{flags: app.Flags}
	for _, word := range words {
		switch {
		case t.value != nil:
			t.take(t.value, word)
			t.value = nil
		case word == "--":
			t.ended = true
		case strings.HasPrefix(word, "-") && !t.ended:
			name, value, isAttached := strings.Cut(word, "=")
			flag := findFlag(t.flags, name)
			t.list = t.list || name == "--list"
			switch {
			case flag == nil || !takesValue(flag):
			case isAttached:
				t.take(flag, value)
			default:
				t.value = flag
			}
		case t.command == nil:
			if t.command = app.Command(word); t.command != nil {
				t.flags = t.command.Flags
			}
		default:
			t.arguments = append(t.arguments, word)
		}
	}
	return t
}

func (t *typed) take(flag cli.Flag, value string) {
	if flag.Names()[0] == "config" {
		t.config = value
	}
}

func commands(app *cli.App) []candidate {
	var found []candidate
	for _, c := range app.Commands {
		found = append(found, candidate{c.Name, c.Usage})
	}
	return found
}

func options(flags []cli.Flag) []candidate {
	found := []candidate{{"--help", "explain this command"}}
	for _, f := range flags {
		about := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			about = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		for _, name := range f.Names() {
			found = append(found, candidate{dashed(name), about})
		}
	}
	return found
}

func values(flag cli.Flag) []candidate {
	switch flag.Names()[0] {
	case "output":
		var found []candidate
		for _, k := range display.Kinds {
			found = append(found, candidate{word: string(k)})
		}
		return found
	case "log-level":
		return plainCandidates(logLevels[:])
	case "config", "log-file", "flake":
		return []candidate{files}
	default:
		return nil
	}
}

// attached completes --name=value.
func attached(flag cli.Flag, name, value string) []candidate {
	if flag == nil || !takesValue(flag) {
		return nil
	}
	found := matching(values(flag), value)
	for i := range found {
		if found[i] != files {
			found[i].word = name + "=" + found[i].word
		}
	}
	return found
}

func arguments(s streams, t typed) []candidate {
	switch t.command.Name {
	case "switch", "boot", "test", "dry-activate", "build", "push", "reboot", "status", "check", "lock", "unlock", "config":
		return hostCandidates(s, t)
	case "generations", "history", "log", "rollback", "attach", "confirm", "abort", "trust":
		return oneHost(s, t)
	case "probe":
		return probeArguments(s, t)
	case "help":
		return commands(newApp(s))
	case "completion":
		return plainCandidates(shells[:])
	default:
		return nil
	}
}

// safeWord is what a shell may take as it is.
var safeWord = regexp.MustCompile(`^@?[A-Za-z0-9][A-Za-z0-9._-]*$`)

// hostCandidates are the hosts and tags that are not on the line yet.
func hostCandidates(s streams, t typed) []candidate {
	inventory, err := loadInventory(commonOptions{config: t.config}, s)
	if err != nil {
		return nil
	}
	var found []candidate
	add := func(word, about string) {
		known := slices.ContainsFunc(found, func(c candidate) bool { return c.word == word })
		if !known && safeWord.MatchString(word) && !slices.Contains(t.arguments, word) {
			found = append(found, candidate{word, about})
		}
	}
	for _, h := range inventory.Hosts {
		add(h.Name, login(h))
	}
	for _, h := range inventory.Hosts {
		for _, tag := range h.Tags {
			add("@"+tag, "every host with this tag")
		}
	}
	return found
}

// oneHost are the hosts for a command that takes one.
func oneHost(s streams, t typed) []candidate {
	if len(t.arguments) > 0 {
		return nil
	}
	return slices.DeleteFunc(hostCandidates(s, t), func(c candidate) bool { return strings.HasPrefix(c.word, "@") })
}

// probeArguments are the hosts, then the probes of the one that is on the line; or,
// with --list, the kinds.
func probeArguments(s streams, t typed) []candidate {
	if t.list {
		var found []candidate
		for _, k := range probe.Catalogue() {
			if !slices.Contains(t.arguments, k.Kind) {
				found = append(found, candidate{k.Kind, k.Text})
			}
		}
		return found
	}
	if len(t.arguments) == 0 {
		return hostCandidates(s, t)
	}
	inventory, err := loadInventory(commonOptions{config: t.config}, s)
	if err != nil {
		return nil
	}
	selected, err := inventory.Select(t.arguments[:1])
	if err != nil {
		return nil
	}
	var found []candidate
	for _, h := range selected {
		for _, p := range h.Probes {
			known := slices.ContainsFunc(found, func(c candidate) bool { return c.word == p.Name })
			if !known && safeWord.MatchString(p.Name) && !slices.Contains(t.arguments, p.Name) {
				found = append(found, candidate{p.Name, "probe of kind " + p.Kind})
			}
		}
	}
	return found
}

func plainCandidates(words []string) []candidate {
	found := make([]candidate, len(words))
	for i, w := range words {
		found[i].word = w
	}
	return found
}

func matching(all []candidate, prefix string) []candidate {
	var found []candidate
	for _, c := range all {
		if c == files || strings.HasPrefix(c.word, prefix) {
			found = append(found, c)
		}
	}
	return found
}
