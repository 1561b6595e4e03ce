package protocol

import (
	"time"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// The methods that look at a host, and those that freeze it. None of them needs
// a Nix daemon there.
const (
	// MethodLook tells how the host is: FactsRequest -> LookResult. Nothing is
	// settled, whatever the request says.
	MethodLook = "look"
	// MethodGenerations lists those of a profile: GenerationsRequest ->
	// GenerationsResult.
	MethodGenerations = "generations"
	// MethodHistory lists transactions, newest first, each as a Status event:
	// HistoryRequest -> HistoryResult.
	MethodHistory = "history"
	// MethodActivationLog returns all that is kept of what the switches of a
	// transaction printed: ActivationLogRequest -> ActivationLogResult.
	MethodActivationLog = "activation-log"
	// MethodJournal returns what units said last: JournalRequest -> JournalResult.
	MethodJournal = "journal"
	// MethodFreeze and MethodUnfreeze begin and end a freeze: FreezeRequest ->
	// FreezeResult. Where somebody else's holds, the error has [CodeFrozen].
	MethodFreeze   = "freeze"
	MethodUnfreeze = "unfreeze"
)

// LookResult is how a host is.
type LookResult struct {
	Facts Facts `json:"facts"`
	// Stale says why nobody works on an unfinished transaction any more.
	Stale string `json:"stale,omitempty"`
	// FailedUnits are failed now; UnitsError says why that is not known.
	FailedUnits []string `json:"failed_units,omitempty"`
	UnitsError  string   `json:"units_error,omitempty"`
	// NeedsReboot says that the running system has another kernel than the booted
	// one.
	NeedsReboot bool `json:"needs_reboot,omitempty"`
}

// GenerationsRequest asks for the generations of a profile.
type GenerationsRequest struct {
	Profile string `json:"profile"`
}

// GenerationsResult lists them, newest first.
type GenerationsResult struct {
	Generations []Generation `json:"generations,omitempty"`
}

// Generation is one generation and what the host knows of its system. A system
// that runs, boots or was confirmed without being a generation has number 0 and no
// date.
type Generation struct {
	Number int       `json:"number"`
	Date   time.Time `json:"date,omitzero"`
	// Path is the store path of the system.
	Path string `json:"path"`
	// Version is that of NixOS, Kernel that of the kernel; empty where the system
	// does not tell it.
	Version string `json:"version,omitempty"`
	Kernel  string `json:"kernel,omitempty"`
	// Deployer, Revision, Dirty and Transaction are of the newest transaction that
	// made it the boot default; empty where the history knows of none.
	Deployer    string `json:"deployer,omitempty"`
	Revision    string `json:"revision,omitempty"`
	Dirty       bool   `json:"dirty,omitempty"`
	Transaction string `json:"transaction,omitempty"`
	// Verdict is the history's on the system.
	Verdict transaction.Verdict `json:"verdict"`
	// Current says that the profile points here, Running that its system runs,
	// Boots that it boots next, LastKnownGood that it was confirmed last.
	Current       bool `json:"current,omitempty"`
	Running       bool `json:"running,omitempty"`
	Boots         bool `json:"boots,omitempty"`
	LastKnownGood bool `json:"last_known_good,omitempty"`
}

// HistoryRequest asks for the newest Limit transactions.
type HistoryRequest struct {
	Limit int `json:"limit"`
}

// HistoryResult ends the list.
type HistoryResult struct {
	// Remembered is how many transactions the host knows of.
	Remembered int `json:"remembered"`
}

// ActivationLogRequest asks for the log of the transaction with this id or
// number; both empty ask for the newest.
type ActivationLogRequest struct {
	ID     string `json:"id,omitempty"`
	Number uint64 `json:"number,omitempty"`
}

// ActivationLogResult is that log.
type ActivationLogResult struct {
	Status Status `json:"status"`
	// Lines are the last ones, oldest first; Cut says that there were more.
	Lines []string `json:"lines,omitempty"`
	Cut   bool     `json:"cut,omitempty"`
}

// JournalRequest asks what units said last.
type JournalRequest struct {
	Units []string `json:"units"`
}

// JournalResult is what they said.
type JournalResult struct {
	Journal []transaction.UnitLog `json:"journal,omitempty"`
}

// FreezeRequest begins a freeze by Owner, or ends it: with Force also somebody
// else's.
type FreezeRequest struct {
	Owner   string `json:"owner"`
	Message string `json:"message,omitempty"`
	Force   bool   `json:"force,omitempty"`
}

// FreezeResult is the freeze that holds, or held until now; nil where there was
// none.
type FreezeResult struct {
	Freeze *transaction.Freeze `json:"freeze,omitempty"`
	// Transaction is one that is not over: a freeze does not stop it, and the end
	// of one does not end it.
	Transaction *Status `json:"transaction,omitempty"`
}
