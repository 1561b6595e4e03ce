//go:build lab

package tests

import (
	"cmp"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// selfRuns is how many times a host deploys itself in a row; the normal tests are content with a share.
var selfRuns = flag.Int("self.runs", 4, "self-deployments in a row")

var selfDone, selfWrong atomic.Int64

// selfSummary is the last line of a run of scripts/test --self.
func selfSummary() {
	if done := selfDone.Load(); done > 0 {
		fmt.Printf("self-deploy: %d runs, %d wrong\n", done, selfWrong.Load())
	}
}

// lastOfAll leaves the restart of the agent to the host, after everything else was judged.
const lastOfAll = `restart_agent = "last"`

// goodKinds and badKinds are deployed in turn. Each is made anew from the number of its run, so that no run finds the verdict of
// an earlier one.
var goodKinds = []labSystem{
	{name: "another revision"},
	{name: "the agent is restarted last", system: settings{"hercules": leftAlone}, lines: lastOfAll},
	{name: "one more unit", system: settings{"extraUnits": settings{"lab-more.service": oneshot}}},
	{name: "the secrets are fetched again", system: settings{"opnix": settings{"note": "again"}}},
	{name: "the agent has no caches", system: settings{"hercules": agentKnobs.with(settings{"badCaches": "none"})}},
}

var badKinds = append([]labSystem{
	{name: "a firewall drops ssh", system: settings{"faults": settings{"firewallDropSsh": true}}, cause: transaction.NotReachable},
	{name: "the agent crashes when it is restarted last", system: settings{"hercules": leftAlone.with(settings{"crash": true})}, lines: lastOfAll,
		cause: transaction.ProbeFailed},
	{name: "a unit crashes again and again", system: settings{"faults": settings{"crashLoop": true}}},
	{name: "the agent cannot read its caches", system: settings{"hercules": agentKnobs.with(settings{"badCaches": "schema"})}},
	{name: "all login keys are overwritten", system: settings{"faults": settings{"overwriteKeys": true}}, cause: transaction.NotReachable},
	{name: "a unit fails", system: settings{"faults": settings{"failUnit": "at-once"}}},
	{name: "sshd listens elsewhere", system: settings{"sshdPort": 2222}, cause: transaction.NotReachable},
}, badSystems...)

// TestAHostDeploysItselfAgainAndAgain pushes good and bad systems in turn to the agent of the host that they are for. Whatever
// became of the effect, the verdict must be right, the host must run, boot and keep what it says, and nothing may be left.
func TestAHostDeploysItselfAgainAndAgain(t *testing.T) {
	s := newCI(t)
	for i := range *selfRuns {
		began := time.Now()
		run := selfRun{number: i + 1, bad: i%2 == 1, hangup: i%4 >= 2}
		kinds := goodKinds
		if run.bad {
			kinds = badKinds
		}
		run.labSystem = kinds[i/2%len(kinds)]
		ok := t.Run(fmt.Sprintf("%02d %s", run.number, run.name), func(t *testing.T) {
			within := *s
			site := *s.site
			site.t = t
			within.site = &site
			within.deployRound(run)
		})
		word := "right"
		selfDone.Add(1)
		if !ok {
			selfWrong.Add(1)
			word = "wrong"
		}
		fmt.Printf("%s  %2d %-40s %6.1f s\n", word, run.number, run.name, time.Since(began).Seconds())
	}
}

// selfRun is one self-deployment.
type selfRun struct {
	labSystem
	number      int
	bad, hangup bool
}

func (s *ciSite) deployRound(run selfRun) {
	t := s.t
	before, processes := s.snapshot(), s.strays()
	s.inventory.Lines = run.lines
	d := s.deployment(revision(fmt.Sprintf("run %d", run.number), run.system))
	result, record := s.deploysItself(d, run.hangup)
	if result.Killed != run.hangup && result.Code != 10 {
		t.Errorf("the effect was not ended by the switch: code %d; it told:\n%s", result.Code, result.Output)
	}
	after := s.snapshot()
	code := 0
	if run.bad {
		code = 7
		requireTakenBack(t, record, run.cause)
		requireRestored(t, before, after)
	} else {
		if record.State != transaction.Committed {
			t.Errorf("a good system is %s: %s: %s", record.State, record.Cause, record.Reason)
		}
		requireRuns(t, after, d.Closure)
	}
	requireBoots(t, s.site, after.Running)
	requireNothingLeft(t, after)
	eventually(t, 15*time.Second, func() string {
		if now := s.strays(); now != processes {
			return fmt.Sprintf("processes, mounts and files as before:\n%s\nthey are:\n%s", processes, now)
		}
		return ""
	})
	s.attaches(d, code)
}

func requireTakenBack(t *testing.T, r *transaction.Record, cause transaction.Cause) {
	t.Helper()
	if r.State != transaction.RolledBack || !r.Cause.Rejects() || r.Cause != cmp.Or(cause, r.Cause) {
		t.Errorf("it did not go back for %q: %s, %s: %s", cause, r.State, r.Cause, r.Reason)
	}
}

// strays are what a deployment could leave beside what a snapshot has: processes, mounts, files in /run. What is there for the
// newest transaction alone has no name.
func (s *ciSite) strays() string {
	s.t.Helper()
	return s.on(`for p in /proc/[0-9]*; do readlink "$p/exe"; done | grep hdeploy | sort
awk '{print $5}' /proc/1/mountinfo | grep -v ^/run/user/ | sort
find /run/hdeploy -mindepth 1 | grep -Ev '/(record|baseline|activation|reach)[^/]*$|\.exit$' | sed 's#/run/hdeploy/[^/]*/#/run/hdeploy/ID/#; s#/[a-z0-9]\{16\}$#/ID#' | sort`)
}
