package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// Kind says why the agent does not run.
type Kind string

// The kinds of failures.
const (
	// Elevation: the login user may not become root.
	Elevation Kind = "elevation"
	// Absent: the host has no agent where deploy.toml says that it has one.
	Absent Kind = "absent"
	// Platform: there is no agent for the host's operating system or processor.
	Platform Kind = "platform"
	// Upload: the agent could not be put on the host.
	Upload Kind = "upload"
	// NotExecutable: it is there and intact, and could not be executed.
	NotExecutable Kind = "not-executable"
	// Versions: an agent answered that this hdeploy cannot talk to.
	Versions Kind = "versions"
	// Disobeyed: the host runs something else than what it is asked to.
	Disobeyed Kind = "disobeyed"
	// Silent: something was executed that is no agent, or it died.
	Silent Kind = "silent"
)

// Error says why the agent does not run on a host.
type Error struct {
	Kind  Kind
	Cause error
	// Said is what the host's programs printed, one line.
	Said string
}

func (e *Error) Error() string {
	if e.Said == "" {
		return e.Cause.Error()
	}
	return fmt.Sprintf("%v: %s", e.Cause, e.Said)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// startLimit bounds the start of the agent, uploadLimit that with its upload
// over a slow line.
const (
	startLimit  = 60 * time.Second
	uploadLimit = 5 * time.Minute
	exitGrace   = 5 * time.Second
)

// Agent is a running agent. Its calls are made one after the other.
type Agent struct {
	client client
	stderr *Capture
}

// First is the first call to an agent. Its answer shows that an agent runs, so
// that starting one costs no round trip of its own.
type First struct {
	method         string
	params, result any
	on             func(json.RawMessage)
	limit          time.Duration
	// profile is what the call, and all that follow, are about.
	profile *Profile
}

// AskFacts asks what is true on the host.
func AskFacts(ask protocol.FactsRequest, facts *protocol.Facts) First {
	return First{method: protocol.MethodFacts, params: ask, result: facts, limit: startLimit}
}

// SayConfirm is the deployer's last word, as the first one on a new connection;
// on is called with what follows. It ends with the transaction, within limit.
func SayConfirm(r protocol.DecideRequest, limit time.Duration, end *protocol.Status, on func(protocol.WatchEvent)) First {
	return First{method: protocol.MethodConfirm, params: r, result: end, on: events(on), limit: limit}
}

// Start starts the agent on the host, uploading it first where it is not there,
// and makes the first call. Where fixed is not empty it is the path of an agent that
// the host has of its own: nothing is uploaded, and no other program is run as root.
// The error is an [*Error], a [*remote.Error] or the agent's own [*protocol.Error],
// beside which the agent is returned.
func Start(ctx context.Context, conn *remote.Conn, fixed string, first First) (*Agent, error) {
	if fixed != "" {
		return startFixed(ctx, conn, fixed, first)
	}
	script, err := startScript()
	if err != nil {
		return nil, err
	}
	a, err := launch(ctx, conn, remote.Command{Argv: byShell(script), Ready: protocol.Ready}, first)
	var failed *exitError
	if !errors.As(err, &failed) {
		return a, explain(err)
	}
	if failed.code != exitAbsent {
		return nil, disobeyed(ctx, conn, explain(err))
	}
	if err := install(ctx, conn, strings.TrimSpace(lastLine(failed.said))); err != nil {
		return nil, explain(err)
	}
	a, err = launch(ctx, conn, remote.Command{Argv: byShell(script), Ready: protocol.Ready}, first)
	return a, explain(err)
}

func byShell(script string) []string { return []string{"/bin/sh", "-c", script} }

// exitError is a script that ended instead of becoming an agent.
type exitError struct {
	code int
	said string
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d: %s", e.code, lastLine(e.said)) }

// launch runs what becomes the agent, and makes the first call.
func launch(ctx context.Context, conn *remote.Conn, command remote.Command, first First) (*Agent, error) {
	a := &Agent{stderr: &Capture{}}
	// The agent outlives the start: only the first call is bounded by it.
	process, err := conn.StartElevated(ctx, command, a.stderr)
	if err != nil {
		return nil, err
	}
	a.client.Client = protocol.NewClient(process, protocol.Own())
	limited, cancel := context.WithTimeout(ctx, first.limit)
	defer cancel()
	err = a.client.Call(limited, first.method, first.params, first.result, first.on)
	a.client.profile = first.profile // the first call has it already
	if err == nil {
		return a, nil
	}
	var own *protocol.Error
	var versions *protocol.VersionError
	if errors.As(err, &own) {
		return a, err
	}
	if errors.As(err, &versions) {
		process.Close()
		return nil, err
	}
	// A script that ends by itself tells its exit code; one that hangs is ended.
	hangs := time.AfterFunc(exitGrace, process.Kill)
	exit, waitErr := waitFor(process, 2*exitGrace)
	hangs.Stop()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case waitErr != nil:
		return nil, waitErr
	}
	return nil, &exitError{code: exit.Code, said: a.stderr.String()}
}

// waitFor waits for the end of a process that may be on a host which no longer
// answers.
func waitFor(process *remote.Process, limit time.Duration) (remote.Exit, error) {
	type end struct {
		exit remote.Exit
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		exit, err := process.Wait()
		ended <- end{exit, err}
	}()
	select {
	case e := <-ended:
		return e.exit, e.err
	case <-time.After(limit):
		return remote.Exit{}, errors.New("the host does not say how the agent ended")
	}
}

// explain turns the end of a script into words. Exit codes 126 and 127 are the
// shell's; what sudo says is passed on, since its exit code is 1 for everything.
func explain(err error) error {
	var versions *protocol.VersionError
	if errors.As(err, &versions) {
		return &Error{Kind: Versions, Cause: versions}
	}
	var failed *exitError
	if !errors.As(err, &failed) {
		return err
	}
	said := lastLine(failed.said)
	switch {
	case failed.code == exitPlatform:
		return &Error{Kind: Platform, Cause: errors.New("there is no agent for this platform"), Said: said}
	case failed.code == exitAltered:
		return &Error{Kind: Upload, Cause: errors.New("the uploaded agent arrived damaged")}
	case failed.code == 126:
		return &Error{Kind: NotExecutable, Cause: fmt.Errorf("the agent in %s cannot be executed", dir), Said: said}
	case notElevated(failed.said) != nil:
		return &Error{Kind: Elevation, Cause: notElevated(failed.said), Said: said}
	case strings.Contains(failed.said, "No space left"):
		return &Error{Kind: Upload, Cause: errors.New("the host's disk is full"), Said: said}
	}
	return &Error{Kind: Silent, Cause: fmt.Errorf("the agent did not start (exit code %d)", failed.code), Said: said}
}

// obeyLimit bounds the question whether the host runs what it is asked to.
const obeyLimit = 10 * time.Second

// disobeyed returns why the agent does not run: err, or, where it is known of no
// program of the host, that the host runs something else than what it is asked to.
func disobeyed(ctx context.Context, conn *remote.Conn, err error) error {
	var known *Error
	if !errors.As(err, &known) || known.Kind != Silent {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, obeyLimit)
	defer cancel()
	result, runErr := conn.Run(ctx, []string{"/bin/sh", "-c", obeyScript}, nil)
	var lost *remote.Error
	if errors.As(runErr, &lost) && lost.Kind == remote.Lost || bytes.Contains(result.Stdout, []byte(obeyed)) {
		return err
	}
	said := &Capture{}
	_, _ = said.Write(append(result.Stdout, result.Stderr...))
	return &Error{Kind: Disobeyed, Cause: errors.New("the host does not run the command that it is asked to run"), Said: said.LastLine()}
}

// Call makes one of the calls that can be the first on an agent that runs.
func (a *Agent) Call(ctx context.Context, call First) error {
	ctx, cancel := context.WithTimeout(ctx, call.limit)
	defer cancel()
	return a.client.Call(ctx, call.method, call.params, call.result, call.on)
}

// Close ends the agent's process. Transactions on the host go on.
func (a *Agent) Close() error { return a.client.Close() }

// Missing returns which of the paths the host lacks.
func (a *Agent) Missing(ctx context.Context, paths []string) ([]string, error) {
	var result protocol.MissingResult
	err := a.client.Call(ctx, protocol.MethodMissing, protocol.MissingRequest{Paths: paths}, &result, nil)
	return result.Paths, err
}

// Begin starts a transaction.
func (a *Agent) Begin(ctx context.Context, r protocol.StartRequest) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodStart, r, nil)
}

