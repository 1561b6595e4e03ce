package main

import (
	"testing"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// What a host decides alone, and what it could prove, is told to whoever asks.
func TestTheStatusTellsWhatWasProven(t *testing.T) {
	told := agent{engine: transaction.Engine{Host: nixos.Host{}, Clock: nixos.Clock{}}}
	proof := &reach.Proof{Inbound: reach.ByWitness}
	r := transaction.Record{ID: "abcd1234", State: transaction.Committed, Alone: &transaction.Alone{OnUnknown: reach.GoBack}, Proof: proof, Notes: []string{"inbound proven"}}
	if s := told.status(r); !s.Alone || s.Proof != proof || len(s.Notes) != 1 {
		t.Errorf("%+v", s)
	}
	if s := told.status(transaction.Record{ID: "abcd1234"}); s.Alone || s.Proof != nil {
		t.Errorf("without: %+v", s)
	}
}

func TestTheJournalTellsWhatWasProven(t *testing.T) {
	r := transaction.Record{ID: "abcd1234", State: transaction.RollingBack, Deployer: "ci@host", New: "/new", Reason: "it failed", Alone: &transaction.Alone{}}
	if got := inJournal(r); got != "transaction abcd1234 by ci@host: rolling-back, new system /new; the host decides alone: it failed" {
		t.Errorf("before a proof: %q", got)
	}
	r.Proof, r.Reason = &reach.Proof{Inbound: reach.ByConnection}, ""
	if got := inJournal(r); got != "transaction abcd1234 by ci@host: rolling-back, new system /new; the host decides alone: inbound proven by a connection that came in from outside" {
		t.Errorf("after one: %q", got)
	}
	r.Alone, r.Proof = nil, nil
	if got := inJournal(r); got != "transaction abcd1234 by ci@host: rolling-back, new system /new" {
		t.Errorf("with a deployer: %q", got)
	}
}
