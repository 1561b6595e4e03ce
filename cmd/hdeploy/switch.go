package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
)

// switchOptions are those of all commands that bring systems to hosts.
type switchOptions struct {
	commonOptions
	deployment
	overrides
	hosts      []string
	given      given
	flake      string // empty where deploy.toml decides
	dryRun     bool
	force      bool
	keep       bool
	thenReboot bool
	identity   bool
	strict     bool
}

func readSwitch(c *cli.Context, s streams) (switchOptions, error) {
	common, err := readCommon(c, s)
	if err != nil {
		return switchOptions{}, err
	}
	o := switchOptions{commonOptions: common, hosts: c.Args().Slice(),
		dryRun: c.Bool("dry-run"), force: c.Bool("force"), keep: c.Bool("no-rollback"), identity: c.Bool("force-identity"), strict: c.Bool("strict")}
	if o.flake, err = readFlake(c, s); err != nil {
		return o, err
	}
	if o.given, err = readClosure(c, s); err != nil {
		return o, err
	}
	if err := o.checkClosure(c); err != nil {
		return o, err
	}
	if len(o.hosts) == 0 && !o.given.is() && !readsNodes(common, s, o.flake, nil) {
		return o, usageFailure(c.Command.Name+" needs at least one host, or @TAG", "hdeploy hosts")
	}
	o.overrides, err = readOverrides(c)
	return o, err
}

// runSwitch deploys to the selected hosts and tells what came of it.
func runSwitch(ctx context.Context, s streams, o switchOptions) error {
	request, err := o.request(ctx, s)
	if err != nil {
		return err
	}
	return runEngine(ctx, s, o.commonOptions, request, engineRun{
		interrupted: "interrupted: bringing every host into a state that can be named; interrupt again to leave at once",
		work: func(ctx context.Context, r deploy.Request, _ *stage) (deploy.Report, error) {
			return deploy.Run(ctx, r)
		},
	})
}

// request turns options and deploy.toml into what the engine takes.
func (o switchOptions) request(ctx context.Context, s streams) (deploy.Request, error) {
	found, err := o.find(ctx, s)
	if err != nil {
		return deploy.Request{}, err
	}
	selected := found.hosts
	for i := range selected {
		o.over(&selected[i])
	}
	state, err := stateDir(s)
	if err != nil {
		return deploy.Request{}, err
	}
	flake, prebuilt := found.flake(o.flake), o.prebuilt(selected)
	if prebuilt != nil {
		flake = ""
	}
	program, err := os.Executable()
	if err != nil {
		return deploy.Request{}, err
	}
	return deploy.Request{
		Builders: found.inventory.Hosts, Join: deploy.Join{Program: program, Command: joinCommand},
		Hosts: selected, Flake: flake, DryRun: o.dryRun,
		Goal: o.goal, Action: o.action, Keep: o.keep, Force: o.force, Automatic: automatic(s),
		ForceIdentity: o.identity, Strict: o.strict,
		Prebuilt: prebuilt, ThenReboot: o.thenReboot, Deployer: deployer(s), StateDir: state, Nix: o.nix, Effect: inEffect(s),
	}, nil
}

// inEffect says whether an effect of Hercules CI runs this. hercules-ci-effects sets the
// variable for every effect.
func inEffect(s streams) bool { return s.env("IN_HERCULES_CI_EFFECT") == "true" }

// find finds the hosts that are meant.
func (o switchOptions) find(ctx context.Context, s streams) (selection, error) {
	if o.given.is() {
		return selectForClosure(o.commonOptions, s, o.hosts[0])
	}
	return selectHosts(ctx, o.commonOptions, s, o.flake, o.hosts)
}

// prebuilt is the closure for the one host that it is given for, nil where a flake decides.
func (o switchOptions) prebuilt(selected []hosts.Host) map[string]deploy.Prebuilt {
	if !o.given.is() {
		return nil
	}
	return map[string]deploy.Prebuilt{selected[0].Name: o.given.Prebuilt}
}

// stateDir is where hdeploy keeps what it needs on this machine.
func stateDir(s streams) (string, error) {
	if base := s.env("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "hdeploy"), nil
	}
	home := s.env("HOME")
	if !filepath.IsAbs(home) {
		return "", usageFailure("neither XDG_STATE_HOME nor HOME names a folder for the results of builds", "export XDG_STATE_HOME=/var/lib/hdeploy")
	}
	return filepath.Join(home, ".local", "state", "hdeploy"), nil
}

// deployer names who deploys from where, for whoever finds the lock taken.
func deployer(s streams) string {
	user := "somebody"
	for _, name := range []string{"USER", "LOGNAME"} {
		if v := s.env(name); v != "" {
			user = v
			break
		}
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "an unnamed machine"
	}
	return display.Clean(user + "@" + machine)
}
