package sshconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// host begins a block for the hosts that fit a pattern, unless one with an exclamation
// mark fits as well.
func (r *reading) host() error {
	if r.scope.option {
		return r.fail("it is no option")
	}
	r.active = false
	if slices.Contains(r.words, "") {
		return r.fail("an argument is empty")
	}
	if r.scope.never {
		return nil
	}
	for _, pattern := range r.words {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !matches(r.resolution.host, pattern) {
			continue
		}
		r.active = !negated
		if negated {
			return nil
		}
	}
	return nil
}

// match begins a block that applies if all its criteria do.
func (r *reading) match() error {
	if r.scope.option {
		return r.fail("it is no option")
	}
	holds, err := r.criteria()
	if err != nil {
		return err
	}
	r.active = holds && !r.scope.never
	return nil
}

func (r *reading) criteria() (bool, error) {
	holds, count := true, 0
	words := r.words
	next := func() (string, bool) {
		if len(words) == 0 {
			return "", false
		}
		word := words[0]
		words = words[1:]
		return word, true
	}
	for {
		word, ok := next()
		if !ok || strings.HasPrefix(word, "#") {
			break
		}
		name, negated := strings.CutPrefix(word, "!")
		name, argument, given := strings.Cut(name, "=")
		name = lower(name)
		if name == "all" && !given {
			if rest, ok := next(); count > 1 || ok && rest != "" && !strings.HasPrefix(rest, "#") {
				return false, r.fail("all stands beside other criteria")
			}
			return holds && !negated, nil
		}
		count++
		if name == "canonical" || name == "final" {
			r.wantsFinal = r.wantsFinal || name == "final"
			holds = holds && r.final != negated
			continue
		}
		if !given {
			argument, given = next()
		}
		if !given || argument == "" && name != "tagged" && name != "command" || strings.HasPrefix(argument, "#") {
			return false, r.fail("%s has no argument", name)
		}
		// What comes behind a criterion that does not hold decides nothing: no program is
		// run for it. Its form is checked all the same.
		fits, err := r.criterion(name, argument, holds && !r.scope.never)
		if err != nil {
			return false, err
		}
		holds = holds && fits != negated
	}
	if count == 0 {
		return false, r.fail("it has no criterion")
	}
	return holds, nil
}

// criterion judges one. matters is false where the answer changes nothing.
func (r *reading) criterion(name, argument string, matters bool) (bool, error) {
	switch name {
	case "host":
		return matchesHost(r.currentHost(), argument) == match, nil
	case "originalhost":
		return matchesHost(r.query.Host, argument) == match, nil
	case "user":
		return matchesList(r.user(), argument) == match, nil
	case "localuser":
		return matchesList(r.config.local.user, argument) == match, nil
	case "tagged":
		tag := r.word("Tag")
		return tag == "" && argument == "" || tag != "" && matchesList(tag, argument) == match, nil
	case "localnetwork":
		return r.localNetwork(argument)
	case "exec":
		if !matters {
			return false, nil
		}
		return r.run(argument)
	case "version", "command", "sessiontype":
		if !matters {
			return false, nil
		}
		return false, r.fail("hdeploy cannot tell whether %s holds: it is no ssh, and runs several commands on one connection", name)
	}
	return false, r.fail("%s is no criterion", name)
}

// localNetwork reports whether an address of this machine is within one of the
// networks.
func (r *reading) localNetwork(list string) (bool, error) {
	var inside, outside []netip.Prefix
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !strings.Contains(pattern, "/") {
			if address, err := netip.ParseAddr(pattern); err == nil {
				pattern = netip.PrefixFrom(address, address.BitLen()).String()
			}
		}
		network, err := netip.ParsePrefix(pattern)
		switch {
		case err != nil || network != network.Masked():
			return false, r.fail("%q is no network", pattern)
		case negated:
			outside = append(outside, network)
		default:
			inside = append(inside, network)
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false, r.fail("list this machine's addresses: %v", err)
	}
	return slices.ContainsFunc(addresses, func(address net.Addr) bool {
		prefix, err := netip.ParsePrefix(address.String())
		within := func(network netip.Prefix) bool { return network.Contains(prefix.Addr().Unmap()) }
		return err == nil && slices.ContainsFunc(inside, within) && !slices.ContainsFunc(outside, within)
	}), nil
}

