package deploy

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// Transaction is one deployment as a host remembers it.
type Transaction struct {
	// Number counts the host's transactions; zero for one of an older hdeploy.
	Number uint64 `json:"number,omitempty"`
	ID     string `json:"id"`
	// Action is "switch", "boot", "test" or "rollback".
	Action string `json:"action"`
	// State is how it ended, for instance "committed", or where it is.
	State   string    `json:"state"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Seconds float64   `json:"seconds,omitempty"`

	Deployer string `json:"deployer"`
	Revision string `json:"revision,omitempty"`
	// Branch is the one that the system was built from, as its deployer claimed.
	Branch string `json:"branch,omitempty"`
	Dirty  bool   `json:"dirty,omitempty"`
	// Behind is how many commits of its upstream the tree lacked; Older says that it
	// lacked changes which ran on the host.
	Behind   int    `json:"behind,omitempty"`
	Older    bool   `json:"older,omitempty"`
	Closure  string `json:"closure"`
	Previous string `json:"previous,omitempty"`
	// Rejects is the system against which a person's rollback decided.
	Rejects string `json:"rejects,omitempty"`
	// Generation is the one committed, Boots what the host booted after the end.
	Generation int    `json:"generation,omitempty"`
	Boots      string `json:"boots,omitempty"`

	// ExitCode is switch-to-configuration's, -1 where none is known.
	ExitCode int `json:"exit_code"`
	// Cause and Reason say why it went back, for a program and for a person.
	Cause  string   `json:"cause,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Notes  []string `json:"notes,omitempty"`

	Steps  []TransactionStep `json:"steps,omitempty"`
	Probes []event.Probe     `json:"probes,omitempty"`
	// AfterRollback are the verdicts about the previous system after a rollback.
	AfterRollback []event.Probe   `json:"after_rollback,omitempty"`
	Journal       []event.UnitLog `json:"journal,omitempty"`
	// Reach is what a host that decided by itself could find out about being reachable.
	Reach *event.Reach `json:"reach,omitempty"`

	// Confirm and DeadMan are the time left, in seconds, of one that runs.
	Confirm float64 `json:"confirm_seconds,omitempty"`
	DeadMan float64 `json:"dead_man_seconds,omitempty"`
	// Stale says why nobody works on an unfinished one any more.
	Stale string `json:"stale,omitempty"`
}

// TransactionStep is a state that it was in, since when and for how long.
type TransactionStep struct {
	State   string    `json:"state"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds,omitempty"`
}

// transactionOf tells a host's status in the words of the contract.
func transactionOf(s protocol.Status) Transaction {
	t := Transaction{
		Number: s.Number, ID: capped(s.ID), Action: capped(string(s.Action)), State: capped(string(s.State)), Started: s.Started, Ended: s.Ended,
		Deployer: capped(s.Deployer), Revision: capped(s.Revision), Dirty: s.Dirty, Behind: s.Tree.Behind, Older: s.Tree.Older, Branch: capped(s.Tree.Branch), Closure: capped(s.New), Previous: capped(s.Previous),
		Rejects: capped(s.Rejects), Generation: s.Generation, Boots: capped(s.Boots), ExitCode: s.ExitCode,
		Cause: capped(string(s.Cause)), Reason: capped(s.Reason), Journal: toldJournal(s.Journal),
		Confirm: s.ConfirmIn.Seconds(), DeadMan: s.DeadManIn.Seconds(),
	}
	if t.Action == "" {
		t.Action = "switch"
	}
	if s.Proof != nil {
		t.Reach = reached(*s.Proof)
	}
	if !s.Ended.IsZero() {
		t.Seconds = s.Ended.Sub(s.Started).Seconds()
	}
	for _, note := range s.Notes[:min(len(s.Notes), listTold)] {
		t.Notes = append(t.Notes, capped(note))
	}
	for i, step := range s.Steps[:min(len(s.Steps), listTold)] {
		told := TransactionStep{State: capped(string(step.State)), At: step.At}
		if i+1 < len(s.Steps) {
			told.Seconds = s.Steps[i+1].At.Sub(step.At).Seconds()
		}
		t.Steps = append(t.Steps, told)
	}
	for _, results := range [][]probe.Result{s.Results, s.DeployerResults} {
		for _, p := range results[:min(len(results), listTold)] {
			t.Probes = append(t.Probes, *toEvent(p))
		}
	}
	for _, p := range s.AfterRollback[:min(len(s.AfterRollback), listTold)] {
		told := toEvent(p)
		told.AfterRollback = true
		t.AfterRollback = append(t.AfterRollback, *told)
	}
	return t
}

// History is what a host remembers.
type History struct {
	// Transactions are the newest ones, newest first.
	Transactions []Transaction
	// Remembered is how many the host knows of.
	Remembered int
}

// ReadHistory asks for the newest limit transactions.
func ReadHistory(ctx context.Context, q Question, limit int) (History, error) {
	var past History
	var result protocol.HistoryResult
	err := q.ask(ctx, agent.Ask(protocol.MethodHistory, protocol.HistoryRequest{Limit: limit}, &result, func(body json.RawMessage) {
		var s protocol.Status
		if len(past.Transactions) < limit && json.Unmarshal(body, &s) == nil {
			past.Transactions = append(past.Transactions, transactionOf(s))
		}
	}))
	past.Remembered = max(result.Remembered, len(past.Transactions))
	return past, err
}

// ActivationLog is what the switches of a transaction printed.
type ActivationLog struct {
	Transaction Transaction
	// Lines are the last ones; Cut says that there were more.
	Lines []string
	Cut   bool
}

// ReadLog asks for the log of the transaction with this id or number; both empty
// ask for the newest.
func ReadLog(ctx context.Context, q Question, id string, number uint64) (ActivationLog, error) {
	var result protocol.ActivationLogResult
	err := q.ask(ctx, agent.Ask(protocol.MethodActivationLog, protocol.ActivationLogRequest{ID: id, Number: number}, &result, nil))
	for i, line := range result.Lines {
		result.Lines[i] = capped(line)
	}
	return ActivationLog{Transaction: transactionOf(result.Status), Lines: result.Lines, Cut: result.Cut}, err
}
