package transaction

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

// Instant is a point in time that survives clock jumps, suspends and reloads of
// the manager: nanoseconds of CLOCK_BOOTTIME, meaningful within one boot.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Until is the time left from i to later; negative when later has passed.
func (i Instant) Until(later Instant) time.Duration { return time.Duration(later - i) }

// Clock tells instants and which boot they belong to.
type Clock interface {
	Now() Instant
	BootID() string
	// Wall is the time of day, for people only; no decision uses it.
	Wall() time.Time
}

// Limits are the deadlines of a transaction.
type Limits struct {
	Activation time.Duration `json:"activation"`
	Confirm    time.Duration `json:"confirm"`
	Commit     time.Duration `json:"commit"`
	Rollback   time.Duration `json:"rollback"`
	Grace      time.Duration `json:"grace"`
}

// Validate refuses limits that would leave a state without an end.
func (l Limits) Validate() error {
	for name, d := range map[string]time.Duration{
		"activation": l.Activation, "confirm": l.Confirm, "commit": l.Commit, "rollback": l.Rollback, "grace": l.Grace,
	} {
		if d <= 0 || d > 24*time.Hour {
			return fmt.Errorf("%s limit %v: must be above zero and at most a day", name, d)
		}
	}
	return nil
}

// Total is the time until the dead-man's switch acts.
func (l Limits) Total() time.Duration {
	return l.Activation + l.Confirm + l.Commit + l.Rollback + l.Grace
}

// Previous is what a rollback restores.
type Previous struct {
	// Running is the toplevel that ran, a specialisation's own where one ran.
	Running string `json:"running"`
	// Profile is the generation that the system profile pointed at.
	Profile profiles.Generation `json:"profile"`
	// Newest is the highest generation number at that time: the transaction
	// removes no generation up to it.
	Newest int `json:"newest"`
	// Boots is the toplevel that the boot loader would have booted, empty where
	// it could not be read.
	Boots string `json:"boots,omitempty"`
}

// is says whether a running system is the previous one. After a restart that is
// what booted, the parent of a specialisation that ran.
func (p Previous) is(running string) bool {
	return running == p.Running || running == p.Profile.Path || running == p.Boots && p.Boots != ""
}

// Action is what a transaction does with the new system.
type Action string

// The actions. The empty one, of records of earlier versions, is a switch.
const (
	Switch   Action = "switch"   // activate it, and boot it from now on
	Boot     Action = "boot"     // boot it from now on; what runs stays
	Test     Action = "test"     // activate it until the next boot
	Rollback Action = "rollback" // a switch to a system of before, by a person's decision
	Reboot   Action = "reboot"   // boot it once, and from then on if it proves healthy
)

// Activates says whether the new system is made to run.
func (a Action) Activates() bool { return a != Boot }

// Switches says whether that happens while the host runs, and not by a boot.
func (a Action) Switches() bool { return a != Boot && a != Reboot }

// Commits says whether the new system becomes profile and boot default.
func (a Action) Commits() bool { return a != Test }

// Valid says whether a is one of the actions.
func (a Action) Valid() bool {
	return a == "" || a == Switch || a == Boot || a == Test || a == Rollback || a == Reboot
}

// Cause is the kind of reason for which a transaction went back.
type Cause string

// The causes. Only some are a verdict about the new system.
const (
	ActivationFailed Cause = "activation" // it could not be activated
	ProbeFailed      Cause = "probe"      // a probe on the host or from the deployer failed
	PersonAborted    Cause = "person"     // a person wanted the old system back
	NotReachable     Cause = "reach"      // alone, the host could not prove what it must
	CommitFailed     Cause = "commit"     // profile or boot loader could not be moved
	NobodyConfirmed  Cause = "silence"    // the deadline passed
	HostRestarted    Cause = "restart"    // power, or a reboot, came in between
	Disturbed        Cause = "disturbed"  // supervisor or state was lost, or the deployer gave up
	NotSwitched      Cause = "refused"    // switch-to-configuration refused before it did anything
)

// Rejects says whether the cause is a verdict about the system itself: silence, a
// loss of power or a lost deployer say nothing about it.
func (c Cause) Rejects() bool {
	return c == ActivationFailed || c == ProbeFailed || c == PersonAborted || c == NotReachable
}

// Step is a state that a transaction was in, and since when.
type Step struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
}

// Tree is what spoke against the git tree that was deployed.
type Tree struct {
	// Behind is how many commits of its upstream it lacked; Older says that it lacked
	// changes which ran on the host.
	Behind int  `json:"behind,omitempty"`
	Older  bool `json:"older,omitempty"`
	// Branch is the one that the system was built from, as the deployer claims.
	Branch string `json:"branch,omitempty"`
}

