//go:build lab

// Package probes shows on real hosts what hdeploy's probes say of a deployment,
// and that they are right: a table of systems that are well or ill, each deployed
// for real, beside the outcome, verdict, class and hint that hdeploy must give.
//
// A case depends on nothing but its host, which it has for itself.
package probes

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

// How to add a case: write one into opnixCases, herculesCases or kindsCases, in
// the file of that name. A host boots the factory's system. Then, in this order:
//
//	since    a system with these knobs (lab/flake/lib) is deployed, without probes
//	before   something is done to the host
//	system   the system to judge is deployed; without one that of since again
//	during   something is done to the host once the new system is active
//
// and the rest says what hdeploy must have told. In knobs and probes the words
// of [windows], such as @agent@, stand for waiting windows, which are short or
// real; @address@ and @host@ for the host's address and name. Try it alone, with short windows, then with the real ones:
//
//	go test -tags lab -count=1 ./lab/probes -probes.all -run 'TestProbes/part_of_the_name'
//	go test -tags lab -count=1 -timeout 30m ./lab/probes -probes.real -run 'TestProbes/part_of_the_name'

// probeCase is a deployment and what its probes must find.
type probeCase struct {
	name string
	// more cases run with all of them only, the others always.
	more bool

	since  settings
	before act
	system settings
	during act
	// probes are tables of deploy.toml, in whose order the host names them.
	probes string
	// timeouts is the host's table of them, where the usual one does not do.
	timeouts string

	// outcome is the word of docs/json.md.
	outcome string
	// want is the first probe's answer; its verdict is empty where no probe is
	// asked because the activation failed already. Others are those of other probes.
	want   answer
	others []answer
	// cause is a word of the failure's cause.
	cause string
}

// answer is what one probe must give. Empty texts are not looked at.
type answer struct {
	// probe is its name, where it is not the first.
	probe string
	// verdict and class must be exactly these; a | is between classes of which the
	// instant decides.
	verdict, class string
	// seen, note and hint are words of what it saw, of the evidence, and of the hint.
	seen, note, hint string
}

// settings is one hosts/NAME.json of the lab's flake.
type settings map[string]any

// act does something to a host.
type act func(context.Context, *lab.Host) error

// shell is a script that root runs on the host.
func shell(script string) act {
	return func(ctx context.Context, h *lab.Host) error {
		_, err := on(ctx, h, script)
		return err
	}
}

// after is something that is done when a time has passed.
func after(d time.Duration, then act) act {
	return func(ctx context.Context, h *lab.Host) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return then(ctx, h)
		}
	}
}

// and does one thing after the other.
func and(acts ...act) act {
	return func(ctx context.Context, h *lab.Host) error {
		for _, do := range acts {
			if err := do(ctx, h); err != nil {
				return err
			}
		}
		return nil
	}
}

// on runs a script as root on a host and returns what it printed.
func on(ctx context.Context, h *lab.Host, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	result, err := h.Exec(ctx, "sh", "-c", script)
	if err != nil {
		return "", err
	}
	if result.Code != 0 {
		return "", fmt.Errorf("run %.80q on the host: code %d: %s%s", script, result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout), nil
}

// windows are what words between @ stand for in knobs and probes.
type windows map[string]string

var shortWindows = windows{
	// window is that of a probe that looks at once, watch that of one that looks on.
	"window": `deadline = "3s"`,
	"watch":  "deadline = \"4s\"\nsoak = \"4s\"",
	// secrets is the window of onepassword-secrets, agent that of hercules-ci-agent.
	"secrets": `deadline = "4s"`,
	"agent":   "settle = \"4s\"\ndeadline = \"12s\"\ninterval = \"500ms\"\nquiet = \"5s\"\nsoak = \"4s\"",
	// restart is the agent's RestartSec=, delay how long its restarter waits.
	"restart": "3",
	"delay":   "2",
	// handshake and pause are those of the agent's socket.
	"handshake": "1",
	"pause":     "1",
}

var realWindows = windows{
	"window":  `deadline = "30s"`,
	"watch":   "deadline = \"15s\"\nsoak = \"8s\"",
	"secrets": `deadline = "60s"`,
	"agent":   "strict = true",
	"restart": "120",
	"delay":   "10",

	"handshake": "30",
	"pause":     "10",
}

func (w windows) expand(text string) string {
	for word, meaning := range w {
		text = strings.ReplaceAll(text, "@"+word+"@", meaning)
	}
	return text
}

var probeTable = regexp.MustCompile(`(?m)^\[probes\.([^].\s]+)\]`)

// names are the probes of the case.
func (c probeCase) names() []string {
	var names []string
	for _, match := range probeTable.FindAllStringSubmatch(c.probes, -1) {
		names = append(names, match[1])
	}
	return names
}

// answers are all that are wanted, each with its probe's name.
func (c probeCase) answers() []answer {
	var all []answer
	for i, a := range append([]answer{c.want}, c.others...) {
		if a.verdict == "" {
			continue
		}
		if names := c.names(); i == 0 && a.probe == "" && len(names) > 0 {
			a.probe = names[0]
		}
		all = append(all, a)
	}
	return all
}
