package deploy

import (
	"errors"
	"fmt"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// Failure is why a host ended as it did, for the person who must act: which
// host, at which step, the cause, and the command to type next.
type Failure struct {
	Host, Step string
	Cause      error
	Next       string
	Word       Word
	Code       int
	// Log holds the last lines that explain the cause.
	Log []string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s: %v", f.Host, f.Step, f.Cause)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

func (f *Failure) event() *event.Failure {
	return &event.Failure{Host: f.Host, Step: f.Step, Cause: f.Cause.Error(), Next: f.Next, Log: f.Log}
}

// refused is a check before the first change that said no.
func refused(host, step, next string, format string, args ...any) *Failure {
	return &Failure{Host: host, Step: step, Cause: fmt.Errorf(format, args...), Next: next, Word: Refused, Code: CodeRefused}
}

// asFailure returns err as a Failure; one that nobody named is an internal
// error of this host's run.
func asFailure(host, step string, err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Host: host, Step: step, Cause: err, Word: Failed, Code: CodeInternal,
		Next: "run again with --log-level debug --log-file hdeploy.log, and report it"}
}
