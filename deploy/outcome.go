package deploy

import "slices"

// Word is how one host ended. Exactly one per host and run.
type Word string

// The outcomes, each with its meaning for the person who reads it.
const (
	Unchanged      Word = "unchanged"       // running system, profile and boot default already were the closure
	Committed      Word = "committed"       // confirmed over a fresh connection, and the boot default
	Degraded       Word = "degraded"        // committed or unchanged, with failed probes that only alert
	RebootRequired Word = "reboot-required" // staged for the next boot, because it cannot be switched to while running
	Tested         Word = "tested"          // active until the next boot
	Staged         Word = "staged"          // active from the next boot
	Pushed         Word = "pushed"          // copied and rooted, nothing else
	Previewed      Word = "previewed"       // looked at, nothing else
	Rebooted       Word = "rebooted"        // rebooted, and seen to run what it was to boot
	RolledBack     Word = "rolled-back"     // failed, and seen to run the system it had
	RollbackFailed Word = "rollback-failed" // failed, and not shown to run the system it had
	Kept           Word = "kept"            // failed, and the user said no rollback
	Refused        Word = "refused"         // a check before the first change said no
	Unreachable    Word = "unreachable"     // no connection before the first change
	Failed         Word = "failed"          // evaluation, build or copy failed; nothing was changed
	Interrupted    Word = "interrupted"     // stopped by the user
	Healthy        Word = "healthy"         // all probes passed; nothing was touched
	Unhealthy      Word = "unhealthy"       // a probe did not pass; nothing was touched
	Ready          Word = "ready"           // nothing was found that a deployment would fail for; nothing was touched
	NotReady       Word = "not-ready"       // something was; nothing was touched
	Unknown        Word = "unknown"         // superseded by somebody else's switch, or the host could not be asked
)

// The exit codes of a run, documented in README.md.
const (
	CodeOK          = 0
	CodeInternal    = 1
	CodeUsage       = 2
	CodeBuild       = 3
	CodeCopy        = 4
	CodeRefused     = 5
	CodeUnreachable = 6
	CodeRolledBack  = 7
	CodeLookNow     = 8
	CodeDegraded    = 9
	CodeInterrupted = 10
	CodeProbes      = 11
)

// worstFirst orders the codes: one host that needs a person outweighs any
// number of hosts that were only not reached.
var worstFirst = []int{
	CodeLookNow, CodeInternal, CodeRolledBack, CodeInterrupted, CodeCopy, CodeBuild,
	CodeUnreachable, CodeRefused, CodeProbes, CodeDegraded, CodeUsage, CodeOK,
}

// Worst returns the code that decides a run: the first of codes in the
// documented order of severity, and CodeOK where there is none. A code outside
// the table counts as an internal error.
func Worst(codes ...int) int {
	worst := CodeOK
	for _, c := range codes {
		if slices.Index(worstFirst, c) < 0 {
			c = CodeInternal
		}
		if slices.Index(worstFirst, c) < slices.Index(worstFirst, worst) {
			worst = c
		}
	}
	return worst
}