// run asks a command of the user's shell, as OpenSSH does, but not for ever.
func (r *reading) run(argument string) (bool, error) {
	command, err := expand(argument, r.blockTokens(), nil)
	if err != nil {
		return false, r.fail("exec: %v", err)
	}
	if test := r.config.testOnlyExec; test != nil {
		return test(command)
	}
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.config.execTimeout)
	defer cancel()
	process := exec.CommandContext(ctx, shell, "-c", command)
	// What the shell has started ends with it.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.Cancel = func() error { return syscall.Kill(-process.Process.Pid, syscall.SIGKILL) }
	process.WaitDelay = r.config.execTimeout
	err = process.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, r.fail("exec %q took longer than %s", argument, r.config.execTimeout)
	case err == nil:
		return true, nil
	case errors.As(err, &exit) && exit.Exited():
		return false, nil
	}
	return false, r.fail("exec %q: %v", argument, err)
}

// include reads other files as if they stood here. Blocks that begin in them end with
// them.
func (r *reading) include() error {
	if r.scope.option {
		return r.fail("it is no option")
	}
	if r.scope.depth >= deepest {
		return r.fail("files include each other more than %d deep", deepest)
	}
	outer := r.active
	inner := scope{user: r.scope.user, check: true, never: r.scope.never || !outer, depth: r.scope.depth + 1}
	for _, word := range r.words {
		paths, err := r.included(word)
		if err != nil {
			return err
		}
		for _, path := range paths {
			err := r.file(path, inner)
			r.active = outer
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// included lists the files that an argument of Include stands for, sorted.
func (r *reading) included(word string) ([]string, error) {
	if word == "" {
		return nil, r.fail("an argument is empty")
	}
	pattern, err := expand(word, r.blockTokens(), r.config.local.env)
	if err != nil && (!r.active || r.scope.never) {
		return nil, nil // it may name what another machine has
	}
	if err != nil {
		return nil, r.fail("%v", err)
	}
	switch {
	case filepath.IsAbs(pattern):
	case strings.HasPrefix(pattern, "~") && r.scope.user:
		if pattern, err = r.config.local.tilde(pattern); err != nil {
			return nil, r.fail("%v", err)
		}
	case strings.HasPrefix(pattern, "~"):
		return nil, r.fail("%q is in a home, which the system's file cannot name", word)
	case r.scope.user:
		pattern = filepath.Join(r.config.local.home, ".ssh") + "/" + pattern
	default:
		pattern = filepath.Dir(SystemFile) + "/" + pattern
	}
	paths, err := glob(pattern)
	if err != nil {
		return nil, r.fail("%q is no pattern of files", word)
	}
	if len(paths) > mostIncluded {
		return nil, r.fail("%q fits more than %d files", word, mostIncluded)
	}
	return paths, nil
}

// glob is filepath.Glob with the rules of glob(3): a leading dot is only matched by
// one, and [!a] is what Go writes as [^a].
func glob(pattern string) ([]string, error) {
	paths, err := filepath.Glob(strings.ReplaceAll(pattern, "[!", "[^"))
	if err != nil {
		return nil, fmt.Errorf("%v", err)
	}
	wanted := strings.Split(filepath.Clean(pattern), "/")
	paths = slices.DeleteFunc(paths, func(path string) bool {
		for i, name := range strings.Split(filepath.Clean(path), "/") {
			if strings.HasPrefix(name, ".") && i < len(wanted) && !strings.HasPrefix(wanted[i], ".") && !strings.HasPrefix(wanted[i], `\.`) {
				return true
			}
		}
		return false
	})
	slices.Sort(paths)
	return paths, nil
}
