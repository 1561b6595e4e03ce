package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// NixOS is what deploy-rs's wrapper may have behind it beside the kinds of this
// package.
const NixOS = "nixos"

// scriptLimit caps the script of a wrapper.
const scriptLimit = 1 << 20

// Behind says what deploy-rs's activate functions have wrapped, and the store path
// of that: the toplevel of activate.nixos, the generation of activate.home-manager,
// and otherwise the wrapper itself, which only its own script can activate. What
// activate.darwin made is refused. The wrapper is a farm of links beside its two
// scripts, see nix/lib of deploy-rs.
func Behind(closure string) (kind, path string, err error) {
	script, err := os.ReadFile(filepath.Join(closure, "deploy-rs-activate"))
	if err != nil || len(script) > scriptLimit {
		return "", "", fmt.Errorf("%s was not made by an activate function of deploy-rs: it has no deploy-rs-activate", closure)
	}
	if has(closure, "darwin-version") || strings.Contains(string(script), "HOME=/var/root") {
		return "", "", errors.New("it is a nix-darwin system, and hdeploy deploys to NixOS hosts")
	}
	if has(closure, "bin/switch-to-configuration") && has(closure, "nixos-version") {
		top, err := root(filepath.Join(closure, "nixos-version"))
		return NixOS, top, err
	}
	if has(closure, "activate") && has(closure, "home-files") && strings.Contains(string(script), "/activate") {
		generation, err := root(filepath.Join(closure, "activate"))
		return HomeManager, generation, err
	}
	return DeployRs, closure, nil
}

func has(closure, name string) bool {
	_, err := os.Stat(filepath.Join(closure, name))
	return err == nil
}

// root is the store path that a link of the farm leads to.
func root(link string) (string, error) {
	file, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", fmt.Errorf("read what deploy-rs has wrapped: %v", err)
	}
	return filepath.Dir(file), nil
}
