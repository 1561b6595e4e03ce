// Package event is what happened during a run, as plain values.
//
// The engine emits events and knows no display; every display, the log file
// and the JSON stream consume the same events, so that none of them can tell
// another story than the others. The JSON form of these types is the contract
// documented in docs/json.md: fields are added, never renamed or removed.
package event

import "time"

// Schema is the version of the JSON contract. It grows only when a consumer
// that ignores unknown fields would misread an event.
const Schema = 1

// Phase is one step of a run, in the order of [Phases].
type Phase string

// The phases of a run. Evaluate and build happen once for all hosts; their
// events carry no host.
const (
	Evaluate  Phase = "evaluate"
	Preflight Phase = "preflight"
	Build     Phase = "build"
	Judge     Phase = "judge"
	Copy      Phase = "copy"
	Preview   Phase = "preview"
	Trial     Phase = "trial"
	Verify    Phase = "verify"
	Commit    Phase = "commit"
	Reboot    Phase = "reboot"
	Rollback  Phase = "rollback"
	Probing   Phase = "probe"
	Checking  Phase = "check"
)

// Phases lists every phase in the order in which a run passes through them.
var Phases = [...]Phase{Evaluate, Preflight, Build, Judge, Copy, Preview, Trial, Verify, Commit, Reboot, Rollback, Probing, Checking}

// Sink receives events in the order in which they happened on each host. It
// is called from several goroutines and must not block for long.
type Sink func(Event)

// Event is one thing that happened. Exactly one of the pointer fields is set;
// Type names which.
type Event struct {
	Time time.Time `json:"time"`
	// Type is "phase", "progress", "line", "note", "plan", "probe", "finding",
	// "deadline" or "outcome".
	Type string `json:"type"`
	// Host is empty for what concerns the whole run.
	Host  string `json:"host,omitempty"`
	Phase Phase  `json:"phase,omitempty"`
	// Profile is which of the host's several profiles it is about.
	Profile string `json:"profile,omitempty"`

	Step     *Step     `json:"step,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Line     *Line     `json:"line,omitempty"`
	Note     *Note     `json:"note,omitempty"`
	Plan     *Plan     `json:"plan,omitempty"`
	Probe    *Probe    `json:"probe,omitempty"`
	Finding  *Finding  `json:"finding,omitempty"`
	Deadline *Deadline `json:"deadline,omitempty"`
	Outcome  *Outcome  `json:"outcome,omitempty"`
}

// Status says how far a phase is.
type Status string

// A phase starts once and ends once: done, skipped or failed.
const (
	Started Status = "started"
	Done    Status = "done"
	Skipped Status = "skipped"
	Failed  Status = "failed"
)

// Step is the start or the end of a phase.
type Step struct {
	Status Status `json:"status"`
	// Detail is one short line: why it was skipped, what it found.
	Detail string `json:"detail,omitempty"`
	// Seconds is how long the phase took; zero at its start.
	Seconds float64 `json:"seconds,omitempty"`
}

// Progress is how far a running phase is. Done and Total are hosts during an
// evaluation, derivations during a build and bytes during a copy; Total is zero
// while it is not known.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total,omitempty"`
	// Unit is "hosts", "derivations" or "bytes".
	Unit string `json:"unit"`
	// Paths and PathsTotal count store paths during a copy.
	Paths      int64 `json:"paths,omitempty"`
	PathsTotal int64 `json:"paths_total,omitempty"`
	// Activity names what runs now, for instance the derivation being built.
	Activity string `json:"activity,omitempty"`
}

// Line is one line of output of whatever runs: a builder, an activation, a
// unit's journal. Control characters are removed before it gets here.
type Line struct {
	// Source names the producer, for instance "hello-2.12" or "activation".
	Source string `json:"source"`
	Text   string `json:"text"`
}

