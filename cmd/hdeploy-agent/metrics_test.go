package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

var (
	began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ended = began.Add(90 * time.Second)
)

// saveRecord makes r the host's current or last transaction.
func saveRecord(t *testing.T, a agent, r transaction.Record) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.engine.Store.Dir, "transaction.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The graph of a host whose last deployment went back, after one that was committed.
func TestMetrics(t *testing.T) {
	a := readAgent(t,
		transaction.Record{State: transaction.Committed, Action: transaction.Switch, New: newer, Started: began.Add(-time.Hour), Ended: ended.Add(-time.Hour)},
	)
	saveRecord(t, a, transaction.Record{
		ID: id, Number: 2, State: transaction.RolledBack, Action: transaction.Switch, New: older, Revision: "0123abc",
		Cause: transaction.ProbeFailed, Started: began, Ended: ended, Proof: &reach.Proof{},
	})
	want, err := os.ReadFile("testdata/metrics.prom")
	if err != nil {
		t.Fatal(err)
	}
	got := a.metrics(nil)
	if got != string(want) {
		t.Errorf("the metrics are\n%s\nwant\n%s", got, want)
	}
	checkExposition(t, got)
}

// Each metric is a row of the table in docs/metrics.md, and no other is.
func TestMetricsAreDocumented(t *testing.T) {
	names := func(file, line string) []string {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, found := range regexp.MustCompile(line).FindAllSubmatch(data, -1) {
			all = append(all, string(found[1]))
		}
		slices.Sort(all)
		return all
	}
	told := names("testdata/metrics.prom", `(?m)^# TYPE ([a-z_]+) `)
	documented := names("../../docs/metrics.md", "(?m)^\\| `([a-z_]+)` \\|")
	if !slices.Equal(told, documented) {
		t.Errorf("docs/metrics.md has %v, and the agent tells %v", documented, told)
	}
}

func TestMetricsLeaveOutWhatIsNotKnown(t *testing.T) {
	for name, test := range map[string]struct {
		agent  func(t *testing.T) agent
		absent []string
	}{
		"nothing was deployed": {
			func(t *testing.T) agent { return readAgent(t) },
			[]string{"hdeploy_deployment_", "hdeploy_committed"},
		},
		"it is under way": {
			func(t *testing.T) agent {
				a := readAgent(t)
				saveRecord(t, a, transaction.Record{ID: id, Number: 1, State: transaction.Waiting, Started: began})
				return a
			},
			[]string{"ended_timestamp", "committed_timestamp", "inbound_proven"},
		},
		"what boots cannot be read": {
			func(t *testing.T) agent {
				a := readAgent(t)
				a.engine.Host = still{running: newer}
				return a
			},
			[]string{"hdeploy_boots_what_runs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.agent(t).metrics(nil)
			checkExposition(t, got)
			for _, absent := range test.absent {
				if strings.Contains(got, absent) {
					t.Errorf("the metrics have %s:\n%s", absent, got)
				}
			}
			if !strings.Contains(got, "\nhdeploy_readable 1\n") {
				t.Errorf("the metrics do not say that the record can be read:\n%s", got)
			}
		})
	}
}

func TestMetricsOfADamagedRecord(t *testing.T) {
	a := readAgent(t)
	if err := os.WriteFile(filepath.Join(a.engine.Store.Dir, "transaction.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := a.metrics(nil)
	checkExposition(t, got)
	if !strings.Contains(got, "\nhdeploy_readable 0\n") {
		t.Errorf("the metrics of a damaged record are\n%s", got)
	}
}

func TestLabelsAreQuoted(t *testing.T) {
	if got, want := label("a\"b\\c\x1b[31m"), `"a\"b\\c[31m"`; got != want {
		t.Errorf("the label is %s, want %s", got, want)
	}
}

func TestMetricsAreWrittenForTheCollector(t *testing.T) {
	a, dir := readAgent(t), t.TempDir()
	name := filepath.Join(dir, "hdeploy.prom")
	for range 2 {
		if err := a.writeMetrics(name); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o644 {
		t.Errorf("the file has mode %v: the collector is another user", info.Mode())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the folder has %v", entries)
	}
	for _, bad := range []string{"hdeploy.prom", filepath.Join(dir, "authorized_keys"), ""} {
		if a.writeMetrics(bad) == nil {
			t.Errorf("%q was written", bad)
		}
	}
}

var (
	announcement = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_]+) .+$`)
	aSample      = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(?:[^"\\]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\]|\\["\\n])*")*\})? ([0-9]+)$`)
)

// checkExposition holds a text against the rules of the format: each family once, HELP and
// TYPE before its samples, no sample twice, and an end of line after the last.
func checkExposition(t *testing.T, text string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	seen, family := map[string]bool{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if said := announcement.FindStringSubmatch(line); said != nil {
			if key := said[1] + said[2]; seen[key] {
				t.Errorf("%s is announced twice", said[2])
			} else {
				seen[key], family = true, said[2]
			}
			continue
		}
		sample := aSample.FindStringSubmatch(line)
		if sample == nil || sample[1] != family || !seen["TYPE"+family] || seen[sample[1]+sample[2]] {
			t.Errorf("not a sample of %s, or one that was there before: %s", family, line)
			continue
		}
		seen[sample[1]+sample[2]] = true
	}
}
