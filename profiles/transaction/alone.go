package transaction

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/reach"
)

// Alone is how a host decides by itself: whoever began the transaction runs on it, may
// be ended by it, and could prove nothing by a connection.
type Alone struct {
	Question reach.Question `json:"question"`
	// OnUnknown is what becomes of a system that nothing failed on, and that was not
	// proven to let traffic in.
	OnUnknown reach.OnUnknown `json:"on_unknown,omitempty"`
	// RestartLast are units that the activation leaves alone, and that are restarted,
	// where they changed, after everything else was judged; the probes that judge
	// them come then.
	RestartLast []string `json:"restart_last,omitempty"`
}

// Prover is what a transaction of a host that decides alone does to a machine.
type Prover interface {
	// Survey reads before the trial what [Prover.Prove] compares with, and keeps it for
	// this boot.
	Survey(ctx context.Context, r Record) error
	// Prove says what the host can prove about r.New, which runs. It waits for a witness
	// until ctx ends.
	Prove(ctx context.Context, r Record) reach.Proof
	// Restart restarts those of r.Alone.RestartLast whose unit is another in the running
	// system than what runs, and names them. It may be called for the previous system.
	Restart(ctx context.Context, r Record) ([]string, error)
}
