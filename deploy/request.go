package deploy

import (
	"github.com/rs/zerolog"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Request is one run: which hosts get which flake, and who wants it.
type Request struct {
	Hosts []hosts.Host
	// Builders are the hosts that may build for others.
	Builders []hosts.Host
	// Join lets Nix copy from a host that has built for another.
	Join Join
	// Flake is the flake reference, absolute where it is a path.
	Flake string
	// Nix are arguments for evaluation and build, such as --override-input.
	Nix []string
	// NixEnv are variables ("NAME=value") for every call of Nix, beside those of this
	// process.
	NixEnv []string
	// Prebuilt are the closures of hosts that are neither evaluated nor built here, by
	// host; nil where the flake decides.
	Prebuilt map[string]Prebuilt
	// Effect says that an effect of Hercules CI runs this, which the deployment may end.
	Effect bool
	// Here is the machine that the run is made on; nil for that of this process.
	Here *Machine
	// Goal is how far the run goes. Action, Keep, Automatic and Force are as in
	// [transaction.Plan], and mean nothing to another goal than a transaction.
	Goal             Goal
	Action           transaction.Action
	Keep             bool
	Automatic, Force bool
	// ForceIdentity deploys to a host that is called otherwise than its new system,
	// which renames it. Strict refuses a flake whose git tree is dirty, behind its
	// upstream, or older than what runs on the host.
	ForceIdentity, Strict bool
	// ThenReboot reboots the hosts that boot their new system next, with no way
	// back but a person.
	ThenReboot bool
	// Profile is which of a host's several profiles a command about one is about; empty
	// for the system.
	Profile string
	// DryRun evaluates, builds, looks and prints the plan; it copies nothing.
	DryRun bool
	// Deployer names the person and machine for the host's record and for a
	// second deployer who is refused. It is a claim, not a proof.
	Deployer string
	// TempDir is where sockets are made, the usual place where it is empty.
	TempDir string
	// StateDir holds the garbage-collection roots of the closures that were
	// built here. It is created private.
	StateDir string
	// Secrets may be nil: then nobody is asked.
	Secrets *Secrets
	Events  event.Sink
	Log     zerolog.Logger
}

// Report is how every selected host ended, in the order of the request.
type Report struct {
	Outcomes []HostOutcome
}

// HostOutcome is the outcome of one host.
type HostOutcome struct {
	Host string
	event.Outcome
}

// Code is the exit code of the run: that of the worst host.
func (r Report) Code() int {
	codes := make([]int, len(r.Outcomes))
	for i, o := range r.Outcomes {
		codes[i] = o.Code
	}
	return Worst(codes...)
}
