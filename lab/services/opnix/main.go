// Command opnix stands in for OpNix on lab hosts, in two versions: same sequence, files, owners, modes, messages and exit codes, with a
// JSON file in place of 1Password. Both keep OpNix's order: everything declared is validated before the first secret is fetched. 0.8.0
// then fetches and writes one secret after the other, so that a failure leaves a part of them; 0.11.0 fetches all before it writes the
// first.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"
)

// Exit codes of OpNix since 0.10; before, everything is exitGeneral.
const (
	exitGeneral     = 1
	exitReference   = 65
	exitRateLimited = 75
)

// failure is an error in OpNix's form, with its exit code. Suggestions stand for those that OpNix adds, which name causes that are not
// the cause.
type failure struct {
	code                        int
	operation, component, issue string
	cause                       string
	suggestions                 []string
}

func (f *failure) Error() string {
	text := fmt.Sprintf("ERROR: %s failed in %s\n  Issue: %s", f.operation, f.component, f.issue)
	if f.cause != "" {
		text += "\n  Cause: " + f.cause
	}
	if len(f.suggestions) > 0 {
		text += "\n\n  Suggestions:"
	}
	for i, suggestion := range f.suggestions {
		text += fmt.Sprintf("\n  %d. %s", i+1, suggestion)
	}
	return text
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var known *failure
		if errors.As(err, &known) {
			os.Exit(known.code)
		}
		os.Exit(exitGeneral)
	}
}

func run(arguments []string) error {
	if len(arguments) > 1 && arguments[0] == "token" && arguments[1] == "set" {
		return setToken(arguments[2:], os.Stdin)
	}
	if len(arguments) == 0 || arguments[0] != "secret" {
		return errors.New("usage: opnix secret -token-file FILE -config FILE -output DIRECTORY, or opnix token set [-path FILE]")
	}
	flags := flag.NewFlagSet("opnix secret", flag.ContinueOnError)
	tokenFile := flags.String("token-file", "/etc/opnix-token", "file with the service account token")
	configFile := flags.String("config", "", "file that declares the secrets")
	output := flags.String("output", "/var/lib/opnix/secrets", "directory of secrets without a path")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	o := opnix{output: *output, old: os.Getenv("LAB_OPNIX") == "0.8.0", pause: time.Second}
	if os.Getenv("LAB_FAST") != "" {
		o.pause = 0
	}
	return o.process(*tokenFile, *configFile)
}

// setToken writes what it is told, as the first line, into the token's file.
func setToken(arguments []string, from io.Reader) error {
	flags := flag.NewFlagSet("opnix token set", flag.ContinueOnError)
	path := flags.String("path", "/etc/opnix-token", "file for the service account token")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "Please paste your 1Password service account token:")
	line, err := bufio.NewReader(io.LimitReader(from, 8192)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read token: %v", err)
	}
	token := strings.TrimSpace(line)
	if token == "" {
		return errors.New("ERROR: Token cannot be empty")
	}
	if err := os.WriteFile(*path, []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	return os.Chmod(*path, 0o600)
}

// opnix is one run.
type opnix struct {
	output string
	// old is how 0.8.0 did it.
	old bool
	// pause is between the first two attempts, and the unit of the others.
	pause time.Duration
}

func (o opnix) process(tokenFile, configFile string) error {
	if err := o.tryOutput(); err != nil {
		return err
	}
	config, owners, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	log.Printf("Loaded configuration with %d secrets", len(config.Secrets))
	vault, err := o.openVault(tokenFile)
	if err != nil {
		return err
	}
	log.Print("Initialized 1Password client successfully")
	if os.Getenv("LAB_FAIL") == "hang" {
		time.Sleep(24 * time.Hour)
	}
	if o.old {
		err = o.oneByOne(config, owners, vault)
	} else {
		err = o.allAtOnce(config, owners, vault)
	}
	if err != nil {
		return err
	}
	log.Printf("Successfully processed %d secrets to %s", len(config.Secrets), o.output)
	if !config.SystemdIntegration.Enable {
		return nil
	}
	log.Printf("Processing systemd integration for %d services", len(config.SystemdIntegration.Services))
	if err := o.integrate(config); err != nil {
		return err
	}
	log.Print("Successfully processed systemd integration")
	return nil
}

func (o opnix) oneByOne(c config, owners []owner, v vault) error {
	for i, secret := range c.Secrets {
		value, err := v.resolve(secret.Reference)
		if err != nil {
			return &failure{
				exitGeneral, fmt.Sprintf("Resolving secret secret[%d]:%s", i, secret.Path), "1Password integration",
				"Failed to resolve 1Password reference: " + secret.Reference, err.sdk, []string{"List available items: op item list --vault VaultName"},
			}
		}
		if err := o.write(secret, owners[i], value); err != nil {
			return err
		}
	}
	return nil
}

func (o opnix) allAtOnce(c config, owners []owner, v vault) error {
	values := make([]string, len(c.Secrets))
	var failed []*unresolved
	for i, secret := range c.Secrets {
		value, err := v.resolve(secret.Reference)
		if err != nil {
			failed = append(failed, err)
		}
		values[i] = value
	}
	if len(failed) > 0 {
		return providerFailure(failed)
	}
	for i, secret := range c.Secrets {
		if err := o.write(secret, owners[i], values[i]); err != nil {
			return err
		}
	}
	return nil
}

// providerFailure counts what failed by kind; the counts of zero are part of it.
func providerFailure(failed []*unresolved) error {
	counts := map[string]int{}
	list := ""
	code := exitGeneral
	for _, f := range failed {
		counts[f.kind]++
		list += "\n  - " + f.Error()
		switch {
		case f.kind == "rate_limited":
			code = exitRateLimited
		case f.kind == "missing_reference" && code == exitGeneral:
			code = exitReference
		}
	}
	return &failure{
		code, "Resolving 1Password references", "secret processing",
		fmt.Sprintf("provider resolution failed\nmissing references: %d\nrate limited: %d\ntransient failures: %d", counts["missing_reference"], counts["rate_limited"], counts["transient"]) + list,
		"", []string{"Check the failed 1Password references listed above", "If rate-limited, wait for the 1Password reset window before retrying"},
	}
}
