package deploy

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// service is something that the deployer's probe asks, and that can be ended.
func service(t *testing.T) (spec probe.Spec, end func()) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s := probe.Defaults(probe.KindTCP)
	s.Name, s.From, s.AfterRollback = "web", probe.FromDeployer, probe.Required
	s.Deadline, s.Interval, s.Timeout = 200*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond
	ask[probe.TCPSpec](s).Address = listener.Addr().String()
	return s, func() { listener.Close() }
}

func TestDeployersProbesAfterARollback(t *testing.T) {
	advisory := func(s *probe.Spec) { s.AfterRollback = probe.Advisory }
	for _, c := range []struct {
		name           string
		change         func(*probe.Spec)
		status         protocol.Status
		goneBefore     bool
		policy, reason string
	}{
		{"it is required and gone", nil, protocol.Status{Action: transaction.Switch}, false, probe.Required, "probe web from the deployer failed, which is required"},
		{"it was gone before", nil, protocol.Status{Action: transaction.Switch}, true, probe.Advisory, ""},
		{"it is advisory", advisory, protocol.Status{Action: transaction.Switch}, false, probe.Advisory, ""},
		{"nothing was switched", nil, protocol.Status{Action: transaction.Boot}, false, "", ""},
		{"the host has booted since", nil, protocol.Status{Action: transaction.Switch, Restarted: true}, false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			h.Timeouts.Rollback = time.Minute
			var told []event.Event
			h.run.Events = func(e event.Event) { told = append(told, e) }
			s, end := service(t)
			if c.change != nil {
				c.change(&s)
			}
			if c.goneBefore {
				end()
			}
			h.glance(t.Context(), []probe.Spec{s, probe.Defaults(probe.KindCurrentSystem)})
			end()
			h.status = &c.status
			err := h.probeRestored(t.Context())
			if (err != nil) != (c.reason != "") || err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("got %v", err)
			}
			failed := h.failedAfter()
			if c.policy == "" {
				if len(failed)+len(told) != 0 {
					t.Errorf("asked all the same: %+v", failed)
				}
				return
			}
			if len(failed) != 1 || failed[0].Policy != c.policy || !failed[0].AfterRollback {
				t.Errorf("got %+v", failed)
			}
			if len(told) != 1 || told[0].Probe == nil || told[0].Phase != event.Rollback {
				t.Errorf("told %+v", told)
			}
		})
	}
}

// The host's own record is enough to tell that the previous system is not well.
func TestRollbackThatFailedForAProbeAlone(t *testing.T) {
	h := web1(t)
	h.status = &protocol.Status{State: transaction.RollbackFailed, Running: "/old", Before: transaction.Previous{Running: "/old"},
		AfterRollback: []probe.Result{{Name: "db", From: "host", Verdict: probe.Fail, Policy: probe.Required, Notes: []string{"n"}}}}
	if err := h.ill(); err != nil {
		t.Errorf("nothing was judged yet: %v", err)
	}
	h.judgedAfter(h.status.AfterRollback)
	if err := h.ill(); err == nil || !strings.Contains(err.Error(), "probe db from the host failed, which is required") {
		t.Errorf("got %v", err)
	}
	tr := transactionOf(*h.status)
	if len(tr.AfterRollback) != 1 || !tr.AfterRollback[0].AfterRollback || tr.AfterRollback[0].Notes[0] != "n" {
		t.Errorf("the history has %+v", tr.AfterRollback)
	}
}

func TestNotesOfAProbeThatPassesAreTold(t *testing.T) {
	h := web1(t)
	var told []string
	h.run.Events = func(e event.Event) {
		if e.Note != nil {
			told = append(told, e.Note.Level+": "+e.Note.Text)
		}
	}
	h.judged([]probe.Result{{Name: "a", Verdict: probe.Pass, Notes: []string{"ignored: x"}}, {Name: "b", Verdict: probe.Fail, Notes: []string{"y"}}})
	if len(told) != 1 || told[0] != "info: probe a passed; ignored: x" {
		t.Errorf("told %q", told)
	}
}
