package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// inTrial is the durable note of a closure that was, or is being, activated and is
// not the profile's.
type inTrial struct {
	Closure string `json:"closure"`
	// Link is the generation that the profile pointed at then, empty for none.
	Link string `json:"link"`
}

func (h Host) note() string { return filepath.Join(h.Store.Dir, "in-trial.json") }

// begin notes, before the first change, that closure is what may be found.
func (h Host) begin(closure string) error {
	at, err := profiles.Current(h.Link)
	if err != nil {
		return err
	}
	data, err := json.Marshal(inTrial{Closure: closure, Link: at.Link})
	if err != nil {
		return err
	}
	return atomicfile.Write(h.note(), data, 0o600)
}

// over forgets the note: what the profile points at is what runs.
func (h Host) over() error {
	if err := os.Remove(h.note()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the end of the trial: %v", err)
	}
	return atomicfile.SyncDir(h.Store.Dir)
}

// runs is the closure that is active: the one in trial, as long as nobody has moved
// the profile to another one since, else the profile's.
func (h Host) runs(at profiles.Generation) (string, error) {
	data, err := os.ReadFile(h.note())
	if errors.Is(err, fs.ErrNotExist) {
		return at.Path, nil
	}
	var t inTrial
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil {
		return "", fmt.Errorf("read what is in trial: %v", err)
	}
	if t.Link == at.Link || t.Closure == at.Path {
		return t.Closure, nil
	}
	return at.Path, nil
}
