package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
)

// given is a closure on the command line, in the place of a flake.
type given struct {
	deploy.Prebuilt
}

func (g given) is() bool { return g.Closure != "" }

// closureFlags are those of every command that takes a closure.
func closureFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "closure", Usage: "deploy the system at `PATH` in the store here, without flake and evaluation"},
		&cli.StringFlag{Name: "expectations", Usage: "with --closure: read what its configuration says from `FILE` (lib.expectations)"},
		&cli.StringFlag{Name: "rev", Usage: "with --closure: record `COMMIT` as what it was built from"},
		&cli.StringFlag{Name: "branch", Usage: "with --closure: record `NAME` as the branch that it was built from"},
	}
}

// readClosure reads the closure that was given, if there is one.
func readClosure(c *cli.Context, s streams) (given, error) {
	var g given
	if !c.IsSet("closure") {
		for _, name := range []string{"expectations", "rev", "branch"} {
			if c.IsSet(name) {
				return g, usageFailure("--"+name+" means something with --closure only", "hdeploy "+c.Command.Name+" HOST --closure PATH --"+name+" "+c.String(name))
			}
		}
		return g, nil
	}
	var err error
	if g.Closure, err = resolveClosure(s, c.String("closure")); err != nil {
		return g, err
	}
	if file := c.String("expectations"); file != "" {
		g.File = absoluteFile(s, file)
		if g.Manifest, err = deploy.ReadManifest(g.File); err != nil {
			f := usageFailure(fmt.Sprintf("--expectations: read %s: %v", file, err), "nix eval --json '.#expectations.HOST' >"+file+"  # lib.expectations of hdeploy's flake")
			f.Step = "expectations"
			return g, f
		}
	}
	if g.Revision, g.Branch = c.String("rev"), c.String("branch"); g.Revision != "" && !commitName.MatchString(g.Revision) {
		return g, usageFailure(fmt.Sprintf("--rev: %q is no commit: 40 to 64 digits and letters from a to f", g.Revision), "git rev-parse HEAD")
	}
	if g.Branch != "" && !branchName.MatchString(g.Branch) {
		return g, usageFailure(fmt.Sprintf("--branch: %q is no name of a branch", g.Branch), "git branch --show-current")
	}
	return g, nil
}

var (
	commitName = regexp.MustCompile(`^[0-9a-f]{40,64}$`)
	// branchName is narrower than git-check-ref-format(1): what it lets pass stands in
	// records, messages and a terminal.
	branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+@#=-]{0,199}$`)
)

func absoluteFile(s streams, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.Dir, path)
}

// resolveClosure returns the store path that is meant by a path, or a link such as
// ./result.
func resolveClosure(s streams, written string) (string, error) {
	path := absoluteFile(s, written)
	fail := func(next, format string, args ...any) (string, error) {
		return "", &failure{code: deploy.CodeUsage, Failure: event.Failure{Step: "closure", Cause: "--closure: " + fmt.Sprintf(format, args...), Next: next}}
	}
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && nix.StorePathOf(path) == filepath.Clean(path):
		return fail("nix copy --from URL "+path+"  # from the cache, or the machine, that has it", "%s is not in the store of this machine", path)
	case errors.Is(err, os.ErrNotExist):
		return fail("nix build .#nixosConfigurations.HOST.config.system.build.toplevel  # makes ./result", "there is no %s", path)
	case err != nil:
		return fail("ls -ld "+path, "%v", err)
	}
	switch at := nix.StorePathOf(real); at {
	case real:
		return real, nil
	case "":
		return fail("nix build .#nixosConfigurations.HOST.config.system.build.toplevel  # makes ./result", "%s is no store path, nor a link to one", real)
	default:
		return fail("hdeploy switch HOST --closure "+at, "%s is only a part of the store path %s", real, at)
	}
}

// checkClosure refuses what contradicts a closure that is given.
func (o switchOptions) checkClosure(c *cli.Context) error {
	name := c.Command.Name
	switch {
	case !o.given.is():
		return nil
	case o.flake != "":
		return usageFailure("--closure is deployed without a flake, and --flake names one", "hdeploy "+name+" HOST --closure "+o.given.Closure)
	case len(o.nix) > 0:
		return usageFailure(`after "--" stand arguments for evaluation and build, and a closure that is given needs neither`, "hdeploy "+name+" HOST --closure "+o.given.Closure)
	case o.strict:
		return usageFailure("--strict judges the git tree of a flake, and a closure that is given has none", "hdeploy "+name+" HOST --closure "+o.given.Closure)
	case len(o.hosts) != 1:
		return usageFailure(fmt.Sprintf("--closure is for one host, but %d are named", len(o.hosts)), "hdeploy "+name+" HOST --closure "+o.given.Closure)
	}
	return nil
}

// selectForClosure finds the one host: in deploy.toml where there is one, and else as
// an address.
func selectForClosure(o commonOptions, s streams, word string) (selection, error) {
	found, err := lookUpForClosure(o, s, word)
	if err != nil {
		return found, err
	}
	if n := len(found.hosts); n != 1 {
		return found, usageFailure(fmt.Sprintf("--closure is for one host, but %s stands for %d", word, n), "hdeploy hosts")
	}
	if err := o.reach.over(found); err != nil {
		return found, err
	}
	return found, knownMachines(s, found.hosts)
}

func lookUpForClosure(o commonOptions, s streams, word string) (selection, error) {
	_, err := hosts.Find(s.Dir)
	if o.config != "" || !errors.Is(err, os.ErrNotExist) {
		inventory, err := loadInventory(o, s)
		if err != nil {
			return selection{}, err
		}
		selected, err := inventory.Select([]string{word})
		return selection{inventory, selected}, err
	}
	inventory, err := hosts.Unlisted(word, deploy.ProbeKinds())
	if err != nil {
		return selection{}, usageFailure(fmt.Sprintf("there is no deploy.toml, so that HOST must be a name or an address: %v", err),
			"hdeploy "+cmp.Or(strings.TrimPrefix(word, "@"), "HOST")+" --closure PATH --config deploy.toml")
	}
	return selection{inventory, inventory.Hosts}, nil
}
