package transaction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

func past(number uint64, system string, s State, change ...func(*Record)) *Record {
	r := &Record{ID: fmt.Sprintf("past%04d", number), Number: number, State: s, New: system, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, c := range change {
		c(r)
	}
	return r
}

// remembered puts a transaction into the history without the time that a durable
// write takes.
func (r *rig) remembered(old *Record) {
	r.t.Helper()
	dir := filepath.Join(r.Store.Dir, historyDir)
	data, err := json.Marshal(old)
	name := fmt.Sprintf("%010d-%s.json", old.Number, old.ID)
	if err := errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, name), data, 0o600)); err != nil {
		r.t.Fatal(err)
	}
}

func numbers(history []Record) []uint64 {
	var list []uint64
	for _, r := range history {
		list = append(list, r.Number)
	}
	return list
}

func historyFiles(t *testing.T, s Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Dir, historyDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestHistoryIsBoundedByCountAndInOrder(t *testing.T) {
	r := newRig(t)
	for n := uint64(1); n < historyLimit+15; n++ {
		r.remembered(past(n, newPath, Committed))
	}
	r.archive(past(historyLimit+15, newPath, Committed))
	got := numbers(r.Store.History())
	if len(got) != historyLimit || got[0] != historyLimit+15 || got[len(got)-1] != 16 || !slices.IsSortedFunc(got, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("%d transactions, from %d to %d", len(got), got[0], got[len(got)-1])
	}
}

func TestHistoryIsBoundedBySize(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 3<<20)
	for n := uint64(1); n <= 5; n++ {
		r.archive(past(n, newPath, RolledBack, func(r *Record) { r.Reason = long }))
	}
	if got := numbers(r.Store.History()); !slices.Equal(got, []uint64{5, 4}) {
		t.Errorf("kept %v of transactions of 3 MiB each", got)
	}
}

