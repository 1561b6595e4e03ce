package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
)

func initCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name:  "init",
		usage: "write a deploy.toml for the nixosConfigurations of a flake",
		about: "Writes a commented deploy.toml into this folder, or the file of --config, with a\n" +
			"table for each of the flake's nixosConfigurations. It never overwrites a file. On a\n" +
			"terminal it asks for the address of each host; Enter leaves it at its name.",
		example: "hdeploy init --flake ./nixos",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "flake", Usage: "take the hosts of flake `REF` (default: the one in the folder of the file)"},
		},
		action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			o, err := readInit(c, s)
			if err != nil {
				return err
			}
			return o.run(c.Context, s)
		},
	})
}

type initOptions struct {
	commonOptions
	path string // absolute, of the file to write
	// flake is absolute or a URL; written is how it stands in the file.
	flake, written string
}

func readInit(c *cli.Context, s streams) (initOptions, error) {
	common, err := readCommon(c, s)
	o := initOptions{commonOptions: common, path: common.config, written: "."}
	if err != nil {
		return o, err
	}
	if o.path == "" {
		o.path = hosts.FileName
	}
	if !filepath.IsAbs(o.path) {
		o.path = filepath.Join(s.Dir, o.path)
	}
	if o.flake, err = readFlake(c, s); err != nil {
		return o, err
	}
	if o.flake == "" {
		o.flake = filepath.Dir(o.path)
		return o, nil
	}
	o.written = o.flake
	if relative, err := filepath.Rel(filepath.Dir(o.path), o.flake); err == nil && filepath.IsAbs(o.flake) {
		if o.written = relative; relative != "." && !strings.HasPrefix(relative, "../") {
			o.written = "./" + relative
		}
	}
	return o, nil
}

func (o initOptions) run(ctx context.Context, s streams) error {
	if _, err := os.Lstat(o.path); !errors.Is(err, fs.ErrNotExist) {
		return o.taken()
	}
	program, err := nix.Find(ctx)
	if err != nil {
		return err
	}
	program.Extra = o.nix
	names, err := program.Names(ctx, o.flake, "nixosConfigurations")
	if err != nil {
		return o.evaluationFailure(err)
	}
	var list []initHost
	for _, name := range names {
		if hosts.CheckName(name) != nil {
			fmt.Fprintf(s.ErrOut, "hdeploy: nixosConfigurations.%q is left out: its name is none for a host\n", display.Clean(name))
			continue
		}
		list = append(list, initHost{name: name})
	}
	if len(list) == 0 {
		return usageFailure("the flake "+o.flake+" has no nixosConfigurations to deploy", "nix flake show "+o.flake)
	}
	if s.InTTY && s.ErrTTY {
		if err := askAddresses(ctx, s, list); err != nil {
			return err
		}
	}
	if err := o.create(initFile(o.written, list)); err != nil {
		return err
	}
	return o.tell(s, list)
}

func (o initOptions) taken() error {
	return usageFailure(o.path+" is there already; init overwrites no file", "hdeploy hosts --config "+o.path)
}

func (o initOptions) evaluationFailure(err error) error {
	var failed *nix.Error
	if !errors.As(err, &failed) {
		return err
	}
	return &failure{code: deploy.CodeBuild, Failure: event.Failure{
		Step: "evaluate", Cause: "read the names of the hosts in " + o.flake + ": " + failed.Cause, Next: "nix flake show " + o.flake,
	}}
}

// create writes a file that was not there. What cannot be loaded is not written:
// that is a fault of this program.
func (o initOptions) create(text string) error {
	if err := hosts.Check(o.path, []byte(text), deploy.ProbeKinds()); err != nil {
		return fmt.Errorf("write %s: what was to be written has faults: %v", o.path, err)
	}
	file, err := os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // it holds no secret and belongs to a team
	if errors.Is(err, fs.ErrExist) {
		return o.taken()
	}
	if err == nil {
		_, err = file.WriteString(text)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			_ = os.Remove(o.path) // half a file would be in the way of the next try
		}
	}
	if err != nil {
		return usageFailure("write "+o.path+": "+rootOf(err), "hdeploy init --config FILE")
	}
	return nil
}

