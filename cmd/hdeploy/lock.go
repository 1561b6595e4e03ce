package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
)

// messageLimit caps the message of a lock, in bytes.
const messageLimit = 400

func lockCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "lock", args: "HOST...",
		usage: "keep everybody from changing a host, until unlock",
		about: "Freezes each HOST, with your name, the time and a message: until hdeploy unlock, every\n" +
			"command that would change it is refused. What is under way there goes on.",
		example: `hdeploy lock web1 -m "disk is being replaced"`,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "say `WHY`, for whoever is refused"},
		},
		action: func(c *cli.Context) error {
			message := strings.TrimSpace(c.String("message"))
			switch {
			case c.Args().Len() == 0:
				return usageFailure("lock needs at least one host, or @TAG", "hdeploy hosts")
			case message == "":
				return usageFailure("lock needs a reason", "hdeploy lock "+c.Args().First()+" -m WHY")
			case len(message) > messageLimit || display.Clean(message) != message:
				return usageFailure(fmt.Sprintf("--message: at most %d bytes in one line, without control characters", messageLimit), "hdeploy help lock")
			}
			return startLock(c, s, lockOptions{message: message})
		},
	})
}

func unlockCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "unlock", args: "HOST...",
		usage:   "let a locked host be changed again",
		about:   "Ends the lock of each HOST. That of somebody else is only ended with --force.",
		example: "hdeploy unlock web1",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "end also the lock of somebody else", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			if c.Args().Len() == 0 {
				return usageFailure("unlock needs at least one host, or @TAG", "hdeploy hosts")
			}
			return startLock(c, s, lockOptions{force: c.Bool("force")})
		},
	})
}

// lockJSON is one line of "hdeploy lock --json" and "hdeploy unlock --json".
type lockJSON struct {
	schemaJSON
	Host string `json:"host"`
	// Locked says what holds now; Freeze is the lock that holds or has ended.
	Locked bool           `json:"locked"`
	Freeze *deploy.Freeze `json:"freeze,omitempty"`
	// Running is a transaction that is not over, which neither command stops.
	Running string `json:"running_transaction,omitempty"`
}

// lockOptions are those of both commands: a lock has a message.
type lockOptions struct {
	message string
	force   bool
}

func (o lockOptions) locks() bool { return o.message != "" }

func startLock(c *cli.Context, s streams, o lockOptions) error {
	a, err := readAsking(c, s, c.Args().Slice())
	if err != nil {
		return err
	}
	defer a.close()
	return runLock(c.Context, s, a, o)
}

func runLock(ctx context.Context, s streams, a asking, o lockOptions) error {
	request := deploy.Freezing{Hosts: a.hosts, Owner: deployer(s), Message: o.message, Force: o.force, Secrets: a.secrets, Log: a.log}
	freeze := deploy.Unlock
	if o.locks() {
		freeze = deploy.Lock
	}
	var err error
	var failures []*deploy.Failure
	var lines []lockJSON
	var text strings.Builder
	for _, r := range freeze(ctx, request) {
		if f, failed := asEngineFailure(r.Err); failed {
			failures = append(failures, f)
			continue
		}
		line := lockJSON{schemaJSON: schemaOf("lock"), Host: r.Host, Locked: o.locks(), Freeze: r.Freeze}
		if r.Running != nil {
			line.Running = r.Running.ID
		}
		lines = append(lines, line)
		fmt.Fprintln(&text, display.Clean(r.Host+": "+lockText(r, o.locks())))
	}
	if a.output == display.JSON {
		err = printJSONLines(s, lines)
	} else {
		err = write(s, []byte(text.String()))
	}
	if err != nil {
		return err
	}
	return tellFailures(s, a.commonOptions, failures)
}

func lockText(r deploy.Locked, locked bool) string {
	f := r.Freeze
	switch {
	case f == nil && r.Running != nil:
		return fmt.Sprintf("was not locked, but a deployment by %s is under way: hdeploy status %s", r.Running.Deployer, r.Host)
	case f == nil:
		return "was not locked"
	case !locked:
		return fmt.Sprintf("unlocked; it was locked by %s since %s: %s", f.Owner, local(f.Since), f.Message)
	case r.Running != nil:
		return fmt.Sprintf("locked by %s: %s; the deployment by %s that is under way goes on", f.Owner, f.Message, r.Running.Deployer)
	}
	return fmt.Sprintf("locked by %s: %s", f.Owner, f.Message)
}
