package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
)

func statusCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "status", args: "[HOST...]",
		usage: "show in one line how each host is",
		about: "Shows for each HOST, or for all of deploy.toml, whether it is reachable, whether what runs\n" +
			"is the profile, the boot default and the flake's, a deployment that is under way, failed\n" +
			"units, whether a reboot is needed, and who locked it. Changes nothing.",
		example: "hdeploy status --no-flake @web",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "flake", Usage: "compare with flake `REF` instead of the one in deploy.toml"},
			&cli.BoolFlag{Name: "no-flake", Usage: "evaluate nothing, and compare with no flake", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			flake, err := readFlake(c, s)
			if err != nil {
				return err
			}
			if flake != "" && c.Bool("no-flake") {
				return usageFailure("--flake contradicts --no-flake", "hdeploy help status")
			}
			a, err := readAsking(c, s, c.Args().Slice())
			if err != nil {
				return err
			}
			defer a.close()
			if flake == "" && !c.Bool("no-flake") {
				flake = a.flake
			}
			return runStatus(c.Context, s, a, flake)
		},
	})
}

// statusJSON is one line of "hdeploy status --json".
type statusJSON struct {
	schemaJSON
	deploy.HostStatus
}

func runStatus(ctx context.Context, s streams, a asking, flake string) error {
	all := deploy.Status(ctx, deploy.StatusRequest{Hosts: a.hosts, Flake: flake, Secrets: a.secrets, Log: a.log, Nix: a.nix})
	codes := make([]int, len(all))
	for i, h := range all {
		codes[i] = h.Code
	}
	var err error
	if a.output == display.JSON {
		lines := make([]statusJSON, len(all))
		for i, h := range all {
			lines[i] = statusJSON{schemaOf("status"), h}
		}
		err = printJSONLines(s, lines)
	} else {
		err = write(s, []byte(statusTable(all)))
	}
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Failure != nil {
			printFailure(s.ErrOut, *h.Failure)
		}
	}
	return exit(deploy.Worst(codes...))
}

// statusTable has one line for each host, and below it what needs more words.
func statusTable(all []deploy.HostStatus) string {
	rows := make([]row, len(all))
	var notes []string
	for i, h := range all {
		rows[i] = statusRow(h)
		for _, note := range statusNotes(h) {
			notes = append(notes, h.Host+": "+note)
		}
	}
	text := table([]string{"HOST", "RUNS", "BOOTS", "FLAKE", "REBOOT", "FAILED", "DEPLOYMENT", "LOCK"}, rows)
	if len(notes) > 0 {
		text += "\n"
	}
	for _, note := range notes {
		text += hanging(note, "  ") + "\n"
	}
	return text
}

func statusRow(h deploy.HostStatus) row {
	if h.Failure != nil {
		cause, _, _ := strings.Cut(h.Failure.Cause, "\n")
		return row{cells: []string{h.Host, outcomeWord(h.Code) + ": " + cause}}
	}
	return row{cells: []string{h.Host, runsCell(h), bootsCell(h), flakeCell(h), rebootCell(h), failedCell(h), deploymentCell(h), lockCell(h)}}
}

func runsCell(h deploy.HostStatus) string {
	switch {
	case h.Generation == 0:
		return "no profile"
	case h.Running == h.Profile:
		return fmt.Sprintf("gen %d", h.Generation)
	}
	return fmt.Sprintf("not gen %d", h.Generation)
}

func bootsCell(h deploy.HostStatus) string {
	switch h.Boots {
	case "":
		return "unknown"
	case h.Running:
		return "same"
	}
	return "other"
}

func flakeCell(h deploy.HostStatus) string {
	switch {
	case h.NoNix:
		return "no nix"
	case h.FlakeError != "":
		return "error"
	case h.Flake == "":
		return "-"
	case h.Flake == h.Running:
		return "same"
	}
	return "other"
}

func rebootCell(h deploy.HostStatus) string {
	if h.RebootNeeded {
		return "needed"
	}
	return "no"
}

func failedCell(h deploy.HostStatus) string {
	switch {
	case h.UnitsError != "":
		return "unknown"
	case len(h.FailedUnits) == 0:
		return "none"
	}
	return fmt.Sprint(len(h.FailedUnits))
}

// deploymentCell is a word: what time is left, the notes say.
func deploymentCell(h deploy.HostStatus) string {
	switch {
	case h.Transaction == nil:
		return "none"
	case h.Transaction.Stale != "":
		return "stale"
	}
	return h.Transaction.State
}

// lockCell is a word: by whom it is held, the notes say.
func lockCell(h deploy.HostStatus) string {
	if h.Freeze != nil || h.Transaction != nil {
		return "held"
	}
	return "none"
}

// statusNotes explain what a word in the table cannot.
func statusNotes(h deploy.HostStatus) []string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if f := h.Freeze; f != nil {
		note("locked by %s since %s: %s", f.Owner, local(f.Since), f.Message)
	}
	if t := h.Transaction; t != nil {
		note("%s by %s since %s is %s: %s", t.Action, t.Deployer, local(t.Started), t.State, t.Closure)
		switch {
		case t.Stale != "":
			note("it is stale: %s; the next hdeploy command that changes the host settles it", t.Stale)
		case t.State == "committing" || t.State == "rolling-back":
			note("it is decided, and over within %s", display.Seconds(t.DeadMan))
		case t.State == "waiting":
			note("unless it is confirmed within %s, it goes back within %s", display.Seconds(t.Confirm), display.Seconds(t.DeadMan))
		default:
			note("unless it is confirmed, it goes back within %s", display.Seconds(t.DeadMan))
		}
	}
	if h.Failure == nil && h.Running != h.Profile {
		note("runs %s", h.Running)
		note("its profile is %s", h.Profile)
	}
	if h.Boots != "" && h.Boots != h.Running {
		note("boots %s", h.Boots)
	}
	for _, reason := range []struct{ what, text string }{
		{"what boots is not known: ", h.BootsError}, {"failed units are not known: ", h.UnitsError},
		{"its record cannot be read: ", h.StateError}, {"the flake: ", h.FlakeError},
	} {
		if reason.text != "" && h.Failure == nil {
			line, _, _ := strings.Cut(strings.TrimSpace(reason.text), "\n")
			note("%s%s", reason.what, line)
		}
	}
	if len(h.FailedUnits) > 0 {
		note("failed: %s", strings.Join(h.FailedUnits, ", "))
	}
	return notes
}
