//go:build lab

package probes

import (
	"slices"
	"strings"
)

// kindsCases are the fault classes of every kind that is no preset.
var kindsCases = slices.Concat(unitCases, failedUnitsCases, netCases, commandCases, policyCases)

// unitText is a service whose main process is a script.
func unitText(script string, lines ...string) string {
	return "[Unit]\nDescription=Is probed\n[Service]\nExecStart=/bin/sh -c \"" + script + "\"\n" + strings.Join(lines, "\n") + "\n"
}

// once makes a unit a oneshot, and stays one that is active after its work.
const (
	once  = "Type=oneshot"
	stays = "RemainAfterExit=yes"
)

// units are knobs that add units to a system.
func units(nameAndText ...string) settings {
	extra := settings{}
	for pair := range slices.Chunk(nameAndText, 2) {
		extra[pair[0]] = pair[1]
	}
	return settings{"extraUnits": extra}
}

// probe is a table of deploy.toml.
func probe(name, kind string, lines ...string) string {
	return "[probes." + name + "]\nkind = \"" + kind + "\"\n" + strings.Join(lines, "\n") + "\n\n"
}

const (
	window = "@window@"
	watch  = "@watch@"
)