// Record is a transaction as it is kept on disk.
type Record struct {
	// Sequence grows with each write, so that of two copies the newer is known.
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	// Number counts the host's transactions.
	Number uint64 `json:"number,omitempty"`
	State  State  `json:"state"`
	// BootID is the boot that the instants belong to.
	BootID   string `json:"boot_id"`
	Deployer string `json:"deployer"`
	Action   Action `json:"action,omitempty"`
	// Keep leaves a system that failed its trial as it is, for a person.
	Keep bool `json:"keep,omitempty"`
	// Revision is the commit that was deployed; Dirty says that the tree had more
	// than that in it.
	Revision string `json:"revision,omitempty"`
	Dirty    bool   `json:"dirty,omitempty"`
	Tree     Tree   `json:"tree,omitzero"`
	// Rejects is the system against which a person's rollback decided.
	Rejects string `json:"rejects,omitempty"`
	// Agent is the version of the program that acts.
	Agent    string   `json:"agent"`
	Profile  string   `json:"profile"`
	New      string   `json:"new"`
	Previous Previous `json:"previous"`
	Limits   Limits   `json:"limits"`

	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`

	ActivateBy Instant `json:"activate_by"`
	ConfirmBy  Instant `json:"confirm_by"`
	CommitBy   Instant `json:"commit_by,omitempty"`
	DeadMan    Instant `json:"dead_man"`

	// Restarted says that the host booted since the transaction began.
	Restarted bool `json:"restarted,omitempty"`
	// Untouched says that the trial ended before it changed anything.
	Untouched bool `json:"untouched,omitempty"`

	// Program is how the closure is activated, nil for a NixOS system.
	Program *Program `json:"program,omitempty"`

	// Alone is how the host decides by itself, nil where a deployer confirms; Proof is
	// what it could prove then, and RestartedLast are the units that were restarted last.
	Alone         *Alone       `json:"alone,omitempty"`
	Proof         *reach.Proof `json:"proof,omitempty"`
	RestartedLast []string     `json:"restarted_last,omitempty"`

	// LastResort is what the host may do where going back did not help. HasRestarted
	// says that it did; SeeBy is by when a deployer must be seen after a rollback,
	// zero for not at all, and Seen that one was.
	LastResort   LastResort `json:"last_resort,omitempty"`
	HasRestarted bool       `json:"has_restarted,omitempty"`
	SeeBy        Instant    `json:"see_by,omitempty"`
	Seen         bool       `json:"seen,omitempty"`
	// Reboots are the boots that the transaction itself asked to end: first for
	// the new system, then for the way back.
	Reboots []string `json:"reboots,omitempty"`

	// Probes are judged on the host; Results are their verdicts, Judged that all
	// of them were had; DeployerResults came with the confirmation or the abort.
	Probes          []probe.Spec   `json:"probes,omitempty"`
	Judged          bool           `json:"judged,omitempty"`
	Results         []probe.Result `json:"results,omitempty"`
	DeployerResults []probe.Result `json:"deployer_results,omitempty"`
	// FailedBefore names the probes that are required after a rollback and did not
	// pass before the trial; AfterRollback are the host's probes after one.
	FailedBefore  []string       `json:"failed_before,omitempty"`
	AfterRollback []probe.Result `json:"after_rollback,omitempty"`

	// ExitCode is switch-to-configuration's, -1 where none is known.
	ExitCode int `json:"exit_code"`
	// Cause and Reason say why the transaction went back, for a program and in
	// words for a person.
	Cause  Cause  `json:"cause,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Steps are the states it went through, oldest first.
	Steps []Step `json:"steps,omitempty"`
	// Notes are findings that changed no decision.
	Notes []string `json:"notes,omitempty"`
	// Journal is the end of what failed units said before the host went back.
	Journal []UnitLog `json:"journal,omitempty"`
	// Generation is the one that the commit made or took.
	Generation profiles.Generation `json:"generation,omitzero"`
	// Boots is what the boot loader was read to boot after the end.
	Boots string `json:"boots,omitempty"`
}

// runsInTrial is the system that runs while the confirmation is awaited.
func (r *Record) runsInTrial() string {
	if r.Action.Activates() {
		return r.New
	}
	return r.Previous.Running
}

// inWords says which of the transaction's systems a path is.
func (r *Record) inWords(system string) string {
	switch system {
	case r.New:
		return "the new system"
	case r.Previous.Running:
		return "what it ran before"
	}
	return system
}

var idForm = regexp.MustCompile(`^[a-z0-9]{8,32}$`)

// ValidID says whether id can name a transaction: it becomes part of unit and
// file names.
func ValidID(id string) bool { return idForm.MatchString(id) }

var prefixForm = regexp.MustCompile(`^[a-z0-9]{4,32}$`)

// ValidIDPrefix says whether prefix may be how an id begins, with enough of it to
// mean one transaction.
func ValidIDPrefix(prefix string) bool { return prefixForm.MatchString(prefix) }

// validate refuses a record that this program cannot act on: a damaged one, or
// one of a later version.
func (r *Record) validate() error {
	if !ValidID(r.ID) || !slices.Contains(States[:], r.State) || !r.Action.Valid() || !r.LastResort.Valid() {
		return fmt.Errorf("not a transaction that this agent knows: id %q, state %q, action %q", r.ID, r.State, r.Action)
	}
	return nil
}

// apply moves the record along the table.
func (r *Record) apply(e Event) error {
	next, err := Next(r.State, e)
	if err != nil {
		return err
	}
	r.State = next
	return nil
}

// failedAndWanted says that the system failed its trial, and that it stays for a
// person to look at as soon as that person is known to reach it.
func (r *Record) failedAndWanted() bool { return r.Keep && r.State == Waiting && r.Reason != "" }

// because records the first reason; later ones are consequences of it.
func (r *Record) because(cause Cause, format string, args ...any) {
	if r.Reason == "" {
		r.Cause, r.Reason = cause, fmt.Sprintf(format, args...)
	}
}
