package main

import (
	"errors"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

// asking is what every command that only asks hosts needs.
type asking struct {
	commonOptions
	flake string // that of deploy.toml
	hosts []hosts.Host
	// secrets are asked for before anything is shown.
	secrets *deploy.Secrets
	log     zerolog.Logger
	close   func()
}

// readAsking selects the hosts that names say, all of them where there is none.
func readAsking(c *cli.Context, s streams, names []string) (asking, error) {
	common, err := readCommon(c, s)
	if err != nil {
		return asking{}, err
	}
	found, err := selectHosts(c.Context, common, s, "", names)
	if err != nil {
		return asking{}, err
	}
	return asking{commonOptions: common, flake: found.inventory.Flake, hosts: found.hosts}.opened(s)
}

// askOne is readAsking for a command about one host, with at most more arguments
// after its name.
func askOne(c *cli.Context, s streams, more int) (asking, deploy.Question, error) {
	o, err := readOneHost(c, s, more)
	if err != nil {
		return asking{}, deploy.Question{}, err
	}
	a, err := asking{commonOptions: o.commonOptions, hosts: []hosts.Host{o.host}}.opened(s)
	return a, deploy.Question{Host: o.host, Secrets: a.secrets, Log: a.log}, err
}

// opened opens the log.
func (a asking) opened(s streams) (asking, error) {
	log, file, err := openLog(a.commonOptions, s)
	if err != nil {
		return a, err
	}
	a.secrets, a.log, a.close = secrets(s, nil), log, func() { _ = file.Close() }
	return a, nil
}

// schemaJSON begins every line of an answer.
type schemaJSON struct {
	Schema int    `json:"schema"`
	Type   string `json:"type"`
}

func schemaOf(kind string) schemaJSON { return schemaJSON{Schema: event.Schema, Type: kind} }

// printJSONLines prints one line for each value.
func printJSONLines[T any](s streams, values []T) error {
	var out []byte
	for _, v := range values {
		line, err := jsonLine(v)
		if err != nil {
			return err
		}
		out = append(out, line...)
	}
	return write(s, out)
}

// tellFailures prints what kept hosts from answering, each once for people and,
// where that was asked for, once for programs. It returns what leaves the
// command: the code of the worst host.
func tellFailures(s streams, o commonOptions, failures []*deploy.Failure) error {
	codes := make([]int, len(failures))
	for i, f := range failures {
		codes[i] = f.Code
		told := failureOf(s, f)
		told.print(s)
		if o.output == display.JSON {
			told.printJSON(s)
		}
	}
	return exit(deploy.Worst(codes...))
}

// engineFailure is a host's failure as this program tells it.
func engineFailure(f *deploy.Failure) *failure {
	return &failure{code: f.Code, Failure: event.Failure{Host: f.Host, Step: f.Step, Cause: f.Cause.Error(), Next: f.Next, Log: f.Log}}
}

func asEngineFailure(err error) (*deploy.Failure, bool) { return errors.AsType[*deploy.Failure](err) }

// local is an instant as people here read it; nothing where there is none.
func local(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// commit is a revision as people read it.
func commit(revision string, dirty bool) string {
	short := revision[:min(len(revision), 12)]
	switch {
	case revision == "" && dirty:
		return "a dirty tree"
	case revision == "":
		return ""
	case dirty:
		return "revision " + short + ", dirty"
	}
	return "revision " + short
}
