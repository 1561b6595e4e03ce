package protocol

import (
	"encoding/json"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// The methods of the agent.
const (
	// MethodFacts looks at the host: FactsRequest -> Facts. It also ends what an
	// earlier boot left unfinished.
	MethodFacts = "facts"
	// MethodMissing tells which store paths are not there: MissingRequest ->
	// MissingResult.
	MethodMissing = "missing"
	// MethodStart keeps a copied closure from being collected and begins a
	// transaction: StartRequest -> Status. Where the closure is not whole, the
	// error has [CodeMissing], and it is copied again.
	MethodStart = "start"
	// MethodWatch follows one: WatchRequest -> Status, with a Status event per
	// change and Line events for its output.
	MethodWatch = "watch"
	// MethodConfirm and MethodAbort decide one: DecideRequest -> Status. A
	// confirmation is followed, as by MethodWatch, until the transaction is over.
	MethodConfirm = "confirm"
	MethodAbort   = "abort"
	// MethodProbe judges without a transaction: ProbeRequest -> []probe.Result.
	MethodProbe = "probe"
	// MethodLog returns the last lines that the switches of a transaction
	// printed: LogRequest -> LogResult.
	MethodLog = "log"
)

// FactsRequest asks what is true on a host.
type FactsRequest struct {
	Profile string `json:"profile"`
	// LookOnly leaves what an earlier boot left as it is.
	LookOnly bool `json:"look_only,omitempty"`
}

// Facts are what is true on a host. Strings come from the host and are capped.
type Facts struct {
	Hostname string `json:"hostname"`
	BootID   string `json:"boot_id"`
	// MachineID is empty where it cannot be read.
	MachineID string `json:"machine_id,omitempty"`
	// System is Nix's name of the architecture, for instance "x86_64-linux".
	System string `json:"system"`
	// NixOS says whether the host is one; OS is its os-release name.
	NixOS bool   `json:"nixos"`
	OS    string `json:"os"`
	UID   int    `json:"uid"`

	Running string              `json:"running,omitempty"`
	Booted  string              `json:"booted,omitempty"`
	Profile profiles.Generation `json:"profile"`
	Boots   bootloader.Default  `json:"boots"`
	// BootsError says why Boots is not known.
	BootsError string `json:"boots_error,omitempty"`

	// Free space in bytes: the store, /boot and the state's directory.
	FreeStore uint64 `json:"free_store"`
	FreeBoot  uint64 `json:"free_boot"`
	FreeState uint64 `json:"free_state"`
	// OwnBoot says that /boot is a file system of its own.
	OwnBoot bool `json:"own_boot"`
	// Kernel holds the store paths of kernel, initrd and kernel-modules that were
	// booted.
	Kernel map[string]string `json:"kernel,omitempty"`
	// Daemon says whether the Nix daemon's socket exists.
	Daemon bool `json:"daemon"`
	// Inhibitors is the running system's file, for the judgement.
	Inhibitors json.RawMessage `json:"inhibitors,omitempty"`
	// Transaction is the one that runs, or the last one.
	Transaction *Status `json:"transaction,omitempty"`
	// Freeze is a person's wish that nothing changes the host.
	Freeze *transaction.Freeze `json:"freeze,omitempty"`
	// Rejected are the systems that were found bad on the host, newest first.
	Rejected []string `json:"rejected,omitempty"`
	// Volatile says why the agent's state does not survive a reboot of the host,
	// empty where nothing speaks for that.
	Volatile string `json:"volatile,omitempty"`
	// NoWayBack says why no system can be booted once with the host coming back
	// from it by itself, empty where that can be done.
	NoWayBack string `json:"no_way_back,omitempty"`
	// NextKernel is as Kernel, of the system that boots next.
	NextKernel map[string]string `json:"next_kernel,omitempty"`
	// StateError says why the agent cannot keep its state.
	StateError string `json:"state_error,omitempty"`
	// OfProfile is what is true of one profile that is no NixOS system; Running,
	// Profile and Boots are then that profile's.
	OfProfile *ProfileFacts `json:"of_profile,omitempty"`
}

// MissingRequest asks which of the store paths the host lacks.
type MissingRequest struct {
	Paths []string `json:"paths"`
}

// MissingResult are those that it lacks.
type MissingResult struct {
	Paths []string `json:"paths,omitempty"`
}

// LogRequest asks for the last Lines lines of a transaction's switches.
type LogRequest struct {
	ID    string `json:"id"`
	Lines int    `json:"lines"`
}

// LogResult are those lines, oldest first.
type LogResult struct {
	Lines []string `json:"lines,omitempty"`
}

// StartRequest begins a transaction.
type StartRequest struct {
	ID       string             `json:"id"`
	Deployer string             `json:"deployer"`
	Revision string             `json:"revision,omitempty"`
	Profile  string             `json:"profile"`
	New      string             `json:"new"`
	Running  string             `json:"running"`
	Limits   transaction.Limits `json:"limits"`
	Probes   []probe.Spec       `json:"probes,omitempty"`
	// The rest is as in [transaction.Plan].
	Action    transaction.Action `json:"action,omitempty"`
	Keep      bool               `json:"keep,omitempty"`
	Dirty     bool               `json:"dirty,omitempty"`
	Tree      transaction.Tree   `json:"tree,omitzero"`
	Rejects   string             `json:"rejects,omitempty"`
	Automatic bool               `json:"automatic,omitempty"`
	Force     bool               `json:"force,omitempty"`

	LastResort transaction.LastResort `json:"last_resort,omitempty"`
	Alone      *transaction.Alone     `json:"alone,omitempty" needs:"alone"`
}

// WatchRequest follows a transaction until it is final or, where Judged is set,
// until it waits for a confirmation and the host's probes are judged.
type WatchRequest struct {
	ID     string `json:"id"`
	Judged bool   `json:"judged,omitempty"`
	// SkipLines is how many lines of output the follower has seen already.
	SkipLines int `json:"skip_lines,omitempty"`
}

// WatchEvent is one change of a followed transaction.
type WatchEvent struct {
	Status *Status `json:"status,omitempty"`
	Line   string  `json:"line,omitempty"`
}

// DecideRequest confirms or aborts.
type DecideRequest struct {
	ID string `json:"id"`
	// Cause is the kind of Reason, of an abort: probe, person or disturbed.
	Cause   transaction.Cause `json:"cause,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Results []probe.Result    `json:"results,omitempty"`
	// SkipLines is as in [WatchRequest].
	SkipLines int `json:"skip_lines,omitempty"`
}

// ProbeRequest judges the host as it is.
type ProbeRequest struct {
	Probes []probe.Spec `json:"probes"`
}

// Status is a transaction as the wire knows it.
type Status struct {
	ID       string            `json:"id"`
	State    transaction.State `json:"state"`
	Deployer string            `json:"deployer"`
	Revision string            `json:"revision,omitempty"`
	New      string            `json:"new"`
	Previous string            `json:"previous"`
	// Before is all that a rollback restores; Restarted says that the host booted
	// since the transaction began.
	Before    transaction.Previous `json:"before"`
	Restarted bool                 `json:"restarted,omitempty"`
	Started   time.Time            `json:"started"`
	Ended     time.Time            `json:"ended,omitzero"`
	Number    uint64               `json:"number,omitempty"`
	Action    transaction.Action   `json:"action,omitempty"`
	Dirty     bool                 `json:"dirty,omitempty"`
	Tree      transaction.Tree     `json:"tree,omitzero"`
	Rejects   string               `json:"rejects,omitempty"`
	Steps     []transaction.Step   `json:"steps,omitempty"`
	// DeployerResults came with the confirmation or the abort.
	DeployerResults []probe.Result `json:"deployer_results,omitempty"`
	// AfterRollback are the verdicts of the host's probes about the previous system,
	// after it was made to run again.
	AfterRollback []probe.Result `json:"after_rollback,omitempty"`
	// ConfirmIn and DeadManIn are the time left; zero where passed or over.
	ConfirmIn time.Duration     `json:"confirm_in,omitempty"`
	DeadManIn time.Duration     `json:"dead_man_in,omitempty"`
	Judged    bool              `json:"judged,omitempty"`
	Results   []probe.Result    `json:"results,omitempty"`
	ExitCode  int               `json:"exit_code"`
	Cause     transaction.Cause `json:"cause,omitempty"`
	// Reboots counts how often the transaction itself asked for a reboot.
	Reboots int      `json:"reboots,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	// Journal is the end of what failed units said.
	Journal []transaction.UnitLog `json:"journal,omitempty"`
	// Generation is the one committed.
	Generation int `json:"generation,omitempty"`
	// Boots and Running are what was read at the end.
	Boots   string `json:"boots,omitempty"`
	Running string `json:"running,omitempty"`
	// Profile is the system profile as it is now.
	Profile profiles.Generation `json:"profile,omitzero"`
	// Untouched says that the trial changed nothing, HasRestarted that the host
	// restarted as its last resort.
	Untouched    bool `json:"untouched,omitempty"`
	HasRestarted bool `json:"has_restarted,omitempty"`
	// Alone says that the host decides by itself, Proof what it could prove.
	Alone bool         `json:"alone,omitempty"`
	Proof *reach.Proof `json:"proof,omitempty"`
}
