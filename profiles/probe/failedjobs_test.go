package probe

import (
	"strconv"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestFailedJobs(t *testing.T) {
	s := newStandIn(t)
	put := func(id string, job int, since time.Duration, more ...string) {
		t.Helper()
		s.unit(shown(systemd.Unit{ID: id, Load: "loaded", Active: "activating", Sub: "start", Result: "success", Invocation: "a1", Job: job}),
			append(more, sinceLine(since))...)
	}
	probe := quick(KindFailedJobs)
	put("a.service", 0, time.Hour)
	runOne(t, probe, s.host(nil)).want(t, Pass, "", "0 jobs")

	put("a.service", 7, time.Second)
	runOne(t, probe, s.host(nil)).want(t, Pass, "", "1 jobs")

	put("a.service", 7, time.Minute)
	b := s.before()
	r := runOne(t, probe, s.host(nil))
	r.want(t, Fail, "hung", "a.service start")
	if len(r.Units) != 1 || r.Hint == "" {
		t.Errorf("%+v", r)
	}
	runOne(t, probe, s.host(b)).want(t, Pass, "", "queued before: a.service")

	put("a.service", 8, time.Minute)
	runOne(t, probe, s.host(b)).want(t, Fail, "hung", "a.service")
	ask[FailedJobsSpec](probe).Ignore = []string{"a.service"}
	runOne(t, probe, s.host(b)).want(t, Pass, "", "")

	// Whoever waits for what a timer started hangs, and that itself does not.
	put("gc.service", 9, time.Hour, "TriggeredBy=gc.timer", "JobState=running")
	runOne(t, probe, s.host(b)).want(t, Pass, "", "")
	put("waits.service", 10, time.Hour, "TriggeredBy=waits.timer")
	runOne(t, probe, s.host(b)).want(t, Fail, "hung", "waits.service start waiting")

	s.write("broken", "")
	runOne(t, probe, s.host(nil)).want(t, Unknown, "systemd", "")
}

func sinceLine(age time.Duration) string {
	return "StateChangeTimestampMonotonic=" + strconv.FormatInt(monotonic()-age.Microseconds(), 10)
}