func TestDamagedHistoryIsLeftOut(t *testing.T) {
	r := newRig(t)
	for n := uint64(1); n <= 4; n++ {
		r.archive(past(n, newPath, Committed))
	}
	for name, text := range map[string]string{
		"0000000002-past0002.json": "{", "0000000003-past0003.json": `{"id":"past0003","state":"exploded"}`, "notes.txt": "mine", ".0000000009-x.json": "{}",
	} {
		if err := os.WriteFile(filepath.Join(r.Store.Dir, historyDir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := numbers(r.Store.History()); !slices.Equal(got, []uint64{4, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestArchiveIsIdempotent(t *testing.T) {
	r := newRig(t)
	record := past(1, newPath, RolledBack)
	r.archive(record)
	before := historyFiles(t, r.Store)
	info, err := os.Stat(filepath.Join(r.Store.Dir, historyDir, before[0]))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	changed := *record
	changed.Reason = "something else"
	r.archive(&changed)
	if after := historyFiles(t, r.Store); !slices.Equal(before, after) {
		t.Errorf("%v became %v", before, after)
	}
	if got := r.Store.History(); len(got) != 1 || got[0].Reason != "" {
		t.Errorf("the second time changed it: %+v", got)
	}
	r.archive(nil)
	r.archive(past(2, newPath, Waiting))
	r.archive(past(0, newPath, Committed))
	if after := historyFiles(t, r.Store); !slices.Equal(before, after) {
		t.Errorf("what is not over, or has no number, was remembered: %v", after)
	}
}

// The host crashed after the end was recorded and before it was remembered: the
// next transaction remembers it before it takes its place.
func TestHistorySurvivesACrashBetweenEndAndArchive(t *testing.T) {
	r := newRig(t)
	ended := r.put(RolledBack, func(r *Record) { r.ID, r.Number, r.Reason = "before01", 7, "it failed" })
	if got := r.Store.History(); len(got) != 1 || got[0].ID != ended.ID {
		t.Errorf("before the next one: %+v", got)
	}
	next := r.prepare()
	if next.Number != 8 {
		t.Errorf("the next one has number %d", next.Number)
	}
	if got := r.Store.History(); len(got) != 1 || got[0].ID != ended.ID || got[0].Reason != "it failed" {
		t.Errorf("after the next one began: %+v", got)
	}
}

func TestNumberingGoesOnAfterTheRecordIsLost(t *testing.T) {
	r := newRig(t)
	r.archive(past(41, newPath, Committed))
	if err := os.WriteFile(filepath.Join(r.Store.Dir, historyDir, "0000000042-past0042.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if next := r.prepare(); next.Number != 43 {
		t.Errorf("the next one has number %d", next.Number)
	}
}

func TestVerdicts(t *testing.T) {
	rejecting := func(r *Record) { r.Rejects = newPath }
	because := func(c Cause) func(*Record) { return func(r *Record) { r.Cause = c } }
	as := func(a Action) func(*Record) { return func(r *Record) { r.Action = a } }
	for name, c := range map[string]struct {
		history []*Record // newest first
		verdict Verdict
		good    string
	}{
		"nothing":                     {nil, NotDecided, ""},
		"committed":                   {[]*Record{past(1, newPath, Committed)}, Confirmed, newPath},
		"staged only":                 {[]*Record{past(1, newPath, Committed, as(Boot))}, NotDecided, ""},
		"tested only":                 {[]*Record{past(1, newPath, Committed, as(Test))}, NotDecided, ""},
		"failed its probes":           {[]*Record{past(1, newPath, RolledBack, because(ProbeFailed))}, Rejected, ""},
		"nobody confirmed":            {[]*Record{past(1, newPath, RolledBack, because(NobodyConfirmed))}, NotDecided, ""},
		"confirmed, then failed":      {[]*Record{past(2, newPath, RolledBack, because(ActivationFailed)), past(1, newPath, Committed)}, Rejected, ""},
		"failed, then confirmed":      {[]*Record{past(2, newPath, Committed), past(1, newPath, RolledBack, because(ProbeFailed))}, Confirmed, newPath},
		"a person went back from it":  {[]*Record{past(2, oldPath, Committed, as(Rollback), rejecting), past(1, newPath, Committed)}, Rejected, oldPath},
		"the one before is the best":  {[]*Record{past(2, newPath, Kept, because(ActivationFailed)), past(1, oldPath, Committed)}, Rejected, oldPath},
		"power was lost in the trial": {[]*Record{past(2, newPath, RolledBack, because(HostRestarted)), past(1, oldPath, Committed)}, NotDecided, oldPath},
	} {
		t.Run(name, func(t *testing.T) {
			var history []Record
			for _, r := range c.history {
				history = append(history, *r)
			}
			if got := VerdictOn(history, newPath); got != c.verdict {
				t.Errorf("the verdict is %s, want %s", got, c.verdict)
			}
			if got := LastKnownGood(history); got != c.good {
				t.Errorf("the last known good is %q, want %q", got, c.good)
			}
			if got := RejectedIn(history); slices.Contains(got, newPath) != (c.verdict == Rejected) {
				t.Errorf("rejected are %v", got)
			}
		})
	}
}

func TestDeploymentIsTheNewestThatWasMadeToBoot(t *testing.T) {
	history := []Record{*past(4, newPath, RolledBack), *past(3, newPath, Committed, func(r *Record) { r.Action = Test }), *past(2, newPath, Committed), *past(1, newPath, Committed)}
	if got := Deployment(history, newPath); got == nil || got.Number != 2 {
		t.Errorf("got %+v", got)
	}
	if got := Deployment(history, oldPath); got != nil {
		t.Errorf("got %+v", got)
	}
}

func (r *rig) printed(id, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.Store.Run, id), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.Store.LogFile(id), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestLogsOutliveTheNextTransaction(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("a line of the log\n", 2*LogLimit/18)
	for n := uint64(1); n <= logsKept+5; n++ {
		record := past(n, newPath, Committed)
		r.printed(record.ID, "line of "+record.ID+"\n")
		if n == logsKept+5 {
			r.printed(record.ID, long)
		}
		r.archive(record)
	}
	r.Store.forget()
	logs := slices.DeleteFunc(historyFiles(t, r.Store), func(name string) bool { return !strings.HasSuffix(name, ".log") })
	if len(logs) != logsKept || logs[0] != "past0006.log" {
		t.Errorf("%d logs are kept: %v", len(logs), logs)
	}
	if text, cut, err := r.Store.Log("past0006"); string(text) != "line of past0006\n" || cut || err != nil {
		t.Errorf("%q, %v, %v", text, cut, err)
	}
	if _, _, err := r.Store.Log("past0001"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old one: %v", err)
	}
	text, cut, err := r.Store.Log(fmt.Sprintf("past%04d", logsKept+5))
	if len(text) > LogLimit || len(text) < LogLimit-20 || !cut || err != nil || !strings.HasPrefix(string(text), "a line of the log\n") {
		t.Errorf("of a long log %d bytes are kept, cut %v, %v; it begins with %.20q", len(text), cut, err, text)
	}
	if info, err := os.Stat(filepath.Join(r.Store.Dir, historyDir, logs[0])); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, _, err := r.Store.Log("../../etc/passwd"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path is taken for an id: %v", err)
	}
}

func TestLogOfARunningTransactionIsRead(t *testing.T) {
	r := newRig(t)
	r.printed(id, "one\n")
	if text, cut, err := r.Store.Log(id); string(text) != "one\n" || cut || err != nil {
		t.Errorf("%q, %v, %v", text, cut, err)
	}
}

func TestStale(t *testing.T) {
	r := newRig(t)
	r.host.armed = true
	waiting := *r.put(Waiting)
	stale := func() string { return r.Stale(r.ctx(), waiting) }
	if got := stale(); got != "" {
		t.Errorf("with the switch armed: %q", got)
	}
	r.host.armed = false
	if got := stale(); !strings.Contains(got, "gone") {
		t.Errorf("with nobody left: %q", got)
	}
	r.attend()
	if got := stale(); got != "" {
		t.Errorf("with a supervisor: %q", got)
	}
	r.clock.reboot("boot-2")
	if got := stale(); got != "left by an earlier boot" {
		t.Errorf("after a boot: %q", got)
	}
	waiting.State = Committed
	if got := stale(); got != "" {
		t.Errorf("one that is over: %q", got)
	}
	if got := r.load(); got.State != Waiting || got.BootID != "boot-1" {
		t.Errorf("looking settled it: %+v", got)
	}
}

// What failed units said is read before the way back begins.
func TestJournalOfFailedUnitsIsKept(t *testing.T) {
	say := func(r *rig) {
		r.Journal = func(_ context.Context, units []string) []UnitLog {
			if r.host.called("restore") > 0 {
				t.Error("the journal is read after the rollback began")
			}
			var logs []UnitLog
			for _, unit := range units {
				logs = append(logs, UnitLog{Unit: unit, Lines: []string{"giving up"}})
			}
			return logs
		}
	}
	run := func(r *rig) Record {
		r.start()
		if err := r.supervised(); err != nil {
			t.Fatal(err)
		}
		return r.load()
	}
	t.Run("activation", func(t *testing.T) {
		r := newRig(t)
		say(r)
		r.host.activate = func(_ context.Context, record Record) (int, error) { r.host.run(record.New); return 4, nil }
		r.host.failing = func(context.Context) ([]string, error) {
			return []string{"a.service (exit-code)", "b.service (timeout)", "c.service (x)", "d.service (x)"}, nil
		}
		got := run(r)
		if got.State != RolledBack || len(got.Journal) != JournalUnits || got.Journal[0].Unit != "a.service" || got.Journal[0].Lines[0] != "giving up" {
			t.Errorf("%s with %+v", got.State, got.Journal)
		}
		if kept := r.Store.History(); len(kept) != 1 || len(kept[0].Journal) != JournalUnits {
			t.Errorf("the history is %+v", kept)
		}
	})
	t.Run("probe", func(t *testing.T) {
		r := newRig(t)
		say(r)
		r.host.probe = func(context.Context) []probe.Result {
			return []probe.Result{
				{Name: "ok", Verdict: probe.Pass, Units: []string{"well.service"}},
				{Name: "bad", Verdict: probe.Fail, Policy: probe.Rollback, Units: []string{"a.service", "a.service"}},
			}
		}
		if got := run(r); got.State != RolledBack || len(got.Journal) != 1 || got.Journal[0].Unit != "a.service" {
			t.Errorf("%s with %+v", got.State, got.Journal)
		}
	})
	t.Run("rollback", func(t *testing.T) {
		r := newRig(t)
		asked := false
		r.Journal = func(_ context.Context, units []string) []UnitLog { asked = true; return []UnitLog{{Unit: units[0]}} }
		r.host.activate = func(_ context.Context, record Record) (int, error) { r.host.run(record.New); return 2, nil }
		r.host.reset = func(context.Context, Record) error { return errBroken }
		r.host.failing = func(context.Context) ([]string, error) { return []string{"a.service (exit-code)"}, nil }
		if got := run(r); got.State != RollbackFailed || !asked || len(got.Journal) != 1 {
			t.Errorf("%s with %+v", got.State, got.Journal)
		}
	})
}
