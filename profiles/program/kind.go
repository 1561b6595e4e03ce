// Package program is what activating, committing and restoring mean for a closure
// that is activated by a program of its own: a home-manager generation, what
// deploy-rs's activate functions made, or a closure with declared programs.
//
// It keeps the link of the profile where it was until the commit, and knows from a
// durable note, and not from the link, that a closure is in trial: what such a
// program changes outlives a boot, so that after one it must be taken back by a
// program, too. Programs run as the profile's owner and never as root for somebody
// else; links in an owner's directories are made by the owner.
package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// The kinds of profiles that are no NixOS systems.
const (
	HomeManager = "home-manager"
	Custom      = "custom"
	DeployRs    = "deploy-rs"
)

// What is done with a closure, as the environment tells its program.
const (
	activate = "activate"
	rollback = "rollback"
	check    = "check"
)

// argvLimit caps a declared command.
const argvLimit = 64

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$`)

// Validate says what is wrong with a profile that a deployer names.
func Validate(p transaction.Program) error {
	switch {
	case !nameForm.MatchString(p.Profile):
		return fmt.Errorf("not a profile's name: %q", p.Profile)
	case !nameForm.MatchString(p.User):
		return fmt.Errorf("not a user's name: %q", p.User)
	case p.Kind != HomeManager && p.Kind != Custom && p.Kind != DeployRs:
		return fmt.Errorf("not a kind of profile that this agent knows: %q", p.Kind)
	case p.Kind == Custom && len(p.Activate) == 0:
		return errors.New("a custom profile needs a command that activates it")
	}
	for _, argv := range [][]string{p.Activate, p.Rollback, p.Check} {
		if err := validArgv(argv); err != nil {
			return err
		}
	}
	return nil
}

func validArgv(argv []string) error {
	if len(argv) > argvLimit {
		return fmt.Errorf("a command of %d words: %d at most", len(argv), argvLimit)
	}
	for i, word := range argv {
		if strings.ContainsAny(word, "\x00\n") {
			return fmt.Errorf("a command with control characters: %q", word)
		}
		if i == 0 && (word == "" || filepath.IsAbs(word) || !filepath.IsLocal(word)) {
			return fmt.Errorf("a command's first word must be a path within the closure: %q", word)
		}
	}
	return nil
}

// command is a program of a closure.
type command struct {
	argv, environment []string
	directory         string
}

// of is what the kind runs to do action with closure; profile is what PROFILE is
// set to. An empty argv means that there is nothing to run.
func of(p transaction.Program, action, closure, home string) (command, error) {
	c := command{directory: closure, environment: []string{
		"PROFILE=" + closure, "HDEPLOY_PROFILE=" + p.Profile, "HDEPLOY_ACTION=" + action, "HDEPLOY_CLOSURE=" + closure,
	}}
	switch {
	case action == check:
		c.argv = within(closure, p.Check)
	case p.Kind == Custom && action == rollback && len(p.Rollback) > 0:
		c.argv = within(closure, p.Rollback)
	case p.Kind == Custom:
		c.argv = within(closure, p.Activate)
	case p.Kind == HomeManager:
		c.argv, c.directory = append([]string{filepath.Join(closure, "activate")}, driver(closure)...), home
	default:
		c.argv = []string{filepath.Join(closure, "deploy-rs-activate")}
	}
	if len(c.argv) == 0 {
		return c, nil
	}
	info, err := os.Stat(c.argv[0])
	if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return c, fmt.Errorf("%s is no %s profile: %s is not a program in it", closure, p.Kind, strings.TrimPrefix(c.argv[0], closure+"/"))
	}
	return c, nil
}

func within(closure string, argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	return append([]string{filepath.Join(closure, argv[0])}, argv[1:]...)
}

// driver tells an activation that its caller moves the profile. A generation says
// that it knows the option by its gen-version; those before move it themselves.
// home-manager, modules/home-environment.nix
func driver(generation string) []string {
	text, err := os.ReadFile(filepath.Join(generation, "gen-version"))
	if version, numErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && numErr == nil && version >= 1 {
		return []string{"--driver-version", "1"}
	}
	return nil
}

const (
	globalProfiles = "/nix/var/nix/profiles"
	// SystemProfile is the name that deploy-rs gives to a host's NixOS system.
	systemProfile = "system"
)

// link is where the profile's link is if nobody says where: home-manager's own, and
// otherwise where deploy-rs has it.
func link(p transaction.Program, home string) (string, error) {
	name := p.Profile
	if p.Kind == HomeManager {
		name = "home-manager"
	}
	if p.User == "root" && p.Kind != HomeManager {
		if name == systemProfile {
			return "", fmt.Errorf("the profile %s of root is the NixOS system's, and %s is none; give it another name, or a path", name, p.Kind)
		}
		return filepath.Join(globalProfiles, "per-user/root", name), nil
	}
	own, global := filepath.Join(home, ".local/state/nix/profiles"), filepath.Join(globalProfiles, "per-user", p.User)
	if isDir(global) && (p.Kind != HomeManager || !isDir(own)) {
		return filepath.Join(global, name), nil
	}
	return filepath.Join(own, name), nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
