package probe

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func entries(text string) []entry {
	var all []entry
	parseJournal(strings.NewReader(text), func(e entry) bool { all = append(all, e); return true })
	return all
}

func TestParseJournal(t *testing.T) {
	odd := entries(recorded(t, "odd.json"))
	if len(odd) != 3 || odd[0].message != "x\xffy" || odd[1].message != "a\x01b\x1b[31mred" || odd[2].message != "" {
		t.Errorf("got %+v", odd)
	}
	good := entries(recorded(t, "good.hercules-ci-agent.json"))
	if len(good) != 3 || !good[0].pid1 || good[0].messageID != messageStarting || good[1].messageID != messageStarted ||
		good[2].pid1 || !strings.HasSuffix(good[2].message, agentOnline) || good[2].monotonic <= good[0].monotonic {
		t.Errorf("got %+v", good)
	}
	for line, want := range map[string]string{
		`{"MESSAGE":["one","two"]}`:   "one",
		`{"MESSAGE":[[104,105],[0]]}`: "hi",
		`{"MESSAGE":[]}`:              "",
		`{"MESSAGE":[300]}`:           "",
		`{"MESSAGE":{"a":1}}`:         "",
		`{"MESSAGE":17}`:              "",
		`{}`:                          "",
	} {
		if got := entries(line + "\n"); len(got) != 1 || got[0].message != want {
			t.Errorf("%s: got %+v", line, got)
		}
	}
	for _, line := range []string{"", "\n\n", "-- No entries --\n", "{\n", "[1]\n", "null"} {
		for _, e := range entries(line) {
			if e != (entry{}) {
				t.Errorf("%q: got %+v", line, e)
			}
		}
	}
}

func TestJournalIsCapped(t *testing.T) {
	long := `{"MESSAGE":"` + strings.Repeat("x", 2*journalLine) + `"}` + "\n" + `{"MESSAGE":"after"}` + "\n"
	if got := entries(long); len(got) != 1 || got[0].message != "after" {
		t.Errorf("a line that is too long is passed over: got %d entries", len(got))
	}
	line := `{"MESSAGE":"x"}` + "\n"
	if got := entries(strings.Repeat(line, journalLines+100)); len(got) != journalLines {
		t.Errorf("%d lines", len(got))
	}
	wide := `{"MESSAGE":"` + strings.Repeat("x", 60000) + `"}` + "\n"
	if got := entries(strings.Repeat(wide, 2*journalBytes/len(wide))); len(got) > journalBytes/len(wide) {
		t.Errorf("%d bytes", len(got)*len(wide))
	}
}

func TestJournalRead(t *testing.T) {
	s := newStandIn(t)
	j := journal{systemd.Manager{Bin: s.dir}}
	s.lines("a", 0, "one", "two", "three")
	var got []string
	if err := j.read(t.Context(), func(e entry) bool { got = append(got, e.message); return e.message != "two" }, "_SYSTEMD_INVOCATION_ID=a"); err != nil || strings.Join(got, " ") != "one two" {
		t.Errorf("got %v, %v", got, err)
	}
	s.write("broken-journal", "")
	if err := j.read(t.Context(), func(entry) bool { return true }, "x"); err == nil || !strings.Contains(err.Error(), "insufficient permissions") {
		t.Errorf("got %v", err)
	}
	s.write("hang-journal", "")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := j.read(ctx, func(entry) bool { return true }, "x"); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
}

func TestRestartsSinceBaseline(t *testing.T) {
	s := newStandIn(t)
	s.write("restarts", shifted(recorded(t, "restarts.json"), time.Second))
	j := journal{systemd.Manager{Bin: s.dir}}
	for _, c := range []struct {
		b    *Baseline
		want int
	}{
		{nil, 1},
		{&Baseline{Monotonic: monotonic() - 5_000_000, JournalCursor: "s=1;i=2"}, 1},
		{&Baseline{Monotonic: monotonic()}, 0},
	} {
		got, err := j.restarts(t.Context(), "hercules-ci-agent.service", c.b)
		if err != nil || len(got) != c.want {
			t.Errorf("%+v: got %v, %v", c.b, got, err)
		}
	}
	if strings.Contains(s.calls(), "--after-cursor") {
		t.Error("--after-cursor with matches loses an entry on systemd 252")
	}
	if !strings.Contains(s.calls(), "--cursor=s=1;i=2") || !strings.Contains(s.calls(), "_PID=1") {
		t.Errorf("calls:\n%s", s.calls())
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(`{"MESSAGE":[104,105],"_PID":"1","__MONOTONIC_TIMESTAMP":"17"}` + "\n"))
	f.Add([]byte(`{"MESSAGE":[[1],"x",null],"MESSAGE_ID":["a"]}`))
	f.Add([]byte("{\"MESSAGE\":\"\\u0000\"}\n\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := 0
		parseJournal(strings.NewReader(string(text)), func(e entry) bool {
			n++
			if len(e.message) > 3*len(text) { // an escape of two bytes can stand for three
				t.Errorf("message of %d bytes from %d", len(e.message), len(text))
			}
			return true
		})
		if n > strings.Count(string(text), "\n")+1 {
			t.Errorf("%d entries", n)
		}
	})
}

// FuzzShow lets systemctl answer anything, and feeds it through everything
// that reads it.
func FuzzShow(f *testing.F) {
	f.Add("Id=a.service\nLoadState=loaded\nActiveState=failed\nResult=exit-code\nNRestarts=9\nJob=3\n")
	f.Add("Id=\n\n\nId=x\x1b[31m.service\nActiveState=failed\nNRestarts=-9\nActiveEnterTimestampMonotonic=99999999999999999999")
	f.Add("Id=hercules-ci-agent.service\nLoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nInvocationID=a")
	f.Add("Id=opnix-secrets.service\nLoadState=loaded\nActiveState=active\nSubState=exited\nResult=success\nInvocationID=/../x")
	s := newStandIn(f)
	s.program("systemctl", onThisMachine(f, "#!/bin/sh\n/bin/cat ${0%/*}/answer\n"))
	f.Fuzz(func(t *testing.T, text string) {
		s := &standIn{t, s.dir}
		s.write("answer", text)
		m := systemd.Manager{Bin: s.dir}
		now, err := m.Show(t.Context(), "*")
		if err != nil {
			t.Fatal(err)
		}
		b := Baseline{Units: now}
		b.summarize()
		if bad := append(NewlyFailing(b, now), crashLooping(b, now)...); len(bad) != 0 {
			t.Errorf("newly failing against itself: %v", bad)
		}
		for _, kind := range []Kind{KindNoNewFailedUnits, KindOnePassword, KindHercules} {
			spec := Defaults(kind)
			if spec.Kind == KindHercules {
				ask[HerculesSpec](spec).BaseDirectory, ask[HerculesSpec](spec).Endpoints = s.dir, []string{"127.0.0.1:1"}
			}
			a := attempt{Spec: spec, host: s.host(&b)}
			r := a.Ask.try(t.Context(), a).result(spec)
			if r.Verdict == "" || clean(r.Seen) != r.Seen || clean(r.Evidence) != r.Evidence {
				t.Errorf("%+v", r)
			}
		}
	})
}
