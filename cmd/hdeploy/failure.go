package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
)

// failure is an error as the user sees it, with the exit code it leads to.
type failure struct {
	event.Failure
	code int
	// before are lines that stand above the error, each complete in itself.
	before []string
	// told is true when everything was said already and only the code is left.
	told bool
}

func (f *failure) Error() string {
	text := f.Step + ": " + f.Cause
	if f.Host != "" {
		text = f.Host + ": " + text
	}
	return text
}

// print writes the one form of every error of this program.
func (f *failure) print(s streams) {
	for _, line := range f.before {
		fmt.Fprintln(s.ErrOut, display.Clean(line))
	}
	printFailure(s.ErrOut, f.Failure)
}

func printFailure(w io.Writer, f event.Failure) {
	head := "hdeploy: "
	if f.Host != "" {
		head += display.Clean(f.Host) + ": "
	}
	printLines(w, head+display.Clean(f.Step)+": ", "  ", f.Cause)
	printLines(w, "  next: ", "        ", f.Next)
}

// printLines writes text with one lead before its first line and another one
// before the rest; nothing at all where there is no text.
func printLines(w io.Writer, first, rest, text string) {
	if text == "" {
		return
	}
	lead := first
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = display.Clean(strings.TrimRight(line, "\r"))
		fmt.Fprintln(w, strings.TrimRight(lead+line, " "))
		lead = rest
	}
}

// printJSON gives programs the same error as the outcome of the whole run.
func (f *failure) printJSON(s streams) {
	record := struct {
		Schema int `json:"schema"`
		event.Event
	}{event.Schema, event.Event{
		Time: time.Now(), Type: "outcome", Host: f.Host,
		Outcome: &event.Outcome{Outcome: outcomeWord(f.code), Code: f.code, Failure: &f.Failure},
	}}
	line, err := json.Marshal(record)
	if err != nil {
		return // the text on standard error said it already
	}
	_, _ = s.Out.Write(append(display.EscapeJSON(line), '\n'))
}

func outcomeWord(code int) string {
	switch code {
	case deploy.CodeInterrupted:
		return string(deploy.Interrupted)
	case deploy.CodeRefused:
		return string(deploy.Refused)
	case deploy.CodeUnreachable:
		return string(deploy.Unreachable)
	}
	return string(deploy.Failed)
}

func usageFailure(cause, next string) *failure {
	return &failure{code: deploy.CodeUsage, Failure: event.Failure{Step: "arguments", Cause: cause, Next: next}}
}

// exit ends with a code after everything was said.
func exit(code int) error {
	if code == deploy.CodeOK {
		return nil
	}
	return &failure{code: code, told: true}
}

// failureOf turns any error into what the user sees.
func failureOf(s streams, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if f, ok := asEngineFailure(err); ok {
		return engineFailure(f)
	}
	if faults, ok := errors.AsType[hosts.ConfigErrors](err); ok {
		return configFailure(s, faults)
	}
	if fault, ok := errors.AsType[*hosts.ConfigError](err); ok {
		return configFailure(s, hosts.ConfigErrors{fault})
	}
	usage := func(step, next string) *failure {
		return &failure{code: deploy.CodeUsage, Failure: event.Failure{Step: step, Cause: err.Error(), Next: next}}
	}
	if _, ok := errors.AsType[*hosts.UnknownHostError](err); ok {
		return usage("arguments", "hdeploy hosts")
	}
	if _, ok := errors.AsType[*nix.MissingError](err); ok {
		return usage("find nix", "nix --version")
	}
	if _, ok := errors.AsType[*nix.TooOldError](err); ok {
		return usage("find nix", "nix --version")
	}
	if errors.Is(err, context.Canceled) {
		return &failure{code: deploy.CodeInterrupted, Failure: event.Failure{Step: "run", Cause: "interrupted before any host was changed"}}
	}
	return &failure{code: deploy.CodeInternal, Failure: event.Failure{Step: "run", Cause: err.Error()}}
}

// configFailure prints one line for each fault, as compilers do, so that
// editors find the place.
func configFailure(s streams, faults hosts.ConfigErrors) *failure {
	f := &failure{code: deploy.CodeUsage}
	for _, fault := range faults {
		f.before = append(f.before, configLine(s.Dir, fault))
	}
	what := "there is a mistake in the file"
	if len(faults) > 1 {
		what = fmt.Sprintf("there are %d mistakes in the file", len(faults))
	}
	f.Failure = event.Failure{
		Step: "configuration", Cause: what + "; nothing was contacted",
		Next: "hdeploy hosts", Log: f.before,
	}
	return f
}

func configLine(dir string, e *hosts.ConfigError) string {
	file := e.File
	if near, err := filepath.Rel(dir, file); err == nil && filepath.IsAbs(file) && !strings.HasPrefix(near, "..") {
		file = near
	}
	line := file + ": "
	if e.Line > 0 {
		line = fmt.Sprintf("%s:%d:%d: ", file, e.Line, e.Column)
	}
	line += e.Message
	if e.Suggestion != "" {
		line += "; write: " + e.Suggestion
	}
	return strings.Join(strings.Fields(line), " ")
}
