package protocol

import (
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// The methods that ask whether a host is well, beside MethodProbe, which sends
// each verdict as an event before it returns all of them. None of them takes the
// lock, changes anything, or needs a Nix daemon.
const (
	// MethodRecorded returns the probes of the last transaction that made the
	// running system run: RecordedRequest -> RecordedResult.
	MethodRecorded = "recorded"
	// MethodCheck tells what a deployment would meet: CheckRequest -> CheckResult.
	MethodCheck = "check"
)

// RecordedRequest is empty.
type RecordedRequest struct{}

// RecordedResult are the probes that the host itself keeps. ID is empty where no
// transaction of the running system is remembered.
type RecordedResult struct {
	ID       string       `json:"id,omitempty"`
	System   string       `json:"system"`
	Deployer string       `json:"deployer,omitempty"`
	Started  time.Time    `json:"started,omitzero"`
	Probes   []probe.Spec `json:"probes,omitempty"`
}

// CheckRequest asks what a deployment would meet.
type CheckRequest struct {
	// Files are looked at, never read.
	Files []string `json:"files,omitempty"`
	// Units are those whose processes are counted.
	Units []string `json:"units,omitempty"`
}

// CheckResult is what a deployment would meet.
type CheckResult struct {
	// Files are in the order of the request.
	Files []FileState `json:"files,omitempty"`
	// Broken says why the running system cannot be gone back to, empty where it is
	// whole.
	Broken string `json:"broken,omitempty"`
	// Rooted says that the running system has a root that a garbage collection
	// honours.
	Rooted bool `json:"rooted"`
	// Processes counts those of a unit beside its main one.
	Processes map[string]int `json:"processes,omitempty"`
}

// FileState is what a file looks like, without what is in it.
type FileState struct {
	Path string `json:"path"`
	// Error says why nothing else is known, empty where it was seen.
	Error  string `json:"error,omitempty"`
	Exists bool   `json:"exists,omitempty"`
	// Regular is also true for a link to a regular file.
	Regular bool `json:"regular,omitempty"`
	// Empty is also true for a file of blanks.
	Empty bool   `json:"empty,omitempty"`
	Mode  uint32 `json:"mode,omitempty"`
	UID   uint32 `json:"uid,omitempty"`
}
