package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
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
			return runHosts(s, opts)
		},
	})
}

func runHosts(s streams, o commonOptions) error {
	inventory, err := loadInventory(o, s)
	if err != nil {
		return err
	}
	if o.output == display.JSON {
		return printHostsJSON(s, inventory.Hosts)
	}
	return printHosts(s, inventory.Hosts)
}

func printHosts(s streams, list []hosts.Host) error {
	rows := [][]string{{"NAME", "LOGIN", "TAGS", "PROBES"}}
	for _, h := range list {
		rows = append(rows, []string{h.Name, login(h), orNone(h.Tags), orNone(probeNames(h))})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = display.Clean(cell)
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-ansi.StringWidth(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return write(s, []byte(b.String()))
}

// login is the host in the notation of ssh, with its port where that is not 22.
func login(h hosts.Host) string {
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
	Tags      []string `json:"tags,omitempty"`
	Attribute string   `json:"attribute"`
	Probes    []string `json:"probes,omitempty"`
}

func printHostsJSON(s streams, list []hosts.Host) error {
	var out []byte
	for _, h := range list {
		line, err := jsonLine(hostJSON{
			Schema: event.Schema, Type: "host", Name: h.Name, Address: h.Address, Port: h.Port,
			User: h.User, Tags: h.Tags, Attribute: h.Attribute, Probes: probeNames(h),
		})
		if err != nil {
			return err
		}
		out = append(out, line...)
	}
	return write(s, out)
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
