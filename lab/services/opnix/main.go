// Command opnix stands in for OpNix on lab hosts: same sequence, files, owners, modes, messages and exit codes, with a JSON file
// in place of 1Password. It keeps OpNix's order: everything declared is validated before the first secret is fetched, and all are
// fetched before the first is written.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// Exit codes of OpNix since 0.10.
const (
	exitGeneral     = 1
	exitReference   = 65
	exitRateLimited = 75
)

// failure is an error in OpNix's form, with its exit code.
type failure struct {
	code             int
	operation, issue string
}

func (f *failure) Error() string {
	return fmt.Sprintf("ERROR: %s failed in 1Password integration\n  Issue: %s", f.operation, f.issue)
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
	if len(arguments) == 0 || arguments[0] != "secret" {
		return errors.New("usage: opnix secret -token-file FILE -config FILE -output DIRECTORY")
	}
	flags := flag.NewFlagSet("opnix secret", flag.ContinueOnError)
	tokenFile := flags.String("token-file", "/etc/opnix-token", "file with the service account token")
	configFile := flags.String("config", "", "file that declares the secrets")
	output := flags.String("output", "/var/lib/opnix/secrets", "directory of secrets without a path")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	return process(*tokenFile, *configFile, *output)
}

func process(tokenFile, configFile, output string) error {
	config, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	fmt.Printf("Loaded configuration with %d secrets\n", len(config.Secrets))
	owners, err := config.owners()
	if err != nil {
		return err
	}
	vault, err := openVault(tokenFile)
	if err != nil {
		return err
	}
	fmt.Println("Initialized 1Password client successfully")
	values := make([]string, len(config.Secrets))
	for i, secret := range config.Secrets {
		if values[i], err = vault.resolve(secret.Reference); err != nil {
			return err
		}
	}
	for i, secret := range config.Secrets {
		if err := write(secret, owners[i], values[i]); err != nil {
			return err
		}
	}
	fmt.Printf("Successfully processed %d secrets to %s\n", len(config.Secrets), output)
	return integrate(config, values)
}
