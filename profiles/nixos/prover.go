package nixos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

var _ transaction.Prover = Host{}

// surveyFile is where the survey of a transaction is kept, for this boot and for root
// alone.
func (h Host) surveyFile(id string) string { return filepath.Join(h.dir(id), "reach.json") }

// seen is the host as it is looked at with the programs of two systems. Both looks have
// the programs of both, lest another set of programs be taken for another packet filter.
func (h Host) seen(id, running, other string) reach.Host {
	return reach.Host{Programs: []systemd.Manager{systemd.Of(running), systemd.Of(other)}, Dir: h.dir(id)}
}

// Survey implements [transaction.Prover].
func (h Host) Survey(ctx context.Context, r transaction.Record) error {
	if r.Alone == nil {
		return errors.New("survey the host: nothing was asked")
	}
	if err := os.MkdirAll(h.dir(r.ID), 0o700); err != nil {
		return fmt.Errorf("survey the host: %v", err)
	}
	data, err := json.Marshal(h.seen(r.ID, r.Previous.Running, r.New).Survey(ctx, r.Alone.Question))
	if err != nil {
		return fmt.Errorf("survey the host: %v", err)
	}
	return atomicfile.Write(h.surveyFile(r.ID), data, 0o600)
}

// Prove implements [transaction.Prover]. Without a survey nothing can be compared, and
// nothing that needs it is said to be proven.
func (h Host) Prove(ctx context.Context, r transaction.Record) reach.Proof {
	if r.Alone == nil {
		return reach.Proof{}
	}
	var before reach.Survey
	data, err := os.ReadFile(h.surveyFile(r.ID))
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return reach.Unsurveyed(fmt.Errorf("the survey cannot be read: %v", err))
	}
	return h.seen(r.ID, r.New, r.Previous.Running).Prove(ctx, r.Alone.Question, before)
}
