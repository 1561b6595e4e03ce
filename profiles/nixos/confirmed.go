package nixos

import (
	"os"
	"slices"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// lastConfirmed are the roots that keep the last two confirmed systems, so that
// there is something to go back to whatever is collected.
var lastConfirmed = [...]string{"confirmed-1", "confirmed-2"}

// Rooted returns the systems that the roots keep as confirmed, the newest first.
func Rooted() []string {
	var systems []string
	for _, name := range lastConfirmed {
		if system := profiles.Root(name); system != "" {
			systems = append(systems, system)
		}
	}
	return systems
}

// keepConfirmed roots the last two confirmed systems.
func (h Host) keepConfirmed() error {
	kept := Rooted()
	systems := slices.DeleteFunc(worthKeeping(h.Store.History(), kept), func(system string) bool {
		_, err := os.Stat(system)
		return err != nil
	})
	// The older one first: it may be what the other root has kept until now. The
	// newer one is kept by the transaction meanwhile, or by its root as it is.
	for i, name := range slices.Backward(lastConfirmed[:]) {
		if i < len(systems) && profiles.Root(name) != systems[i] {
			if err := profiles.AddRoot(name, systems[i]); err != nil {
				return err
			}
		}
	}
	if len(systems) == 1 && len(kept) == len(lastConfirmed) {
		return profiles.RemoveRoot(lastConfirmed[1])
	}
	return nil
}

// worthKeeping are the confirmed systems, newest first. They are chosen anew after
// every transaction: one that was rejected since gives its place to the one before
// it. What the history has forgotten and a root still keeps counts as older than
// all that it knows.
func worthKeeping(history []transaction.Record, kept []string) []string {
	systems := transaction.ConfirmedIn(history)
	for _, system := range kept {
		if !slices.Contains(systems, system) && transaction.VerdictOn(history, system) != transaction.Rejected {
			systems = append(systems, system)
		}
	}
	return systems
}
