package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// release is the version of hdeploy.
const release = protocol.Release

func versionCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name:    "version",
		usage:   "print the version of hdeploy",
		about:   "Prints the version, the revision it was built from where known, and the platform.",
		example: "hdeploy version --json",
		action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			opts, err := readCommon(c, s)
			if err != nil {
				return err
			}
			return runVersion(s, opts)
		},
	})
}

// versionJSON is the line of "hdeploy version --json".
type versionJSON struct {
	Schema   int    `json:"schema"`
	Type     string `json:"type"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Platform string `json:"platform"`
	Go       string `json:"go"`
}

func runVersion(s streams, o commonOptions) error {
	v := versionJSON{
		Schema: event.Schema, Type: "version", Version: release, Revision: revision(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
	if o.output == display.JSON {
		line, err := jsonLine(v)
		if err != nil {
			return err
		}
		return write(s, line)
	}
	text := "hdeploy " + v.Version
	if v.Revision != "" {
		text += " (" + v.Revision + ")"
	}
	return write(s, fmt.Appendf(nil, "%s %s %s\n", text, v.Platform, v.Go))
}

// revision is the commit the program was built from, or empty.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return ""
}
