package nixos

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

var _ transaction.Prover = Host{}

// Survey implements [transaction.Prover].
func (h Host) Survey(context.Context, transaction.Record) error { return nil }

// Prove implements [transaction.Prover].
func (h Host) Prove(context.Context, transaction.Record) reach.Proof {
	var p reach.Proof
	for _, name := range []string{"handshake", "listening", "sshd", "keys", "filter", "network", "outward", "inbound"} {
		p.Findings = append(p.Findings, reach.Finding{Name: name, State: reach.Unknown, Detail: "not looked at"})
	}
	return p
}
