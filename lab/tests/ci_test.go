//go:build lab

package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/ci"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// repository is hdeploy's own, seen from here.
const repository = "../.."

// attachesWithin is how long a push may take whose verdict is known.
const attachesWithin = 2 * time.Second

// ciTimeouts are shortTimeouts with less patience for an activation that hangs.
const ciTimeouts = `{ activation = "20s", confirm = "15s", commit = "40s", rollback = "60s", grace = "5s", connect = "5s" }`

// ciProbes wait as long as a stand-in takes to show that it does not come up.
const ciProbes = `
[probes.hercules-ci-agent]
settle = "1s"
quiet = "2s"
interval = "500ms"
soak = "2s"
deadline = "12s"
[probes.onepassword-secrets]
deadline = "5s"
`

// revision makes the settings of a system whose agent is restarted.
func revision(name string, changes settings) settings {
	all := settings{"revision": name, "opnix": settings{}, "hercules": agentKnobs}
	for key, value := range changes {
		all[key] = value
	}
	return all
}

// with are the agent's knobs and more.
func (s settings) with(changes settings) settings {
	all := settings{}
	for _, part := range []settings{s, changes} {
		for key, value := range part {
			all[key] = value
		}
	}
	return all
}

// deployment builds what an effect deploys to its own host.
func (s *ciSite) deployment(system settings) ci.Deployment {
	s.t.Helper()
	s.inventory.Timeouts = ciTimeouts
	s.inventory.Probes, s.inventory.Tables = `["onepassword-secrets", "hercules-ci-agent"]`, ciProbes
	d, err := s.ci.Deployment(s.t.Context(), hostName, system.with(settings{"loader": s.host.Loader()}), s.inventory.String(), repository)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// record is the host's newest transaction, nil where there was none.
func (s *ciSite) record() *transaction.Record {
	s.t.Helper()
	text := s.on("cat /var/lib/hdeploy/transaction.json 2>/dev/null || echo null")
	var r *transaction.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		s.t.Fatalf("parse the host's record: %v\n%s", err, text)
	}
	return r
}

// verdict waits until the host has decided about a system that it did not have, and runs its agent again.
func (s *ciSite) verdict(before *transaction.Record) *transaction.Record {
	s.t.Helper()
	var now *transaction.Record
	eventually(s.t, patience, func() string {
		if now = s.record(); now == nil || now.ID == before.ID {
			return "no transaction has begun"
		}
		if !now.State.Final() {
			return "the transaction is " + string(now.State)
		}
		if agent := s.on("systemctl is-active hercules-ci-agent || true"); agent != "active" {
			return "the agent is " + agent
		}
		return ""
	})
	return now
}

// deploysItself pushes a deployment of the host that runs the effect, and waits for the host's verdict.
func (s *ciSite) deploysItself(d ci.Deployment, hangup bool) (ci.Result, *transaction.Record) {
	s.t.Helper()
	before := s.record()
	task := s.push(ci.Push{Script: d.Script(), Hangup: hangup})
	result := s.end(task)
	if r := s.record(); r.ID == before.ID {
		s.t.Fatalf("no transaction was begun; code %d, it told:\n%s", result.Code, result.Output)
	}
	return result, s.verdict(before)
}

// attaches pushes the same once more, and requires the verdict that is known: no second transaction, no second activation.
func (s *ciSite) attaches(d ci.Deployment, code int, words ...string) {
	s.t.Helper()
	before, units := s.record(), s.snapshot()
	result := s.end(s.push(ci.Push{Script: d.Script()}))
	s.t.Logf("the next run said so within %v", result.Took)
	if result.Killed || result.Code != code || result.Took > attachesWithin {
		s.t.Errorf("the next run did not end with %d within %v: killed %v, code %d, %v; it told:\n%s",
			code, attachesWithin, result.Killed, result.Code, result.Took, result.Output)
	}
	for _, word := range words {
		if !strings.Contains(result.Output, word) {
			s.t.Errorf("the next run does not say %q:\n%s", word, result.Output)
		}
	}
	if after := s.record(); after.ID != before.ID || after.Sequence != before.Sequence {
		s.t.Errorf("the next run made transaction %s after %s", after.ID, before.ID)
	}
	requireUntouched(s.t, units, s.snapshot())
}

// The deployment stops the agent, and with it the effect that began it: the host decides by itself, and the next push is told.
func TestAnEffectDeploysTheHostThatRunsIt(t *testing.T) {
	s := newCI(t)
	for i, hangup := range []bool{false, true} {
		d := s.deployment(revision(fmt.Sprint("by an effect ", i), nil))
		invocation := s.on("systemctl show -P InvocationID hercules-ci-agent")
		result, record := s.deploysItself(d, hangup)
		if result.Killed != hangup || !hangup && (result.Code != 10 || !strings.Contains(result.Output, record.ID)) {
			t.Errorf("the effect was not told to leave, or does not say where the verdict will be: %+v", result)
		}
		if record.State != transaction.Committed || record.Alone == nil || record.Proof == nil || record.Proof.Inbound != "" {
			t.Errorf("the host did not decide by itself: %+v", record)
		}
		after := s.snapshot()
		requireRuns(t, after, d.Closure)
		requireNothingLeft(t, after)
		if s.on("systemctl show -P InvocationID hercules-ci-agent") == invocation {
			t.Error("the agent was not restarted: this shows nothing")
		}
		s.attaches(d, 0)
	}
}

