package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
)

func configCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "config", args: "HOST...",
		usage: "print the settings that hold for a host, and where each is from",
		about: "Prints all settings of each HOST as they hold for a deployment with the same\n" +
			"options and environment, as lines of a deploy.toml, and behind each the line, the\n" +
			"level, the variable or the option that says so. Contacts nobody. With --schema it\n" +
			"prints the JSON schema of deploy.toml, by which editors complete and check it.",
		example: "hdeploy config web1 --confirm-timeout 5m",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "schema", Usage: "print the JSON schema of deploy.toml instead", DisableDefaultText: true},
			&cli.StringFlag{Name: "flake", Usage: "show what deploying flake `REF` would mean"},
			&cli.BoolFlag{Name: "or-boot", Usage: "show what --or-boot would mean", DisableDefaultText: true},
			&cli.StringFlag{Name: "confirm-timeout", Usage: "show what this `DURATION` would mean"},
			&cli.StringFlag{Name: "activation-timeout", Usage: "show what this `DURATION` would mean"},
		},
		action: func(c *cli.Context) error { return runConfig(c, s) },
	})
}

func runConfig(c *cli.Context, s streams) error {
	if c.Bool("schema") {
		return printSchema(c, s)
	}
	o, err := readSwitch(c, s)
	if err != nil {
		return err
	}
	found, err := selectHosts(c.Context, o.commonOptions, s, o.flake, o.hosts)
	if err != nil {
		return err
	}
	inventory, selected := found.inventory, found.hosts
	if o.flake != "" {
		inventory.Flake = o.flake
		inventory.Origins = hosts.Origins{"flake": o.origins["flake"], "ssh_config": inventory.Origins["ssh_config"]}
	}
	for i := range selected {
		o.over(&selected[i])
	}
	if o.output == display.JSON {
		return printConfigJSON(s, inventory, selected)
	}
	return printConfig(s, inventory, selected)
}

func printSchema(c *cli.Context, s streams) error {
	if err := noArguments(c); err != nil {
		return err
	}
	schema, err := hosts.Schema(deploy.ProbeKinds())
	if err != nil {
		return err
	}
	return write(s, schema)
}

func printConfig(s streams, inventory *hosts.Inventory, selected []hosts.Host) error {
	var b strings.Builder
	writeSettings(&b, s.Dir, hosts.EffectiveTop(inventory))
	for _, h := range selected {
		b.WriteString("\n[hosts." + tableName(h.Name) + "]\n")
		writeSettings(&b, s.Dir, hosts.Effective(h))
	}
	return write(s, []byte(b.String()))
}

// commentAt is the column in which a line says where its setting is from.
const commentAt = 44

// writeSettings writes one line for each setting that has a value, with its origin
// behind it, or below it where there is no room.
func writeSettings(b *strings.Builder, dir string, all []hosts.Setting) {
	for _, setting := range all {
		if setting.Value == nil {
			continue
		}
		text := setting.TOML(lineWidth)
		b.WriteString(text)
		last := text[strings.LastIndexByte(text, '\n')+1:]
		pad := commentAt - utf8.RuneCountInString(last)
		if pad < 2 {
			b.WriteString("\n")
			pad = commentAt
		}
		indent := strings.Repeat(" ", commentAt) + "# "
		lines := display.Wrap(display.Clean(origins(dir, setting.From)), lineWidth-len(indent))
		b.WriteString(strings.Repeat(" ", pad) + "# " + strings.Join(lines, "\n"+indent) + "\n")
	}
}

// origins says where a setting is from.
func origins(dir string, from []hosts.Origin) string {
	if len(from) == 0 {
		return "default"
	}
	texts := make([]string, len(from))
	for i, o := range from {
		texts[i] = origin(dir, o)
	}
	return strings.Join(texts, " and ")
}

func origin(dir string, o hosts.Origin) string {
	place := o.File
	if o.Line > 0 {
		place = fmt.Sprintf("%s:%d", near(dir, o.File), o.Line)
	}
	switch o.Level {
	case hosts.LevelEnvironment, hosts.LevelOption, hosts.LevelTop, hosts.LevelSSHConfig, hosts.LevelRecorded:
		return place // which speaks for itself
	}
	return place + " [" + o.Level + "]"
}

// near is a path as a person in dir calls it.
func near(dir, file string) string {
	if relative, err := filepath.Rel(dir, file); err == nil && filepath.IsAbs(file) && !strings.HasPrefix(relative, "..") {
		return relative
	}
	return file
}

// configJSON is one line of "hdeploy config --json".
type configJSON struct {
	schemaJSON
	// Name is the host's, File deploy.toml, Top what all its hosts share.
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Top      []settingJSON `json:"top"`
	Settings []settingJSON `json:"settings"`
}

type settingJSON struct {
	Key   string       `json:"key"`
	Value any          `json:"value"`
	From  []originJSON `json:"from,omitempty"`
}

type originJSON struct {
	Level  string `json:"level"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func printConfigJSON(s streams, inventory *hosts.Inventory, selected []hosts.Host) error {
	lines := make([]configJSON, len(selected))
	for i, h := range selected {
		lines[i] = configJSON{
			schemaJSON: schemaOf("config"), Name: h.Name, File: inventory.Path,
			Top: settingsJSON(hosts.EffectiveTop(inventory)), Settings: settingsJSON(hosts.Effective(h)),
		}
	}
	return printJSONLines(s, lines)
}

func settingsJSON(all []hosts.Setting) []settingJSON {
	list := make([]settingJSON, len(all))
	for i, setting := range all {
		list[i] = settingJSON{Key: setting.Key, Value: setting.Value}
		for _, from := range setting.From {
			list[i].From = append(list[i].From, originJSON(from))
		}
	}
	return list
}
