package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/program"
)

// systemOf is the question for the system of a host, which deploy-rs may have wrapped.
func systemOf(h hosts.Host) nix.Attribute {
	return nix.Attribute{Host: h.Name, Path: h.Attribute, Unwrap: slices.ContainsFunc(h.Profiles, isSystem)}
}

// wrapped says that a wrapper of deploy-rs is built, and that what is in it will only
// be seen where it is built.
func (h *hostRun) wrapped() bool {
	if h.of != nil || h.system.Wrapper == "" {
		return h.profile.Kind == hosts.KindDeployRs
	}
	return h.system.OutPath == h.system.Wrapper
}

// unwrapSystem makes of deploy-rs's wrapper the system within it, once it is built: the
// system profile then leads to the system itself, as everything else does that boots
// it or goes back to it.
func (h *hostRun) unwrapSystem() error {
	if h.of != nil {
		return nil
	}
	if h.system.Wrapper == "" && h.profile.Kind == hosts.KindDeployRs {
		h.system.Wrapper = h.system.OutPath // its attribute is none of deploy.nodes
	}
	if h.system.Wrapper == "" {
		return nil
	}
	toplevel, more, err := unwrapped(h.system.Wrapper)
	switch known := h.system.OutPath != h.system.Wrapper; {
	case errors.Is(err, fs.ErrNotExist) && known:
		return nil // it is built elsewhere; the evaluation knows the system
	case errors.Is(err, fs.ErrNotExist) && h.builtThere != nil && h.builtThere.Kind == program.NixOS:
		h.system.OutPath = h.builtThere.Behind // as the host says that has built it
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return refused(h.Name, "judge", "call it like the node in nixosConfigurations, or build it here",
			"which system deploy-rs's wrapper is made of only shows where it is built, and that is not here")
	case err != nil:
		return refused(h.Name, "judge", "nix build --print-out-paths "+h.run.Flake+"#'"+h.Attribute+"'", "%v", err)
	case toplevel != h.system.OutPath:
		h.system.OutPath, h.sizes = toplevel, nil
	}
	if more != "" {
		h.note("warning", "deploy-rs's script does more than to switch, which hdeploy leaves out: %s", capped(more))
	}
	return nil
}

// unwrapProfile makes of deploy-rs's wrapper what stands behind it, as the home-manager
// generation of a user. The host is asked anew about a profile that turns out to be of
// another kind, so that this comes later than that of the system.
func (h *hostRun) unwrapProfile(ctx context.Context) error {
	if h.of == nil || h.profile.Kind != hosts.KindDeployRs || h.system.OutPath == "" {
		return nil
	}
	kind, behind, err := h.behind()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return refused(h.Name, "judge", "nix build "+h.run.Flake, "%v", err)
	}
	if kind == program.NixOS {
		return refused(h.Name, "judge", "call the profile system", "%s is a NixOS system, and the profile %s is not the host's", h.system.OutPath, h.profile.Name)
	}
	h.system.OutPath = behind
	if kind == h.of.Program.Kind || h.agent == nil {
		return nil
	}
	// Its own profile is where home-manager looks for what it has linked.
	h.of.Program.Kind = kind
	if kind == program.HomeManager {
		h.of.Link = ""
	}
	h.agent = h.agent.About(h.of)
	return h.askAgain(ctx)
}

// behind says what stands behind deploy-rs's wrapper, wherever that was built. The error
// satisfies fs.ErrNotExist where it was not built yet.
func (h *hostRun) behind() (kind, path string, err error) {
	if b := h.builtThere; b != nil {
		if b.BehindError != "" {
			return "", "", errors.New(b.BehindError)
		}
		return b.Kind, b.Behind, nil
	}
	if _, err := os.Stat(h.system.OutPath); err != nil {
		return "", "", fs.ErrNotExist
	}
	return program.Behind(h.system.OutPath)
}

// flakeSystem is the system that was evaluated, or an error where nobody can tell
// until the wrapper is built.
func flakeSystem(e nix.Evaluated) (string, error) {
	if e.Wrapper == "" || e.OutPath != e.Wrapper {
		return e.OutPath, nil
	}
	toplevel, _, err := unwrapped(e.Wrapper)
	return toplevel, err
}

// mostScriptBytes is far above what deploy-rs writes.
const mostScriptBytes = 1 << 20

// What activate.nixos writes: the switch itself, what it does for dry runs and for
// boot, and what stands around these.
var (
	switches = regexp.MustCompile(`(?m)^\s*"?\$\{?PROFILE\}?"?/bin/switch-to-configuration"? switch\s*$`)
	usual    = regexp.MustCompile(`^(#.*|set -euo pipefail|(el)?if \[\[ .*|then|else|fi|cd /tmp|"?\$\{?PROFILE\}?"?/bin/switch-to-configuration"? (switch|boot|dry-activate)|sed -i '/\^default /d' [^ ;&|]+/loader/loader\.conf)?$`)
)

// unwrapped is the NixOS system in a wrapper that deploy-rs's activate.nixos has made:
// a folder of links into it, with the activation scripts of deploy-rs beside them. more
// is the first line of the script that activate.nixos has not written, if any. The
// error satisfies fs.ErrNotExist where the wrapper is not in the store of this machine.
func unwrapped(wrapper string) (toplevel, more string, err error) {
	if _, err := os.Stat(wrapper); err != nil {
		return "", "", fmt.Errorf("read the wrapper of deploy-rs: %w", err)
	}
	script, err := readScript(filepath.Join(wrapper, "deploy-rs-activate"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("%s has no deploy-rs-activate: was it made by deploy-rs's activate.nixos?", wrapper)
	}
	if err != nil {
		return "", "", fmt.Errorf("read the activation script of deploy-rs: %v", err)
	}
	toplevel = linkedFrom(wrapper)
	if toplevel == "" {
		if _, _, err := program.Behind(wrapper); err != nil {
			return "", "", err // which says what it is instead
		}
		return "", "", fmt.Errorf("the system profile %s is no NixOS system: it has no bin/switch-to-configuration", wrapper)
	}
	if !switches.MatchString(script) {
		return "", "", fmt.Errorf("%s was not made by deploy-rs's activate.nixos, and its script does not switch to the system; give the profile another name than system", wrapper)
	}
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); more == "" && !usual.MatchString(line) {
			more = line
		}
	}
	return toplevel, more, nil
}

func readScript(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, mostScriptBytes))
	return string(text), err
}

// linkedFrom is the store path that the wrapper's bin/switch-to-configuration, or the
// folder around it, links to; empty where there is none.
func linkedFrom(wrapper string) string {
	store := filepath.Dir(wrapper) + "/"
	for _, part := range []string{"bin", "bin/switch-to-configuration"} {
		target, err := os.Readlink(filepath.Join(wrapper, part))
		rest, inStore := strings.CutPrefix(filepath.Clean(target), store)
		if err != nil || !inStore {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		if _, err := os.Stat(filepath.Join(store, name, "bin/switch-to-configuration")); err == nil {
			return store + name
		}
	}
	return ""
}

// checkPlatform refuses what is deployed to no NixOS host, before anything else is
// said of the machine.
func (h *hostRun) checkPlatform() error {
	if !strings.HasSuffix(h.system.System, "-darwin") {
		return nil
	}
	return refused(h.Name, "judge", "deploy "+h.Name+"  # deploy-rs goes on working for it",
		"this is a system of nix-darwin, for %s: hdeploy deploys to NixOS hosts alone", capped(h.system.System))
}
