package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
)

// commonOptions are the options of every command.
type commonOptions struct {
	config   string
	output   display.Kind
	color    bool
	logLevel zerolog.Level
	logFile  string
	reach    reach
	// together says that answer and story go to the same log.
	together bool
	// nix is what stood after "--", for evaluation and build.
	nix []string
}

func readCommon(c *cli.Context, s streams) (commonOptions, error) {
	o := commonOptions{
		config:  c.String("config"),
		color:   s.color() && !c.Bool("no-color"),
		logFile: c.String("log-file"),
	}
	o.nix, _ = c.App.Metadata[nixKey].([]string)
	var err error
	if o.reach, err = readReach(c); err != nil {
		return o, err
	}
	if o.output, err = readOutput(c); err != nil {
		return o, err
	}
	if o.logLevel, err = readLogLevel(c.String("log-level"), o.logFile != ""); err != nil {
		return o, err
	}
	if o.logLevel == zerolog.Disabled || o.logFile != "" {
		return o, nil
	}
	// Log lines on standard error would tear the live view.
	switch o.output {
	case display.Terminal:
		return o, usageFailure("--output terminal and the log share standard error; add --log-file FILE", "hdeploy help "+c.Command.Name)
	case display.Auto:
		o.output = display.Plain
	case display.Plain, display.JSON, display.Quiet: // write whole lines
	}
	return o, nil
}

func readOutput(c *cli.Context) (display.Kind, error) {
	kind := display.Auto
	if c.IsSet("output") {
		var err error
		if kind, err = display.ParseKind(c.String("output")); err != nil {
			return "", usageFailure(err.Error(), "hdeploy help "+c.Command.Name)
		}
	}
	if !c.Bool("json") {
		return kind, nil
	}
	if c.IsSet("output") && kind != display.JSON {
		return "", usageFailure(fmt.Sprintf("--json contradicts --output %s", kind), "hdeploy help "+c.Command.Name)
	}
	return display.JSON, nil
}

// logLevels are the words of --log-level.
var logLevels = [...]string{"trace", "debug", "info", "warn", "error", "off"}

func readLogLevel(word string, toFile bool) (zerolog.Level, error) {
	switch word {
	case "":
		if toFile {
			return zerolog.DebugLevel, nil
		}
		return zerolog.Disabled, nil
	case "off":
		return zerolog.Disabled, nil
	}
	for _, known := range logLevels {
		if word == known {
			return zerolog.ParseLevel(word)
		}
	}
	return zerolog.Disabled, usageFailure(fmt.Sprintf("unknown log level %q", word)+didYouMean(word, logLevels[:])+
		"; choose one of "+strings.Join(logLevels[:], ", "), "hdeploy help")
}

// loadInventory reads the file of --config, or the nearest deploy.toml.
func loadInventory(o commonOptions, s streams) (*hosts.Inventory, error) {
	path := o.config
	if path == "" {
		var err error
		if path, err = hosts.Find(s.Dir); err != nil {
			f := usageFailure(err.Error(), "hdeploy hosts")
			f.Step = "configuration"
			return nil, f
		}
	} else if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	inventory, err := hosts.Load(path, deploy.ProbeKinds())
	if err != nil {
		return nil, err
	}
	return inventory, knownMachines(s, inventory.Hosts)
}

// knownMachines adds the machine-ids that hdeploy trust has recorded to the hosts for
// which nothing else says it.
func knownMachines(s streams, all []hosts.Host) error {
	state, err := stateDir(s)
	if err != nil {
		return nil //nolint:nilerr // who has no state directory has recorded nothing
	}
	for i := range all {
		h := &all[i]
		if h.MachineID != "" {
			continue
		}
		if h.MachineID, err = deploy.RecordedMachineID(state, *h); err != nil {
			return usageFailure(err.Error(), "remove that file, then: hdeploy trust "+h.Name)
		}
		if h.MachineID != "" {
			h.Origins = maps.Clone(h.Origins)
			h.Origins.Say("machine_id", hosts.Origin{Level: hosts.LevelRecorded, File: deploy.RecordOf(state, *h)})
		}
	}
	return nil
}

// readTimeout reads a duration in the range that deploy.toml allows too; zero
// stands for an option that was not given.
func readTimeout(c *cli.Context, name string) (time.Duration, error) {
	const least, most = time.Second, 24 * time.Hour
	if !c.IsSet(name) {
		return 0, nil
	}
	d, err := time.ParseDuration(c.String(name))
	if err != nil {
		return 0, usageFailure(fmt.Sprintf("--%s: %q is no duration like 90s or 5m", name, c.String(name)), "hdeploy help "+c.Command.Name)
	}
	if d < least || d > most {
		return 0, usageFailure(fmt.Sprintf("--%s: %s is not between 1s and 24h", name, c.String(name)), "hdeploy help "+c.Command.Name)
	}
	return d, nil
}

// readFlake makes a relative path absolute, since Nix runs elsewhere.
func readFlake(c *cli.Context, s streams) (string, error) {
	ref := c.String("flake")
	if flake, attribute, ok := strings.Cut(ref, "#"); ok {
		return "", usageFailure(fmt.Sprintf("--flake: the part after # is chosen by the host: %q", attribute), "hdeploy "+c.Command.Name+" --flake "+flake+" HOST")
	}
	return absoluteFlake(s, ref), nil
}

func absoluteFlake(s streams, ref string) string {
	scheme, rest := "", ref
	for _, prefix := range []string{"path:", "git+file:"} {
		if after, ok := strings.CutPrefix(ref, prefix); ok {
			scheme, rest = prefix, after
		}
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	if path != "." && path != ".." && !strings.HasPrefix(path, "./") && !strings.HasPrefix(path, "../") {
		return ref
	}
	ref = scheme + filepath.Join(s.Dir, path)
	if hasQuery {
		ref += "?" + query
	}
	return ref
}
