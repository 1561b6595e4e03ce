//go:build lab

package ci

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// expectations reads of a configuration what probes expect; it is what `lib.expectations` of hdeploy's flake is made of.
const expectations = "deploy/nix/expectations.nix"

// Deployment is a system with everything that an effect takes along for it, all of it in the host's store.
type Deployment struct {
	// Host is its name in Config, a deploy.toml. Expectations is the manifest of Closure.
	Host, Closure, Config, Expectations string

	program string
}

// Deployment builds the system NAME of the checkout with the settings of one hosts/NAME.json. Inventory is the deploy.toml, and
// repository hdeploy's own sources.
func (h *Host) Deployment(ctx context.Context, name string, settings any, inventory, repository string) (d Deployment, err error) {
	d = Deployment{Host: name, program: h.Program}
	if d.Closure, err = h.Build(ctx, name, settings); err != nil {
		return d, err
	}
	reader, err := os.ReadFile(repository + "/" + expectations)
	if err != nil {
		return d, fmt.Errorf("read how expectations are found: %v", err)
	}
	if err := h.WriteFile(ctx, "/srv/expectations.nix", reader, 0o644); err != nil {
		return d, err
	}
	manifest, err := h.Shell(ctx, fmt.Sprintf("nix eval --json --impure --apply '(import /srv/expectations.nix).manifest' %s#nixosConfigurations.%s", checkout, name))
	if err != nil {
		return d, err
	}
	if d.Expectations, err = h.AddToStore(ctx, "expectations.json", []byte(manifest), false); err != nil {
		return d, err
	}
	d.Config, err = h.AddToStore(ctx, "deploy.toml", []byte(inventory), false)
	return d, err
}

// Script is what an effect runs to deploy it. As with the real one a shell is the first process of the sandbox, and hdeploy its
// child.
func (d Deployment) Script(arguments ...string) string {
	words := append([]string{
		"HDEPLOY_NIX=/usr/bin/nix", d.program, "effect", d.Host, "--closure", d.Closure, "--expectations", d.Expectations, "--config", d.Config, "--branch", "main",
	}, arguments...)
	return strings.Join(words, " ") + "\nexit $?\n"
}
