//go:build lab

package tests

import (
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// payload is a closure whose copy takes seconds over slowLine, in many paths so
// that some arrive whole before the line is cut.
var payload = settings{"revision": "payload", "payloadMiB": 24, "payloadPaths": 24}

const slowLine = "32mbit"

func TestConnectionThatDiesInTheCopyIsResumed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cut  func(*site)
		mend func(*site)
	}{{
		name: "session killed",
		// Exactly one session is there: that of the deployer that copies.
		cut:  func(s *site) { s.on("kill -KILL $(pgrep -f '^sshd-session: root')") },
		mend: func(*site) {},
	}, {
		name: "network cut",
		cut: func(s *site) {
			if err := s.host.CutNetwork(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		},
		mend: func(s *site) {
			if err := s.host.RestoreNetwork(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		},
	}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			before := s.snapshot()
			s.configure(payload)
			limitBandwidth(s, slowLine)
			first := s.startSwitch(command{})
			first.await("six paths copied", func(e event.Event) bool {
				return e.Phase == event.Copy && e.Progress != nil && e.Progress.Paths >= 6
			})
			c.cut(s)
			since := time.Now()
			first.wait().require("failed", 4).requireFailure("connection")
			if took := time.Since(since); took > time.Minute {
				t.Errorf("it took %v to see that the connection was gone", took)
			}
			c.mend(s)
			limitBandwidth(s, "")
			requireUntouched(t, before, s.snapshot())

			second := s.deploy().require("committed", 0)
			was, is := toCopy(first), toCopy(second)
			// The last paths that were begun were still on their way.
			if is.PathsTotal == 0 || is.PathsTotal > was.PathsTotal-3 {
				t.Errorf("nothing was resumed: %d of %d paths were still to copy", is.PathsTotal, was.PathsTotal)
			}
			if is.Total == 0 || is.Total >= was.Total || is.Done != is.Total {
				t.Errorf("the progress does not tell how much there was: %d of %d bytes first, then %d of %d", was.Done, was.Total, is.Done, is.Total)
			}
			requireRuns(t, s.snapshot(), second.Outcome.Closure)
		})
	}
}

func limitBandwidth(s *site, rate string) {
	s.t.Helper()
	if err := s.host.LimitBandwidth(s.t.Context(), rate); err != nil {
		s.t.Fatal(err)
	}
}

// toCopy is what the last progress of the copy told.
func toCopy(r *run) event.Progress {
	var last event.Progress
	for _, e := range r.events() {
		if e.Phase == event.Copy && e.Progress != nil {
			last = *e.Progress
		}
	}
	return last
}

func TestGarbageCollectionWhileTheHostIsDeployedTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	before := s.snapshot()
	s.hold(40 * time.Second)
	changes := settings{"revision": "gc"}
	for key, value := range payload {
		changes[key] = value
	}
	s.configure(changes)
	limitBandwidth(s, slowLine)
	r := s.startSwitch(command{})
	r.await("half of the copy", func(e event.Event) bool {
		return e.Phase == event.Copy && e.Progress != nil && e.Progress.Paths >= 12
	})
	collect(s) // in the middle of the copy
	r.awaitPhase(event.Copy, event.Done)
	collect(s) // right after it
	r.awaitPhase(event.Verify, event.Started)
	collect(s) // in the trial
	s.on("nix-store --check-validity " + before.Running)
	s.release()
	r.wait().require("committed", 0)
	collect(s)
	s.on("nix-store --verify --check-contents")
	after := s.snapshot()
	requireRuns(t, after, r.Outcome.Closure)
	requireNothingLeft(t, after)
}

func collect(s *site) {
	s.t.Helper()
	s.on("nix-collect-garbage")
}
