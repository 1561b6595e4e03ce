package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

func hostsCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name:    "hosts",
		usage:   "check deploy.toml and list its hosts",
		about:   "Reads deploy.toml, reports every mistake in it, and lists the hosts. Contacts nobody.",
		example: "hdeploy hosts --config infra/deploy.toml",
		action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			opts, err := readCommon(c, s)
			if err != nil {
				return err
			}
			return runHosts(c.Context, s, opts)
		},
	})
}

func runHosts(ctx context.Context, s streams, o commonOptions) error {
	found, err := selectHosts(ctx, o, s, "", nil)
	if err != nil {
		return err
	}
	if o.output == display.JSON {
		return printHostsJSON(s, found.hosts)
	}
	return printHosts(s, found.hosts)
}

func printHosts(s streams, list []hosts.Host) error {
	rows := make([]row, len(list))
	for i, h := range list {
		rows[i] = row{cells: []string{h.Name, login(h), orNone(h.Tags), orNone(probeNames(h))}}
	}
	return write(s, []byte(table([]string{"NAME", "LOGIN", "TAGS", "PROBES"}, rows)))
}

// login is the host in the notation of ssh, with its port where that is not 22.
func login(h hosts.Host) string {
	if h.Local {
		return "this machine"
	}
	address := h.Address
	if h.Port != 22 {
		if strings.Contains(address, ":") {
			address = "[" + address + "]"
		}
		address += ":" + strconv.Itoa(h.Port)
	}
	return h.User + "@" + address
}

func probeNames(h hosts.Host) []string {
	names := make([]string, len(h.Probes))
	for i, p := range h.Probes {
		names[i] = p.Name
	}
	return names
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ",")
}

// hostJSON is one line of "hdeploy hosts --json".
type hostJSON struct {
	Schema    int      `json:"schema"`
	Type      string   `json:"type"`
	Name      string   `json:"name"`
	Address   string   `json:"address"`
	Port      int      `json:"port"`
	User      string   `json:"user"`
	Local     bool     `json:"local,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Attribute string   `json:"attribute"`
	Probes    []string `json:"probes,omitempty"`
}

func printHostsJSON(s streams, list []hosts.Host) error {
	lines := make([]hostJSON, len(list))
	for i, h := range list {
		lines[i] = hostJSON{
			Schema: event.Schema, Type: "host", Name: h.Name, Address: h.Address, Port: h.Port,
			User: h.User, Local: h.Local, Tags: h.Tags, Attribute: h.Attribute, Probes: probeNames(h),
		}
	}
	return printJSONLines(s, lines)
}

func jsonLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %v", err)
	}
	return append(display.EscapeJSON(line), '\n'), nil
}

func write(s streams, answer []byte) error {
	if _, err := s.Out.Write(answer); err != nil {
		return fmt.Errorf("write to standard output: %v", err)
	}
	return nil
}
