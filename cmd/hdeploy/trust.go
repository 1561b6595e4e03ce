package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

type trustOptions struct {
	yes, replace bool
	fingerprint  string
}

func trustCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "trust", args: "HOST",
		usage: "make the key of a host known, and record which machine it is",
		about: "Logs in to HOST once, shows the fingerprint of its key before that and asks whether it\n" +
			"is the right one. A yes adds the key to known_hosts and records the machine-id, which\n" +
			"a deployment then wants to see. A key that is not the known one is refused, unless\n" +
			"--replace is given. Without a terminal the fingerprint must be known beforehand.",
		example: "hdeploy trust web1",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "fingerprint", Usage: "expect the key with `SHA256:...`, and refuse every other one"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask; only together with --fingerprint", DisableDefaultText: true},
			&cli.BoolFlag{Name: "replace", Usage: "take another key, or another machine, in place of the known one", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			o := trustOptions{yes: c.Bool("yes"), replace: c.Bool("replace"), fingerprint: c.String("fingerprint")}
			host := c.Args().First()
			switch {
			case o.fingerprint != "" && !strings.HasPrefix(o.fingerprint, "SHA256:"):
				return usageFailure("--fingerprint: a fingerprint begins with SHA256:", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub  # on the host")
			case o.yes && o.fingerprint == "":
				return usageFailure("--yes needs --fingerprint: no key is trusted unseen; nothing was contacted",
					"hdeploy trust "+host+" --yes --fingerprint SHA256:...")
			case !o.yes && (!s.InTTY || !s.ErrTTY):
				return usageFailure("there is no terminal to ask on; nothing was contacted", "hdeploy trust "+host+" --yes --fingerprint SHA256:...")
			}
			a, question, err := askOne(c, s, 0)
			if err != nil {
				return err
			}
			defer a.close()
			return runTrust(c.Context, s, a, question, o)
		},
	})
}

func runTrust(ctx context.Context, s streams, a asking, q deploy.Question, o trustOptions) error {
	state, err := stateDir(s)
	if err != nil {
		return err
	}
	trusted, err := deploy.Trust(ctx, deploy.TrustRequest{
		Host: q.Host, Secrets: q.Secrets, Log: q.Log, StateDir: state, Replace: o.replace, Fingerprint: o.fingerprint,
		Accept: func(ctx context.Context, key remote.ShownKey) error { return o.accept(ctx, s, q.Host, key) },
	})
	if err != nil {
		return err
	}
	answer := trustAnswer(q.Host, trusted)
	if a.output == display.JSON {
		return printJSONLines(s, []trustJSON{answer})
	}
	return write(s, []byte(trustText(q.Host, trusted)))
}

// accept shows a key and lets a person, or the fingerprint on the command line, vouch
// for it.
func (o trustOptions) accept(ctx context.Context, s streams, host hosts.Host, key remote.ShownKey) error {
	final := key.Host == host.Name
	switch {
	case final && o.fingerprint != "" && key.Fingerprint != o.fingerprint:
		return fmt.Errorf("it is not %s, which was expected", o.fingerprint)
	case o.yes && !final:
		return errors.New("no fingerprint was given for a host on the way; trust it first")
	case o.yes:
		return nil
	}
	for _, line := range shownLines(key) {
		fmt.Fprintln(s.ErrOut, display.Clean(line))
	}
	fmt.Fprint(s.ErrOut, "Is it the same on the host's console? [y/N] ")
	return yes(ctx, s)
}

func shownLines(key remote.ShownKey) []string {
	lines := []string{fmt.Sprintf("%s (%s) shows a key that is not known:", key.Host, key.Address)}
	if len(key.Known) > 0 {
		lines = []string{fmt.Sprintf("%s (%s): THE KEY IS NOT THE KNOWN ONE; somebody may stand in between. It shows", key.Host, key.Address)}
	}
	lines = append(lines, "  "+key.Type+" "+key.Fingerprint)
	for _, known := range key.Known {
		lines = append(lines, "  instead of "+known)
	}
	lines = append(lines, "  compare it on the host: "+key.Console)
	if key.File != "" {
		lines = append(lines, "  it will be written to "+key.File)
	}
	return lines
}

// trustJSON is the line of "hdeploy trust --json".
type trustJSON struct {
	schemaJSON
	Host string `json:"host"`
	// Added are the fingerprints that were not known before, with their hosts: jump
	// hosts, too.
	Added       []trustedKeyJSON `json:"added,omitempty"`
	HostKey     string           `json:"host_key"`
	Fingerprint string           `json:"fingerprint"`
	MachineID   string           `json:"machine_id"`
}

type trustedKeyJSON struct {
	Host        string `json:"host"`
	Fingerprint string `json:"fingerprint"`
	File        string `json:"file,omitempty"`
}

func trustAnswer(h hosts.Host, t deploy.Trusted) trustJSON {
	answer := trustJSON{schemaJSON: schemaOf("trust"), Host: h.Name, HostKey: t.HostKey, Fingerprint: t.Fingerprint, MachineID: t.MachineID}
	for _, key := range t.Added {
		answer.Added = append(answer.Added, trustedKeyJSON{Host: key.Host, Fingerprint: key.Fingerprint, File: key.File})
	}
	return answer
}

func trustText(h hosts.Host, t deploy.Trusted) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintln(&b, display.Clean(fmt.Sprintf(format, args...))) }
	if len(t.Added) == 0 {
		say("%s: its key was known already: %s", h.Name, t.Fingerprint)
	}
	for _, key := range t.Added {
		if key.File == "" {
			say("%s: trusted for now: %s", key.Host, key.Fingerprint)
			continue
		}
		say("%s: trusted: %s was added to %s", key.Host, key.Fingerprint, key.File)
	}
	say("%s: its machine-id is recorded: %s", h.Name, t.MachineID)
	say("For everybody who deploys with this deploy.toml, add to %s there:", h.Name)
	say("    host_keys  = [%q]", t.HostKey)
	say("    machine_id = %q", t.MachineID)
	return b.String()
}