// rootOf is an error without the path, which its reader knows already.
func rootOf(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

// initJSON is the line of "hdeploy init --json".
type initJSON struct {
	schemaJSON
	File  string   `json:"file"`
	Flake string   `json:"flake"`
	Hosts []string `json:"hosts"`
}

func (o initOptions) tell(s streams, list []initHost) error {
	names := make([]string, len(list))
	for i, h := range list {
		names[i] = h.name
	}
	if o.output == display.JSON {
		return printJSONLines(s, []initJSON{{schemaJSON: schemaOf("init"), File: o.path, Flake: o.flake, Hosts: names}})
	}
	text := "wrote " + near(s.Dir, o.path) + " with " + strings.Join(names, ", ")
	return write(s, []byte(hanging(text, "  ")+"\n  next: hdeploy switch --dry-run "+names[0]+"\n"))
}

// initHost is a host of the file to write; without an address it is called as it is
// named.
type initHost struct{ name, address string }

// askAddresses asks for the address of each host until it is one.
func askAddresses(ctx context.Context, s streams, list []initHost) error {
	lines := bufio.NewReader(s.In)
	for i := range list {
		for list[i].address == "" {
			fmt.Fprintf(s.ErrOut, "address of %s [%s]: ", list[i].name, list[i].name)
			line, err := readLine(ctx, lines)
			if err != nil {
				return err
			}
			switch line = strings.TrimSpace(line); {
			case line == "":
				list[i].address = list[i].name
			case hosts.CheckAddress(line) != nil:
				fmt.Fprintf(s.ErrOut, "  %s\n", display.Clean(hosts.CheckAddress(line).Error()))
			default:
				list[i].address = line
			}
		}
	}
	return nil
}

// readLine reads a line, or what there is of one before the end. A read from a
// terminal cannot be stopped: on an interrupt it is left to the end of the program.
func readLine(ctx context.Context, from *bufio.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := from.ReadString('\n')
		done <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case r := <-done:
		if r.err != nil && r.line == "" {
			return "", usageFailure("the answers ended; nothing was written", "hdeploy init </dev/null")
		}
		return r.line, nil
	}
}

const initHead = `# Which hosts hdeploy deploys, how each is reached, and which probes judge it.
# "hdeploy hosts" checks this file, "hdeploy config HOST" shows all settings of
# a host, "hdeploy probe --list" explains the probes.
`

const initDefaults = `
# What the hosts have in common. [tags.NAME] does the same for those with a tag.
# [defaults]
# user     = "deploy"                  # who logs in, and becomes root by sudo
# timeouts = { confirm = "2m" }        # the wait before a host goes back
`

const initHostHints = `# address   = "192.0.2.10"             # where the name of the host is none
# host_keys = ["ssh-ed25519 AAAA..."]  # a refused connection shows the real key
# tags      = ["server"]               # hdeploy switch @server
# probes    = ["no-new-failed-units"]  # what must be well for a system to stay
`

// initFile is the text of the file.
func initFile(flake string, list []initHost) string {
	var b strings.Builder
	b.WriteString("#:schema " + hosts.SchemaURL + "\n" + initHead)
	b.WriteString("\n" + hosts.Setting{Key: "flake", Value: flake}.TOML(lineWidth) + "\n")
	b.WriteString(initDefaults)
	for _, h := range list {
		b.WriteString("\n[hosts." + tableName(h.name) + "]\n")
		if h.address != "" && h.address != h.name {
			b.WriteString(hosts.Setting{Key: "address", Value: h.address}.TOML(lineWidth) + "\n")
		}
		if h == list[0] {
			b.WriteString(initHostHints)
		}
	}
	return b.String()
}

// tableName is the name of a host in a header.
func tableName(host string) string {
	if strings.Contains(host, ".") {
		return `"` + host + `"`
	}
	return host
}
