package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// watchInterval is the pause of --watch between the answers and the next question.
const watchInterval = 10 * time.Second

func probeCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "probe", args: "HOST [PROBE...]",
		usage: "ask whether a host is healthy, without deploying",
		about: "Runs all probes of HOST, or of every host with @TAG, or only those that are named, and\n" +
			"shows what each found. They expect what the flake's configuration says; where nothing\n" +
			"can be evaluated, or with --recorded, what the host recorded with what it runs. Each is\n" +
			"tried once, since nothing was changed that had to settle. Changes nothing, takes no\n" +
			"lock, and works during a deployment. The exit code is 11 where a probe did not pass.",
		example: "hdeploy probe hetzner-vps\n" +
			"    hdeploy probe hetzner-vps hercules-ci-agent --watch\n" +
			"    hdeploy probe --list unit",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "flake", Usage: "expect what flake `REF` says instead of the one in deploy.toml"},
			&cli.BoolFlag{Name: "recorded", Usage: "evaluate nothing: expect what the host recorded", DisableDefaultText: true},
			&cli.BoolFlag{Name: "wait", Usage: "try each probe until its deadline, as a deployment does", DisableDefaultText: true},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "ask again and again until Ctrl-C; the exit code is that of the last answers", DisableDefaultText: true},
			&cli.StringFlag{Name: "interval", Usage: "with --watch, pause for `DURATION` in between (default: 10s)"},
			&cli.BoolFlag{Name: "list", Usage: "explain the kinds of probes with their parameters, or only those that are named", DisableDefaultText: true},
		},
		action: func(c *cli.Context) error {
			if c.Bool("list") {
				return listProbes(c, s)
			}
			o, err := readProbe(c, s)
			if err != nil {
				return err
			}
			return runProbe(c.Context, s, o)
		},
	})
}

type probeOptions struct {
	commonOptions
	request deploy.ProbeRequest
}

func readProbe(c *cli.Context, s streams) (probeOptions, error) {
	common, err := readCommon(c, s)
	o := probeOptions{commonOptions: common}
	if err != nil {
		return o, err
	}
	if c.Args().Len() == 0 {
		return o, usageFailure("probe needs a host", "hdeploy hosts")
	}
	flake, err := readFlake(c, s)
	if err != nil {
		return o, err
	}
	if flake != "" && c.Bool("recorded") {
		return o, usageFailure("--flake contradicts --recorded", "hdeploy help probe")
	}
	every, err := readTimeout(c, "interval")
	if err != nil {
		return o, err
	}
	switch {
	case every > 0 && !c.Bool("watch"):
		return o, usageFailure("--interval is for --watch", "hdeploy help probe")
	case every == 0 && c.Bool("watch"):
		every = watchInterval
	}
	found, err := selectHosts(c.Context, common, s, flake, c.Args().Slice()[:1])
	if err != nil {
		return o, err
	}
	selected, names := found.hosts, c.Args().Slice()[1:]
	if err := chooseProbes(found.inventory, selected, names); err != nil {
		return o, err
	}
	flake = found.flake(flake)
	o.request = deploy.ProbeRequest{
		Request: deploy.Request{Hosts: selected, Flake: flake, Deployer: deployer(s), Nix: common.nix},
		Names:   names, Recorded: c.Bool("recorded"), Patient: c.Bool("wait"), Every: every,
	}
	return o, nil
}

// chooseProbes leaves the hosts those probes that were named. One that is defined
// for another host may be asked as well.
func chooseProbes(inventory *hosts.Inventory, selected []hosts.Host, names []string) error {
	some := false
	for i := range selected {
		h := &selected[i]
		if len(names) > 0 {
			own := h.Probes
			h.Probes = nil
			for _, name := range names {
				p, err := findProbe(inventory, h.Name, own, name)
				if err != nil {
					return err
				}
				h.Probes = append(h.Probes, p)
			}
		}
		some = some || len(h.Probes) > 0
	}
	if !some {
		return usageFailure(fmt.Sprintf("%s has no probes in deploy.toml", selected[0].Name), "hdeploy probe --list  # then add to the host: probes = [...]")
	}
	return nil
}