// badSystem is a system that its host must not keep.
type badSystem struct {
	name   string
	system settings
	cause  transaction.Cause
	// words are in what the next run tells.
	words []string
}

var badSystems = []badSystem{
	{name: "sshd refuses keys", system: settings{"faults": settings{"sshdRefusesKeys": true}}, cause: transaction.NotReachable, words: []string{"sshd"}},
	{name: "the agent crashes", system: settings{"hercules": agentKnobs.with(settings{"crash": true})}, cause: transaction.ProbeFailed, words: []string{"hercules-ci-agent"}},
	{name: "a secret is gone", system: settings{"opnix": settings{"brokenSecret": true}}, cause: transaction.ProbeFailed, words: []string{"onepassword-secrets"}},
	{name: "the activation hangs", system: settings{"faults": settings{"activateHang": true}}, cause: transaction.ActivationFailed, words: []string{"activation"}},
}

// What breaks the host while nobody is there to see it is taken back, with the agent running again, and the next push is red.
func TestAHostTakesBackWhatAnEffectBroke(t *testing.T) {
	t.Parallel()
	for i, c := range badSystems {
		t.Run(c.name, func(t *testing.T) {
			s := newCI(t)
			d := s.deployment(revision(c.name, c.system))
			before := s.snapshot()
			_, record := s.deploysItself(d, i%2 == 1)
			if record.State != transaction.RolledBack || record.Cause != c.cause {
				t.Errorf("it did not go back for %s: %s, %s: %s", c.cause, record.State, record.Cause, record.Reason)
			}
			requireRestored(t, before, s.snapshot())
			s.attaches(d, 7, c.words...)
		})
	}
}

// What does not restart the agent lets the effect live: it tells the verdict itself.
func TestAnEffectThatSurvivesTellsTheVerdict(t *testing.T) {
	s := newCI(t)
	quiet := settings{"revision": "first", "opnix": settings{}, "hercules": agentKnobs}
	good := s.deployment(quiet.with(settings{"extraUnits": settings{"lab-more.service": oneshot}}))
	result, record := s.deploysItself(good, false)
	if result.Killed || result.Code != 0 || record.State != transaction.Committed {
		t.Errorf("it does not end green: %+v, %s", result, record.State)
	}
	requirePlain(t, result.Output)
	if !strings.Contains(result.Output, "inbound not proven") {
		t.Errorf("it does not say what was not proven:\n%s", result.Output)
	}
	bad := s.deployment(quiet.with(settings{"faults": settings{"sshdRefusesKeys": true}}))
	if result, record = s.deploysItself(bad, false); result.Killed || result.Code != 7 || record.State != transaction.RolledBack {
		t.Errorf("it does not end red: %+v, %s", result, record.State)
	}
}

const oneshot = "[Unit]\nDescription=Does nothing\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"

// requirePlain checks that a dashboard can show the text: a terminal it is not, although it looks like one to the effect.
func requirePlain(t *testing.T, output string) {
	t.Helper()
	for _, r := range output {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			t.Errorf("it wrote control characters to the dashboard: %q", output)
			return
		}
	}
	for line := range strings.Lines(output) {
		if strings.Contains(strings.TrimRight(line, "\r\n"), "\r") {
			t.Errorf("it wrote over a line of the dashboard: %q", line)
		}
	}
}

// An effect on one host deploys another: nothing of the deployer's machine but the sandbox is there.
func TestAnEffectDeploysAnotherHost(t *testing.T) {
	s := newCI(t)
	other := newSibling(s)
	d := other.deployment(settings{"revision": "from another host's effect"})
	result := s.end(s.push(ci.Push{Script: d.Script("--rev", "0123456789abcdef0123456789abcdef01234567") + "\n"}))
	if result.Killed || result.Code != 0 {
		t.Fatalf("it does not end green: %+v", result)
	}
	requirePlain(t, result.Output)
	after := other.snapshot()
	requireRuns(t, after, d.Closure)
	requireNothingLeft(t, after)
	key := strings.Split(s.on("cat /var/lib/hercules-ci-agent/secrets/secrets.json"), `\n`)[2]
	found := s.on("grep -rlF -e " + key + " /var/lib/hercules-ci-agent/work /tmp /root /srv /run /var/tmp 2>/dev/null | grep -v '/secrets/secrets.json$' || true")
	if found != "" || strings.Contains(result.Output, key) {
		t.Errorf("the key was written to %s", found)
	}
}

// sibling is another host, deployed from the effects of a ciSite.
type sibling struct {
	*site
	from *ciSite
}

func newSibling(s *ciSite) *sibling {
	s.t.Helper()
	name := fmt.Sprintf("host%d", hostCount.Add(1))
	host, err := world.NewHost(s.t.Context(), name, lab.HostOptions{HostName: hostName})
	if err != nil {
		s.t.Fatal(err)
	}
	other := &sibling{site: &site{t: s.t, host: host, dir: s.dir, inventory: inventory{
		Address: host.Address, HostKeys: fmt.Sprintf("[%q]", host.HostKey()), Timeouts: shortTimeouts,
	}}, from: s}
	s.t.Cleanup(other.leave)
	other.awaitBoot()
	return other
}

func (s *sibling) deployment(system settings) ci.Deployment {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	d, err := s.from.ci.Deployment(ctx, hostName, system.with(settings{"loader": s.host.Loader()}), s.inventory.String(), repository)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}
