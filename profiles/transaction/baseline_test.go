package transaction

import (
	"os"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestBaselineIsKeptForTheNextBoot(t *testing.T) {
	r := newRig(t)
	before := probe.Baseline{BootID: "boot-1", Failed: []string{"sad.service"}, Jobs: []int{7}, JournalCursor: "s=1", Monotonic: 9,
		Units: map[string]systemd.Unit{"sad.service": {ID: "sad.service", Active: "failed", Result: "exit-code", Invocation: "abc", Restarts: 4}}}
	if err := r.Store.SaveBaseline(id, before); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.KeepBaseline(id); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.Store.Run); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.RecallBaseline(id); err != nil {
		t.Fatal(err)
	}
	after, err := r.Store.LoadBaseline(id)
	if err != nil {
		t.Fatal(err)
	}
	u := after.Units["sad.service"]
	if !u.Failing() || u.Invocation != "" || u.Restarts != 0 || len(after.Jobs) != 0 || after.JournalCursor != "" || after.Monotonic != 0 || len(after.Failed) != 1 {
		t.Errorf("recalled %+v", after)
	}
	r.Store.DropBaseline(id)
	if err := r.Store.RecallBaseline(id); err == nil {
		t.Error("recalled what was dropped")
	}
	if err := r.Store.KeepBaseline("efgh5678"); err == nil {
		t.Error("kept what was never there")
	}
}