func findProbe(inventory *hosts.Inventory, host string, own []hosts.Probe, name string) (hosts.Probe, error) {
	var known []string
	for _, p := range own {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	if p, defined := inventory.Probes[name]; defined {
		return p, nil
	}
	known = append(known, slices.Sorted(maps.Keys(inventory.Probes))...)
	if slices.ContainsFunc(inventory.Hosts, func(h hosts.Host) bool { return h.Name == name }) {
		return hosts.Probe{}, usageFailure(fmt.Sprintf("%q is a host: probe takes one host, or @TAG, and then the names of probes", name), "hdeploy probe "+name)
	}
	next := "hdeploy hosts"
	if guess := nearest(name, known); guess != "" {
		next = "hdeploy probe " + host + " " + guess
	}
	return hosts.Probe{}, usageFailure(fmt.Sprintf("unknown probe %q", name)+didYouMean(name, known), next)
}

func runProbe(ctx context.Context, s streams, o probeOptions) error {
	interrupted := "interrupted; nothing was changed"
	if o.request.Every > 0 {
		interrupted = "stopped watching"
	}
	return runEngine(ctx, s, o.commonOptions, o.request.Request, engineRun{
		interrupted: interrupted,
		work: func(ctx context.Context, r deploy.Request, _ *stage) (deploy.Report, error) {
			o.request.Request = r
			return deploy.Probe(ctx, o.request), nil
		},
	})
}

// probeKindJSON is one line of "hdeploy probe --list --json".
type probeKindJSON struct {
	schemaJSON
	probe.About
}

// listProbes explains kinds of probes.
func listProbes(c *cli.Context, s streams) error {
	o, err := readCommon(c, s)
	if err != nil {
		return err
	}
	kinds, err := chosenKinds(c.Args().Slice())
	if err != nil {
		return err
	}
	if o.output == display.JSON {
		lines := make([]probeKindJSON, len(kinds))
		for i, k := range kinds {
			lines[i] = probeKindJSON{schemaOf("probe-kind"), k}
		}
		return printJSONLines(s, lines)
	}
	var b strings.Builder
	for _, k := range kinds {
		b.WriteString(kindText(k) + "\n")
	}
	b.WriteString(strings.Join(display.Wrap("Beside these every probe takes the keys for its time and for what its failure leads to: docs/deploy-toml.md. What each finds, and what helps: docs/probes.md.", lineWidth), "\n") + "\n")
	return write(s, []byte(b.String()))
}

func chosenKinds(names []string) ([]probe.About, error) {
	all := probe.Catalogue()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []probe.About
	for _, name := range names {
		i := slices.IndexFunc(all, func(k probe.About) bool { return k.Kind == name })
		if i < 0 {
			var known []string
			for _, k := range all {
				known = append(known, k.Kind)
			}
			return nil, usageFailure(fmt.Sprintf("unknown kind of probe %q", name)+didYouMean(name, known), "hdeploy probe --list")
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// kindText explains one kind.
func kindText(k probe.About) string {
	title := k.Kind
	if k.Preset {
		title += " (preset: a host may name it without a table)"
	}
	text := title + "\n  " + hanging("passes when: "+k.Text, "  ") + "\n  asked from: " + strings.Join(k.Vantages, " or ") + "\n"
	return text + paramsText(k.Params)
}

func paramsText(params []probe.Param) string {
	var all []explained
	var nested strings.Builder
	for _, p := range params {
		all = append(all, explained{p.Name, paramText(p)})
		if len(p.Of) > 0 {
			nested.WriteString("  each of " + p.Name + ":\n" + paramsText(p.Of))
		}
	}
	return sideBySide(all) + nested.String()
}

func paramText(p probe.Param) string {
	text := p.Type
	switch {
	case p.Required:
		text += ", required"
	case p.Default != "":
		text += ", default " + p.Default
	}
	text += ": " + p.Text
	if len(p.Words) > 0 {
		text += "; one of " + strings.Join(p.Words, ", ")
	}
	return text
}