// Watch follows a transaction; on is called with each event.
func (a *Agent) Watch(ctx context.Context, r protocol.WatchRequest, on func(protocol.WatchEvent)) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodWatch, r, events(on))
}

func events(on func(protocol.WatchEvent)) func(json.RawMessage) {
	return func(body json.RawMessage) {
		var e protocol.WatchEvent
		if json.Unmarshal(body, &e) == nil {
			on(e)
		}
	}
}

// Abort asks for the previous system.
func (a *Agent) Abort(ctx context.Context, r protocol.DecideRequest) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodAbort, r, nil)
}

// Probe judges the host as it is; on, which may be nil, is called with each
// verdict as it comes.
func (a *Agent) Probe(ctx context.Context, specs []probe.Spec, on func(probe.Result)) ([]probe.Result, error) {
	var results []probe.Result
	tell := func(body json.RawMessage) {
		var r probe.Result
		if on != nil && json.Unmarshal(body, &r) == nil {
			on(r)
		}
	}
	// The probes of a profile ask the host, too.
	err := a.client.Client.Call(ctx, protocol.MethodProbe, protocol.ProbeRequest{Probes: specs}, &results, tell)
	return results, err
}

// Recorded returns the probes that the host itself keeps for what it runs.
func (a *Agent) Recorded(ctx context.Context) (protocol.RecordedResult, error) {
	var result protocol.RecordedResult
	err := a.client.Call(ctx, protocol.MethodRecorded, protocol.RecordedRequest{}, &result, nil)
	return result, err
}

// Check tells what a deployment would meet.
func (a *Agent) Check(ctx context.Context, r protocol.CheckRequest) (protocol.CheckResult, error) {
	var result protocol.CheckResult
	err := a.client.Call(ctx, protocol.MethodCheck, r, &result, nil)
	return result, err
}

// Reboot asks for a reboot of the host.
func (a *Agent) Reboot(ctx context.Context, r protocol.RebootRequest) error {
	return a.client.Call(ctx, protocol.MethodReboot, r, &protocol.RebootResult{}, nil)
}

// Log returns the last lines that a transaction's switches printed.
func (a *Agent) Log(ctx context.Context, id string, lines int) ([]string, error) {
	var result protocol.LogResult
	err := a.client.Call(ctx, protocol.MethodLog, protocol.LogRequest{ID: id, Lines: lines}, &result, nil)
	return result.Lines, err
}

func (a *Agent) status(ctx context.Context, method string, request any, on func(json.RawMessage)) (*protocol.Status, error) {
	var s protocol.Status
	if err := a.client.Call(ctx, method, request, &s, on); err != nil {
		return nil, err
	}
	return &s, nil
}
