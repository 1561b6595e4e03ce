package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// presets are the host-side probes of both presets as a deployment of this host asks
// them, once they need not wait: for a host at rest.
func presets() []probe.Spec {
	secrets, agent := probe.Defaults(probe.KindOnePassword), probe.Defaults(probe.KindHercules)
	const agentSecrets, user = "/var/lib/hercules-ci-agent/secrets", "hercules-ci-agent"
	ask := secrets.Ask.(*probe.OnePasswordSpec)
	ask.TokenFile = "/etc/opnix-token"
	ask.Secrets = []probe.Secret{
		{Name: "appSecret", Path: "/var/lib/opnix/secrets/appSecret", Owner: "root", Group: "root", Mode: "0600"},
		{Name: "herculesClusterJoinToken", Path: agentSecrets + "/cluster-join-token.key", Owner: user, Group: user, Mode: "0600"},
		{Name: "herculesBinaryCaches", Path: agentSecrets + "/binary-caches.json", Owner: user, Group: user, Mode: "0600"},
	}
	return []probe.Spec{secrets.AtRest(), agent.AtRest()}
}

// probeOnce starts the host's agent, has it judge the host, and tells on standard error
// what CPU time the agent and its children took: dash's `times` prints that of the shell
// and then of all that it waited for, each as user and system time.
const probeOnce = `"$(ls /var/lib/hdeploy/agent/hdeploy-agent-*)" serve
times >&2`

// measureProbes takes the CPU time that a host needs to judge itself by both presets, the
// agent's start included, and counts the round trips until all answers are there.
func (b *bench) measureProbes(ctx context.Context, f figure) (reading, error) {
	r := reading{figure: f}
	l, err := b.connect(ctx, f.rtt)
	if err != nil {
		return r, err
	}
	const revision = "probed"
	same := system(revision)
	if err := b.build(ctx, map[string]settings{revision: same}); err != nil {
		return r, err
	}
	if err := b.edit(ctx, same); err != nil {
		return r, err
	}
	// It may be what another figure left, and puts the agent there in any case.
	if _, err := b.hdeploy(ctx, l); err != nil {
		return r, err
	}
	if err := b.check(ctx, revision); err != nil {
		return r, err
	}
	if err := b.awaitQuiet(ctx); err != nil {
		return r, err
	}
	for number := range b.runs + 1 {
		spent, trips, err := b.probe(ctx)
		if err != nil {
			return r, err
		}
		if number == 0 {
			continue // it fills the caches
		}
		say("  %d: %s of CPU, %d round trips", number, seconds(spent), trips)
		r.hdeploy = append(r.hdeploy, spent)
		r.trips = max(r.trips, trips)
	}
	return r, nil
}

// awaitQuiet waits until both presets pass: a fresh agent is not online for a while.
func (b *bench) awaitQuiet(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, _, err := b.probe(limit)
		if err == nil || limit.Err() != nil {
			return err
		}
		select {
		case <-limit.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// probe is one run; every probe must pass.
func (b *bench) probe(ctx context.Context) (spent time.Duration, trips int, err error) {
	requests, stdin, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer requests.Close()
	stdout, answers := io.Pipe()
	var stderr strings.Builder
	process, err := b.host.Start(ctx, lab.ExecOptions{Stdin: requests, Stdout: answers, Stderr: &stderr}, "sh", "-c", probeOnce)
	if err != nil {
		return 0, 0, errors.Join(err, stdin.Close())
	}
	ended := make(chan error, 1)
	go func() {
		_, err := process.Wait()
		ended <- errors.Join(err, answers.Close())
	}()
	line := &exchange{in: stdout, out: stdin}
	client := protocol.NewClient(line, protocol.Hello{Protocol: protocol.Version, Program: protocol.Release})
	var results []probe.Result
	callErr := client.Call(ctx, protocol.MethodProbe, protocol.ProbeRequest{Probes: presets()}, &results, nil)
	// The agent ends when nobody asks any more.
	err = errors.Join(stdin.Close(), <-ended)
	if callErr != nil || err != nil {
		return 0, 0, fmt.Errorf("probe the host: %w: %s", errors.Join(callErr, err), lastLines(stderr.String()))
	}
	for _, p := range results {
		if p.Verdict != probe.Pass {
			return 0, 0, fmt.Errorf("probe %s: %s, %s: %s, %s", p.Name, p.Verdict, p.Class, p.Seen, p.Evidence)
		}
	}
	spent, err = childrenTimes(stderr.String())
	return spent, int(line.trips.Load()), err
}

// childrenTimes reads the second line of `times`, "0m0.020000s 0m0.010000s".
func childrenTimes(text string) (time.Duration, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var sum time.Duration
	for field := range strings.FieldsSeq(lines[len(lines)-1]) {
		spent, err := time.ParseDuration(field)
		if err != nil {
			return 0, fmt.Errorf("read the CPU times: %v in %q", err, text)
		}
		sum += spent
	}
	if len(lines) < 2 || sum <= 0 {
		return 0, fmt.Errorf("read the CPU times: none in %q", text)
	}
	return sum, nil
}

// exchange counts the round trips of a conversation: how often one side spoke after it
// had heard the other.
type exchange struct {
	in     io.Reader
	out    io.WriteCloser
	spoken atomic.Bool
	trips  atomic.Int64
}

func (e *exchange) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	if n > 0 {
		e.spoken.Store(false)
	}
	return n, err
}

func (e *exchange) Write(p []byte) (int, error) {
	if !e.spoken.Swap(true) {
		e.trips.Add(1)
	}
	return e.out.Write(p)
}

func (e *exchange) Close() error { return e.out.Close() }
