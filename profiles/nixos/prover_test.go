package nixos

import (
	"os"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestSurveyIsKeptForRootAlone(t *testing.T) {
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}}
	r := transaction.Record{ID: "abcd1234", New: t.TempDir(), Previous: transaction.Previous{Running: t.TempDir()}, Alone: &transaction.Alone{}}
	if err := h.Survey(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(h.surveyFile(r.ID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v", info, err)
	}
	// These systems have no program to look with, before and after.
	for _, f := range h.Prove(t.Context(), r).Findings {
		if f.State != reach.Unknown && f.Name != reach.Network {
			t.Errorf("%s is %s: %s", f.Name, f.State, f.Detail)
		}
	}
}

func TestWithoutASurveyNothingIsProven(t *testing.T) {
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}}
	r := transaction.Record{ID: "abcd1234", Alone: &transaction.Alone{}}
	p := h.Prove(t.Context(), r)
	if len(p.Findings) == 0 || p.Inbound != reach.NotProven {
		t.Errorf("got %+v", p)
	}
	for _, f := range p.Findings {
		if f.State != reach.Unknown {
			t.Errorf("%s is %s", f.Name, f.State)
		}
	}
	if err := h.Survey(t.Context(), transaction.Record{ID: "abcd1234"}); err == nil {
		t.Error("a host that does not decide alone is surveyed")
	}
}
