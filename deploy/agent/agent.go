package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path"
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
	// Platform: there is no agent for the host's operating system or processor.
	Platform Kind = "platform"
	// Upload: the agent could not be put on the host.
	Upload Kind = "upload"
	// NotExecutable: it is there and intact, and could not be executed.
	NotExecutable Kind = "not-executable"
	// Versions: an agent answered that this hdeploy cannot talk to.
	Versions Kind = "versions"
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

// Program is the version that this side tells the agent.
type Program string

// startLimit bounds the start of the agent, uploadLimit that with its upload
// over a slow line.
const (
	startLimit  = 60 * time.Second
	uploadLimit = 5 * time.Minute
	exitGrace   = 5 * time.Second
)

// Agent is a running agent. Its calls are made one after the other.
type Agent struct {
	client  *protocol.Client
	process *remote.Process
	stderr  *capture
}

// Start starts the agent on the host, uploading it first where it is not there,
// and asks it for the host's facts. The error is an [*Error], a [*remote.Error]
// or the agent's own [*protocol.Error].
func Start(ctx context.Context, conn *remote.Conn, program Program, ask protocol.FactsRequest) (*Agent, protocol.Facts, error) {
	script, err := startScript()
	if err != nil {
		return nil, protocol.Facts{}, err
	}
	a, facts, err := launch(ctx, conn, program, script, ask, startLimit)
	var failed *exitError
	if !errors.As(err, &failed) || failed.code != exitAbsent {
		return a, facts, explain(err)
	}
	upload, remove, err := send(ctx, conn, strings.TrimSpace(lastLine(failed.said)))
	if err != nil {
		return nil, facts, err
	}
	defer remove()
	if script, err = installScript(upload); err != nil {
		return nil, facts, err
	}
	a, facts, err = launch(ctx, conn, program, script, ask, startLimit)
	return a, facts, explain(err)
}

// exitError is a script that ended instead of becoming an agent.
type exitError struct {
	code int
	said string
}

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d: %s", e.code, lastLine(e.said)) }

// launch runs a script that becomes the agent. The first call is the facts': its
// answer shows that an agent runs, without a round trip of its own.
func launch(ctx context.Context, conn *remote.Conn, program Program, script string, ask protocol.FactsRequest, limit time.Duration) (*Agent, protocol.Facts, error) {
	a := &Agent{stderr: &capture{}}
	var facts protocol.Facts
	// The agent outlives the start: only the first call is bounded by it.
	process, err := conn.Start(context.WithoutCancel(ctx), conn.Elevated([]string{"/bin/sh", "-c", script}), a.stderr)
	if err != nil {
		return nil, facts, err
	}
	a.process = process
	a.client = protocol.NewClient(process, protocol.Hello{Protocol: protocol.Version, Program: string(program)})
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = a.client.Call(limited, protocol.MethodFacts, ask, &facts, nil)
	if err == nil {
		return a, facts, nil
	}
	var own *protocol.Error
	var versions *protocol.VersionError
	if errors.As(err, &own) || errors.As(err, &versions) {
		process.Close()
		return nil, facts, err
	}
	// A script that ends by itself tells its exit code; one that hangs is ended.
	hangs := time.AfterFunc(exitGrace, process.Kill)
	exit, waitErr := process.Wait()
	hangs.Stop()
	switch {
	case ctx.Err() != nil:
		return nil, facts, ctx.Err()
	case waitErr != nil:
		return nil, facts, waitErr
	}
	return nil, facts, &exitError{code: exit.Code, said: a.stderr.String()}
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
	case failed.code == 126 || strings.Contains(said, "Permission denied") && strings.Contains(said, dir):
		return &Error{Kind: NotExecutable, Cause: fmt.Errorf("the agent in %s cannot be executed", dir), Said: said}
	case strings.Contains(failed.said, "sudo:") || strings.Contains(failed.said, "doas:") || strings.Contains(failed.said, "password is required"):
		return &Error{Kind: Elevation, Cause: errors.New("the login user may not become root without a password"), Said: said}
	case strings.Contains(failed.said, "No space left"):
		return &Error{Kind: Upload, Cause: errors.New("the host's disk is full"), Said: said}
	}
	return &Error{Kind: Silent, Cause: fmt.Errorf("the agent did not start (exit code %d)", failed.code), Said: said}
}

// send uploads the agent for a machine into a private directory of the login
// user. remove deletes it again.
func send(ctx context.Context, conn *remote.Conn, machine string) (file string, remove func(), err error) {
	arch, ok := platforms[machine]
	if !ok {
		return "", nil, &Error{Kind: Platform, Cause: errors.New("there is no agent for this processor"), Said: machine}
	}
	program, err := unpack(arch)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, uploadLimit)
	defer cancel()
	files, err := conn.SFTP(ctx)
	if err != nil {
		return "", nil, err
	}
	home, err := files.Getwd()
	if err != nil {
		files.Close()
		return "", nil, &Error{Kind: Upload, Cause: fmt.Errorf("upload the agent: %v", err)}
	}
	var private string
	for _, parent := range []string{home, "/tmp"} {
		private = path.Join(parent, ".hdeploy-"+strings.ToLower(rand.Text()[:12]))
		if err = files.Mkdir(private); err == nil {
			err = files.Chmod(private, 0o700)
			break
		}
	}
	if err != nil {
		files.Close()
		return "", nil, &Error{Kind: Upload, Cause: fmt.Errorf("upload the agent to %s: %v", private, err)}
	}
	file = path.Join(private, "agent")
	remove = func() {
		files.Remove(file)
		files.RemoveDirectory(private)
		files.Close()
	}
	f, err := files.Create(file)
	if err == nil {
		_, err = f.ReadFrom(bytes.NewReader(program))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		remove()
		return "", nil, &Error{Kind: Upload, Cause: fmt.Errorf("upload the agent to %s: %v (is the disk full?)", private, err)}
	}
	return file, remove, nil
}

// Close ends the agent's process. Transactions on the host go on.
func (a *Agent) Close() error { return a.client.Close() }

// Root keeps a closure on the host and returns what of it is missing.
func (a *Agent) Root(ctx context.Context, id, closure string) ([]string, error) {
	var result protocol.RootResult
	err := a.client.Call(ctx, protocol.MethodRoot, protocol.RootRequest{ID: id, Path: closure}, &result, nil)
	return result.Missing, err
}

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
	return a.status(ctx, protocol.MethodWatch, r, func(body json.RawMessage) {
		var e protocol.WatchEvent
		if json.Unmarshal(body, &e) == nil {
			on(e)
		}
	})
}

// Confirm is the deployer's last word.
func (a *Agent) Confirm(ctx context.Context, r protocol.DecideRequest) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodConfirm, r, nil)
}

// Abort asks for the previous system.
func (a *Agent) Abort(ctx context.Context, r protocol.DecideRequest) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodAbort, r, nil)
}

// Probe judges the host as it is.
func (a *Agent) Probe(ctx context.Context, specs []probe.Spec) ([]probe.Result, error) {
	var results []probe.Result
	err := a.client.Call(ctx, protocol.MethodProbe, protocol.ProbeRequest{Probes: specs}, &results, nil)
	return results, err
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
