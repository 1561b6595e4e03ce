package deploy

import (
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Goal is how far a run goes.
type Goal string

// The goals. The empty one is the whole way.
const (
	// GoalTransact: the host decides, in a transaction of the request's action,
	// which system it ends up with.
	GoalTransact Goal = ""
	// GoalBuild: the systems are built here. No host is contacted.
	GoalBuild Goal = "build"
	// GoalPush: they are copied to the hosts, and kept there from being collected.
	GoalPush Goal = "push"
	// GoalDryActivate: they are copied, and asked what their activation would do.
	GoalDryActivate Goal = "dry-activate"
	// GoalReboot: the hosts are rebooted where they need it.
	GoalReboot Goal = "reboot"
)

// command is the name of the command that makes such a run.
func (r Request) command() string {
	switch {
	case r.Goal != GoalTransact:
		return string(r.Goal)
	case r.ThenReboot:
		return "boot --reboot --no-fallback"
	case r.Action == transaction.Reboot:
		return "boot --reboot"
	case r.Action == "":
		return string(transaction.Switch)
	}
	return string(r.Action)
}

// changes says whether the run may change what the hosts run or boot.
func (r Request) changes() bool {
	return (r.Goal == GoalTransact || r.Goal == GoalReboot) && !r.DryRun
}

// activates says whether the new systems are to run when the run has ended.
func (r Request) activates() bool { return r.Goal == GoalTransact && r.Action.Activates() }

// undoes says whether the hosts go back to what they ran before.
func (r Request) undoes() bool { return r.Action == transaction.Rollback }

// commits says whether they are to be booted from then on.
func (r Request) commits() bool { return r.Goal == GoalTransact && r.Action.Commits() }

// again is the command that repeats the run for one host.
func (h *hostRun) again() string {
	if h.run.undoes() {
		return "hdeploy " + h.run.command() + " " + h.named()
	}
	again := "hdeploy " + h.run.command() + " " + h.Name
	if p := h.prebuilt(); p != nil {
		again += " --closure " + p.Closure
		// Without the manifest the probes would judge by less. What no shell takes
		// is no name that anybody gave a file.
		if file, err := remote.Quote([]string{p.File}); p.File != "" && err == nil {
			again += " --expectations " + file
		}
	}
	return again
}
