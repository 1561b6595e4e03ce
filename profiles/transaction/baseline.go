package transaction

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// What was broken before a boot must not be blamed on the system that was booted:
// so the baseline of a transaction that reboots is kept on disk too.

func (s Store) keptBaseline(id string) string { return filepath.Join(s.Dir, "baseline-"+id+".json") }

// KeepBaseline keeps the baseline of transaction id for the next boot.
func (s Store) KeepBaseline(id string) error {
	b, err := s.LoadBaseline(id)
	if err != nil {
		return err
	}
	data, err := json.Marshal(b.ForNextBoot())
	if err != nil {
		return fmt.Errorf("keep baseline: %v", err)
	}
	if err := atomicfile.WriteOn(s.fs(), s.keptBaseline(id), data, 0o600); err != nil {
		return fmt.Errorf("keep baseline: %v", err)
	}
	return nil
}

// RecallBaseline makes what KeepBaseline kept the baseline of this boot.
func (s Store) RecallBaseline(id string) error {
	f, err := s.fs().OpenFile(s.keptBaseline(id), os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("recall baseline: %v", err)
	}
	defer f.Close()
	var b probe.Baseline
	if err := json.NewDecoder(f).Decode(&b); err != nil {
		return fmt.Errorf("recall baseline: %v", err)
	}
	return s.SaveBaseline(id, b)
}

// DropBaseline removes what KeepBaseline kept.
func (s Store) DropBaseline(id string) { _ = s.fs().Remove(s.keptBaseline(id)) }
