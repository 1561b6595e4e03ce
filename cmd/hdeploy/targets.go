package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/deployrs"
)

// selection is what the words of a command line stand for.
type selection struct {
	inventory *hosts.Inventory
	hosts     []hosts.Host
}

// flake is the one to deploy from, where the option --flake may name another.
func (found selection) flake(option string) string { return cmp.Or(option, found.inventory.Flake) }

// selectHosts finds the hosts that words stand for. They are those of deploy.toml,
// or, where there is none or a word names a flake (.#node.profile), of the deploy.nodes
// of a flake written for deploy-rs: that of the word, of --flake, or of this folder.
// No word stands for all.
func selectHosts(ctx context.Context, o commonOptions, s streams, flake string, words []string) (selection, error) {
	found, err := lookUp(ctx, o, s, flake, words)
	if err != nil {
		return found, err
	}
	if err := o.reach.over(found); err != nil {
		return found, err
	}
	return found, knownMachines(s, found.hosts) // the place that it is reached at may be known, too
}

func lookUp(ctx context.Context, o commonOptions, s streams, flake string, words []string) (selection, error) {
	if readsNodes(o, s, flake, words) {
		return selectNodes(ctx, o, s, flake, words)
	}
	inventory, err := loadInventory(o, s)
	if err != nil {
		return selection{}, err
	}
	selected, err := inventory.Select(words)
	return selection{inventory, selected}, err
}

// readsNodes says whether words stand for nodes of a flake, and not for hosts of
// deploy.toml.
func readsNodes(o commonOptions, s streams, flake string, words []string) bool {
	if slices.ContainsFunc(words, deployrs.Names) {
		return true
	}
	if _, err := hosts.Find(s.Dir); o.config != "" || !errors.Is(err, os.ErrNotExist) {
		return false
	}
	return flake != "" || hasFlake(s)
}

// hasFlake says whether there is a flake in this folder or above it.
func hasFlake(s streams) bool {
	for folder := s.Dir; ; folder = filepath.Dir(folder) {
		if info, err := os.Stat(filepath.Join(folder, "flake.nix")); err == nil && !info.IsDir() {
			return true
		}
		if folder == filepath.Dir(folder) {
			return false
		}
	}
}

// selectNodes reads the deploy.nodes of a flake.
func selectNodes(ctx context.Context, o commonOptions, s streams, flake string, words []string) (selection, error) {
	wanted, err := readTargets(s, flake, words)
	if err != nil {
		return selection{}, err
	}
	program, err := nix.Find(ctx)
	if err != nil {
		return selection{}, err
	}
	program.Extra = o.nix
	answer, err := program.DeployNodes(ctx, wanted.flake, nix.NodesQuery{Targets: wanted.nodes, Settings: deployrs.Settings()}, nil)
	if err != nil {
		return selection{}, nodesFailure(wanted.flake, err)
	}
	reading, err := deployrs.Read(answer, deployrs.Source{Flake: wanted.flake, User: localUser(s), Kinds: deploy.ProbeKinds()})
	if err != nil {
		return selection{}, err
	}
	for _, note := range reading.Notes {
		fmt.Fprintln(s.ErrOut, "hdeploy: note: "+display.Clean(note))
	}
	if err := knownMachines(s, reading.Inventory.Hosts); err != nil {
		return selection{}, err
	}
	selected, err := reading.Inventory.Select(wanted.tags)
	if err != nil {
		return selection{}, err
	}
	if len(words) == 0 || len(selected) > len(words) {
		fmt.Fprintln(s.ErrOut, "hdeploy: the nodes of "+display.Clean(wanted.flake)+": "+strings.Join(hostNames(selected), ", "))
	}
	return selection{reading.Inventory, selected}, nil
}

// wantedNodes are targets of one flake.
type wantedNodes struct {
	flake string
	nodes []nix.NodeName
	// tags are words with an @: all nodes are read to find those that have them.
	tags []string
}

func readTargets(s streams, flake string, words []string) (wantedNodes, error) {
	w := wantedNodes{}
	all := len(words) == 0
	for _, word := range words {
		if strings.HasPrefix(word, "@") {
			w.tags = append(w.tags, word)
			continue
		}
		target, err := deployrs.ParseTarget(word)
		if err != nil {
			return w, usageFailure(err.Error(), "hdeploy switch '.#node.profile'")
		}
		of := target.Flake
		if of == "" {
			of = orDot(flake)
		}
		of = absoluteFlake(s, of)
		if w.flake != "" && of != w.flake {
			return w, usageFailure(fmt.Sprintf("one run deploys from one flake, but both %s and %s are named; a name without a flake is that of deploy.toml, or of this folder", w.flake, of),
				"hdeploy switch "+word)
		}
		w.flake = of
		all = all || target.Node == ""
		w.nodes = append(w.nodes, nix.NodeName{Node: target.Node, Profile: target.Profile, Word: target.Word})
	}
	if len(w.tags) > 0 && len(w.nodes) > 0 {
		return w, usageFailure("nodes and tags of a flake cannot be mixed in one run", "hdeploy switch "+w.tags[0])
	}
	if all || len(w.tags) > 0 {
		w.nodes = nil
	}
	if w.flake == "" {
		w.flake = absoluteFlake(s, orDot(flake))
	}
	return w, nil
}

func orDot(flake string) string {
	if flake == "" {
		return "."
	}
	return flake
}

// nodesFailure says what to do where a flake has no such nodes.
func nodesFailure(flake string, err error) error {
	if unknown, ok := errors.AsType[*nix.UnknownNodeError](err); ok {
		what, place := unknown.Node, flake+"#deploy.nodes"
		if unknown.Profile != "" {
			what, place = unknown.Profile, flake+"#deploy.nodes."+unknown.Node+".profiles"
		}
		known := &hosts.Inventory{Path: place}
		for _, name := range unknown.Available {
			known.Hosts = append(known.Hosts, hosts.Host{Name: name})
		}
		_, err := known.Select([]string{what})
		return err
	}
	var none *nix.NoNodesError
	if errors.As(err, &none) {
		f := usageFailure(err.Error(), "hdeploy init  # writes a deploy.toml for the nixosConfigurations of the flake")
		f.Step = "configuration"
		return f
	}
	var failed *nix.Error
	if errors.As(err, &failed) {
		f := &failure{code: deploy.CodeBuild}
		f.Step, f.Cause, f.Next = failed.Step, failed.Cause, "nix eval "+flake+"#deploy.nodes --apply builtins.attrNames"
		f.Log = strings.Split(failed.Output, "\n")
		return f
	}
	return err
}

// localUser is who runs hdeploy: deploy-rs logs in by this name.
func localUser(s streams) string {
	for _, name := range []string{"USER", "LOGNAME"} {
		if v := s.env(name); v != "" {
			return v
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

func hostNames(list []hosts.Host) []string {
	names := make([]string, len(list))
	for i, h := range list {
		names[i] = h.Name
	}
	return names
}
