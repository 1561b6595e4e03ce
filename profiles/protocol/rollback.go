package protocol

import (
	"time"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// MethodRollbackPlan looks at the host as [MethodFacts] does, and chooses the
	// system of before: RollbackRequest -> RollbackPlan.
	MethodRollbackPlan = "rollback-plan"
	// MethodRecall finds a transaction of the past: RecallRequest -> Status. The
	// error has [CodeUnknown] where the host remembers none.
	MethodRecall = "recall"
)

// RollbackRequest asks where a rollback would go.
type RollbackRequest struct {
	Profile string `json:"profile"`
	// To is the number of a generation or a store path; empty for the last system
	// that was confirmed before the running one.
	To string `json:"to,omitempty"`
}

// RollbackPlan is where a rollback would go. While a transaction runs only the
// facts are there: a rollback aborts it.
type RollbackPlan struct {
	Facts Facts `json:"facts"`
	// Target is the system, empty where there is none; Why says then why.
	Target string `json:"target,omitempty"`
	Why    string `json:"why,omitempty"`
	// Generation is the newest one of the target, zero where it has none any more;
	// Version is its nixos-version.
	Generation int    `json:"generation,omitempty"`
	Version    string `json:"version,omitempty"`
	// Verdict is what the host remembers of the target; Confirmed and By tell when
	// and by whom it was confirmed.
	Verdict   transaction.Verdict   `json:"verdict,omitempty"`
	Confirmed time.Time             `json:"confirmed,omitzero"`
	By        string                `json:"by,omitempty"`
	Skipped   []transaction.Skipped `json:"skipped,omitempty"`
	// Rejects is the system that is left, and is remembered as rejected.
	Rejects string `json:"rejects,omitempty"`
	// RebootNeeded says that the target has another kernel than the booted one.
	RebootNeeded bool `json:"reboot_needed,omitempty"`
}

// RecallRequest names a transaction by its id or by how that begins.
type RecallRequest struct {
	ID string `json:"id"`
}
