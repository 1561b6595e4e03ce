package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
)

// variables are the options that may be set in the environment instead. None of
// them makes a deployment more dangerous than the command line says: what a person
// has to mean each time has no variable.
func variables() map[string]string {
	return map[string]string{
		"config":             "HDEPLOY_CONFIG",
		"output":             "HDEPLOY_OUTPUT",
		"log-level":          "HDEPLOY_LOG_LEVEL",
		"log-file":           "HDEPLOY_LOG_FILE",
		"flake":              "HDEPLOY_FLAKE",
		"confirm-timeout":    "HDEPLOY_CONFIRM_TIMEOUT",
		"activation-timeout": "HDEPLOY_ACTIVATION_TIMEOUT",
	}
}

// withEnvironment adds to arranged words the options that only the environment
// gives, and returns the names of these.
func withEnvironment(app *cli.App, arranged []string, s streams) (words []string, added map[string]bool, err error) {
	command := app.Command(arranged[0])
	end := slices.Index(arranged, "--")
	given := map[string]bool{}
	for _, option := range arranged[1:end] {
		name, _, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		given[name] = true
	}
	var options []string
	added = map[string]bool{}
	for _, flag := range command.Flags {
		name := flag.Names()[0]
		variable := variables()[name]
		value := s.env(variable)
		overruled := slices.ContainsFunc(insteadOf(name), func(other string) bool { return given[other] })
		if variable == "" || value == "" || given[name] || overruled {
			continue
		}
		if !takesValue(flag) {
			if _, err := strconv.ParseBool(value); err != nil {
				return nil, nil, usageFailure(fmt.Sprintf("%s must be true or false, not %q", variable, value), "unset "+variable)
			}
		}
		options = append(options, "--"+name+"="+value)
		added[name] = true
	}
	return slices.Concat(arranged[:end], options, arranged[end:]), added, nil
}

// insteadOf are options that say something else in the place of one: on the command
// line they come before its variable, and contradict it only there.
func insteadOf(option string) []string {
	switch option {
	case "output":
		return []string{"json"}
	case "flake":
		return []string{"recorded", "no-flake", "closure"}
	}
	return nil
}

// environmentKey is where the library keeps, for the commands, which options come
// from the environment.
const environmentKey = "options from the environment"

// originOf says where an option of the command line comes from.
func originOf(c *cli.Context, name string) hosts.Origin {
	if added, ok := c.App.Metadata[environmentKey].(map[string]bool); ok && added[name] {
		return hosts.Origin{Level: hosts.LevelEnvironment, File: variables()[name]}
	}
	return hosts.Origin{Level: hosts.LevelOption, File: "--" + name}
}

// blameEnvironment adds to a complaint about an option that it stands in the
// environment, where nobody would look for it.
func blameEnvironment(err error, added map[string]bool) error {
	f, ok := errors.AsType[*failure](err)
	if !ok || f.Step != "arguments" {
		return err
	}
	for name := range added {
		if strings.Contains(f.Cause, "--"+name) {
			f.Cause += fmt.Sprintf(" (--%s is from the environment: %s)", name, variables()[name])
		}
	}
	return f
}

// environmentWantsJSON is wantsJSON for a command line that says nothing about the
// output.
func environmentWantsJSON(s streams, args []string) bool {
	if s.env(variables()["output"]) != string(display.JSON) {
		return false
	}
	return !slices.ContainsFunc(args, func(arg string) bool {
		return strings.HasPrefix(arg, "--output") || strings.HasPrefix(arg, "--json")
	})
}
