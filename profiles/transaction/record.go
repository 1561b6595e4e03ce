package transaction

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
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

// Record is a transaction as it is kept on disk.
type Record struct {
	// Sequence grows with each write, so that of two copies the newer is known.
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	State    State  `json:"state"`
	// BootID is the boot that the instants belong to.
	BootID   string `json:"boot_id"`
	Deployer string `json:"deployer"`
	Revision string `json:"revision,omitempty"`
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

	// Probes are judged on the host; Results are their verdicts, Judged that all
	// of them were had; DeployerResults came with the confirmation or the abort.
	Probes          []probe.Spec   `json:"probes,omitempty"`
	Judged          bool           `json:"judged,omitempty"`
	Results         []probe.Result `json:"results,omitempty"`
	DeployerResults []probe.Result `json:"deployer_results,omitempty"`

	// ExitCode is switch-to-configuration's, -1 where none is known.
	ExitCode int `json:"exit_code"`
	// Reason says why the transaction went back, in words for a person.
	Reason string `json:"reason,omitempty"`
	// Notes are findings that changed no decision.
	Notes []string `json:"notes,omitempty"`
	// Generation is the one that the commit made or took.
	Generation profiles.Generation `json:"generation,omitzero"`
	// Boots is what the boot loader was read to boot after the end.
	Boots string `json:"boots,omitempty"`
}

var idForm = regexp.MustCompile(`^[a-z0-9]{8,32}$`)

// ValidID says whether id can name a transaction: it becomes part of unit and
// file names.
func ValidID(id string) bool { return idForm.MatchString(id) }

// validate refuses a record that this program cannot act on: a damaged one, or
// one of a later version.
func (r *Record) validate() error {
	if !ValidID(r.ID) || !slices.Contains(States[:], r.State) {
		return fmt.Errorf("not a transaction that this agent knows: id %q, state %q", r.ID, r.State)
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

// because records the first reason; later ones are consequences of it.
func (r *Record) because(format string, args ...any) {
	if r.Reason == "" {
		r.Reason = fmt.Sprintf(format, args...)
	}
}
