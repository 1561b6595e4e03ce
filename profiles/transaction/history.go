package transaction

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

const (
	historyDir = "history"
	// historyLimit is how many transactions are remembered, historySize how many
	// bytes at most: the oldest go first.
	historyLimit = 200
	historySize  = 8 << 20
)

// archive remembers a transaction that has ended. It is done after the end and
// again before the next begins, so that a crash in between loses nothing; the
// second time changes nothing.
func (e Engine) archive(r *Record) {
	if r == nil || !r.State.Final() || r.Number == 0 {
		return
	}
	dir := filepath.Join(e.Store.Dir, historyDir)
	name := filepath.Join(dir, fmt.Sprintf("%010d-%s.json", r.Number, r.ID))
	if kept, err := e.Store.load(name); err == nil && kept != nil {
		return
	}
	err := e.Store.remember(name, *r)
	if err != nil && e.Log != nil {
		note := *r
		note.Reason = fmt.Sprintf("not remembered: %v", err)
		e.Log(note)
	}
	e.Store.trimHistory()
	e.Store.trimLogs()
}

func (s Store) remember(name string, r Record) error {
	r.Probes = nil // what was asked stands beside each answer
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.fs().MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	// The log first: it is not kept again once the record is there.
	logErr := s.keepLog(r.ID)
	if err := atomicfile.WriteOn(s.fs(), name, data, 0o600); err != nil {
		return err
	}
	return errors.Join(logErr, atomicfile.SyncDirOn(s.fs(), s.Dir)) // the folder may be new
}

// archived lists the files of the history, newest first. Their names begin with
// the transaction's number.
func (s Store) archived() []fs.DirEntry {
	entries, _ := s.fs().ReadDir(filepath.Join(s.Dir, historyDir))
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".json") || e.Name()[0] == '.' })
	slices.Reverse(entries)
	return entries
}

func (s Store) trimHistory() {
	var size int64
	for i, entry := range s.archived() {
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		if i >= historyLimit || size > historySize {
			_ = s.fs().Remove(filepath.Join(s.Dir, historyDir, entry.Name()))
		}
	}
}

// nextNumber is one more than the newest transaction's.
func (s Store) nextNumber(last *Record) uint64 {
	var newest uint64
	if last != nil {
		newest = last.Number
	}
	if entries := s.archived(); len(entries) > 0 {
		var number uint64
		if _, err := fmt.Sscanf(entries[0].Name(), "%d-", &number); err == nil {
			newest = max(newest, number)
		}
	}
	return newest + 1
}

// History returns the transactions that have ended, newest first. A file that is
// damaged is left out.
func (s Store) History() []Record {
	var records []Record
	if last, err := s.Load(); err == nil && last != nil && last.State.Final() {
		records = append(records, *last)
	}
	for _, entry := range s.archived() {
		r, err := s.load(filepath.Join(s.Dir, historyDir, entry.Name()))
		if err == nil && r != nil && (len(records) == 0 || records[0].ID != r.ID) {
			records = append(records, *r)
		}
	}
	return records
}

// Verdict is what the transactions of a host say about a system.
type Verdict string

// The verdicts.
const (
	Confirmed  Verdict = "confirmed" // it was the boot default and had proved healthy
	Rejected   Verdict = "rejected"  // it failed, or a person went back from it
	NotDecided Verdict = "unknown"
)

// VerdictOn reads the newest verdict about a system from a history that begins
// with the newest transaction.
func VerdictOn(history []Record, system string) Verdict {
	for _, r := range history {
		switch {
		case r.New == system && r.confirms():
			return Confirmed
		case r.New == system && r.Action == Rollback && r.Cause == PersonAborted:
			// Who stops a rollback says nothing against the system that was to come back.
		case r.New == system && r.State.Final() && r.State != Committed && r.Cause.Rejects():
			return Rejected
		case r.Rejects == system && r.State == Committed:
			return Rejected
		}
	}
	return NotDecided
}

// RejectedIn returns the systems that a history's newest verdict rejects, newest
// first.
func RejectedIn(history []Record) []string {
	var systems []string
	for _, r := range history {
		for _, system := range []string{r.New, r.Rejects} {
			if system != "" && !slices.Contains(systems, system) && VerdictOn(history, system) == Rejected {
				systems = append(systems, system)
			}
		}
	}
	return systems
}