// Note is something a person should know, without being a failure.
type Note struct {
	// Level is "info" or "warning".
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Probe is the verdict of one probe.
type Probe struct {
	Name string `json:"name"`
	// From is "host" or "deployer".
	From string `json:"from"`
	// Verdict is "pass", "fail" or "unknown".
	Verdict string `json:"verdict"`
	// Policy is what a failure leads to: "rollback" or "alert", and after a rollback
	// "required" or "advisory".
	Policy string `json:"policy"`
	// Class names the fault for programs; empty on a pass.
	Class    string  `json:"class,omitempty"`
	Expected string  `json:"expected,omitempty"`
	Seen     string  `json:"seen,omitempty"`
	Evidence string  `json:"evidence,omitempty"`
	Hint     string  `json:"hint,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	// Notes are what was seen beside the verdict and does not change it.
	Notes []string `json:"notes,omitempty"`
	// AfterRollback says that it is about the previous system, which runs again.
	AfterRollback bool `json:"after_rollback,omitempty"`
}

// Deadline tells by when the host goes back by itself.
type Deadline struct {
	// ID is the transaction on the host.
	ID string `json:"id"`
	// Confirm is the time left, in seconds, until the host goes back unless it
	// is confirmed; DeadMan the time left until the dead-man's switch acts even
	// if everything else on the host is dead.
	Confirm float64 `json:"confirm_seconds"`
	DeadMan float64 `json:"dead_man_seconds"`
	// Alone says that the host decides by itself, and waits for no confirmation.
	Alone bool `json:"alone,omitempty"`
}

// Outcome is how a host ended. Every selected host gets exactly one.
type Outcome struct {
	// Outcome is one of the words of docs/json.md, for instance "committed".
	Outcome string `json:"outcome"`
	// Code is the exit code that this host alone would give the run.
	Code int `json:"code"`
	// Action is the command that was wanted: "switch", "boot", "test", "rollback",
	// "dry-activate", "build", "push", "reboot", "boot --reboot",
	// "boot --reboot --no-fallback", "probe" or "check".
	Action string `json:"action,omitempty"`
	// Closure is the store path that the run wanted on the host, Running what
	// was seen to run at the end; empty where not known.
	Closure string `json:"closure,omitempty"`
	Running string `json:"running,omitempty"`
	// Previous is the system that ran before.
	Previous string `json:"previous,omitempty"`
	// Transaction is the id under which the host remembers what happened.
	Transaction string `json:"transaction,omitempty"`
	// Generation is the number of the system profile's generation: the one
	// committed, or the one that was there.
	Generation int `json:"generation,omitempty"`
	// Boots is what the host boots next, or "unknown".
	Boots        string `json:"boots,omitempty"`
	RebootNeeded bool   `json:"reboot_needed,omitempty"`
	// Proof is how a host that committed is known to be reachable: "new-connection" by
	// the confirmation; where the host decided by itself "witness" or "connection" by
	// traffic from outside. "old-connection" and "self" prove nothing of it.
	Proof string `json:"proof,omitempty"`
	// Reach is what a host that decided by itself could find out about that.
	Reach   *Reach   `json:"reach,omitempty"`
	Seconds float64  `json:"seconds"`
	Failure *Failure `json:"failure,omitempty"`
	// Failed names the probes that failed.
	Failed []Probe `json:"failed_probes,omitempty"`
	// AfterRollback names those that did not pass on the previous system afterwards.
	AfterRollback []Probe `json:"after_rollback,omitempty"`
	// Probes is the answer of a command that only probes: every verdict.
	Probes []Probe `json:"probes,omitempty"`
	// Findings is the answer of a check.
	Findings []Finding `json:"findings,omitempty"`
	// Changes is the answer of a dry activation.
	Changes *Changes `json:"changes,omitempty"`
	// Journal is the end of what failed units said, before they were stopped.
	Journal []UnitLog `json:"journal,omitempty"`
	// Profiles are those of the host, in their order, where it has several; the rest
	// tells of the one that went worst.
	Profiles []ProfileOutcome `json:"profiles,omitempty"`
}

// ProfileOutcome is how one of several profiles of a host ended; its fields are
// those of [Outcome].
type ProfileOutcome struct {
	Profile     string   `json:"profile"`
	Kind        string   `json:"kind"`
	Outcome     string   `json:"outcome"`
	Code        int      `json:"code"`
	Closure     string   `json:"closure,omitempty"`
	Running     string   `json:"running,omitempty"`
	Previous    string   `json:"previous,omitempty"`
	Generation  int      `json:"generation,omitempty"`
	Transaction string   `json:"transaction,omitempty"`
	Failure     *Failure `json:"failure,omitempty"`
}

// Changes is what an activation would do with the units of a host.
type Changes struct {
	Stop    []string `json:"stop,omitempty"`
	Start   []string `json:"start,omitempty"`
	Restart []string `json:"restart,omitempty"`
	Reload  []string `json:"reload,omitempty"`
	// Keep are units that changed, and would go on as they are.
	Keep []string `json:"keep,omitempty"`
	// Other is what was said beside that, line by line.
	Other []string `json:"other,omitempty"`
}

// Count is the number of units that would be touched.
func (c Changes) Count() int {
	touched := map[string]bool{}
	for _, units := range [][]string{c.Stop, c.Start, c.Restart, c.Reload} {
		for _, unit := range units {
			touched[unit] = true
		}
	}
	return len(touched)
}

// UnitLog is the end of the journal of one unit, oldest line first.
type UnitLog struct {
	Unit  string   `json:"unit"`
	Lines []string `json:"lines,omitempty"`
}

// Failure is an error a person can act on: where, at which step, why, and the
// command to type next.
type Failure struct {
	Host  string `json:"host,omitempty"`
	Step  string `json:"step"`
	Cause string `json:"cause"`
	Next  string `json:"next,omitempty"`
	// Log holds the last lines of the output that explain the cause.
	Log []string `json:"log,omitempty"`
}
