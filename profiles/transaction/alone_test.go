package transaction

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

const agentUnit = "hercules-ci-agent.service"

// prover answers for a host that decides alone, and keeps what it was asked.
type prover struct {
	host   *memory
	unread error
	proof  reach.Proof
	hang   func(context.Context, Record) error
	// restart is called for each restart of what comes last.
	restart func(context.Context, Record) ([]string, error)

	mu   sync.Mutex
	last []string
}

func (p *prover) Survey(context.Context, Record) error {
	p.host.note("survey")
	return p.unread
}

func (p *prover) Prove(ctx context.Context, r Record) reach.Proof {
	p.host.note("prove")
	if p.hang != nil {
		_ = p.hang(ctx, r)
	}
	return p.proof
}

func (p *prover) RestartLast(ctx context.Context, r Record) ([]string, error) {
	p.host.note("restart last")
	p.mu.Lock()
	p.last = slices.Clone(r.Alone.RestartLast)
	p.mu.Unlock()
	if p.restart != nil {
		return p.restart(ctx, r)
	}
	return r.Alone.RestartLast, nil
}

var (
	witnessed = reach.Proof{Inbound: reach.ByWitness, Findings: []reach.Finding{{Name: "handshake", State: reach.Proven}}}
	local     = reach.Proof{Findings: []reach.Finding{{Name: "handshake", State: reach.Proven}}}
	shut      = reach.Proof{Findings: []reach.Finding{{Name: "handshake", State: reach.Failed, Detail: "nobody answered"}}}
)

// proving is a host that answers for itself.
func proving(t *testing.T, p *prover) *rig {
	t.Helper()
	r := newRig(t)
	p.host, r.Engine.Prover = r.host, p
	return r
}

// alone begins a transaction of a host that decides by itself.
func alone(t *testing.T, p *prover, change ...func(*Plan)) *rig {
	t.Helper()
	return proving(t, p).decide(change...)
}

func (r *rig) decide(change ...func(*Plan)) *rig {
	r.t.Helper()
	plan := r.plan()
	plan.Alone = &Alone{Question: reach.Question{Users: []string{"root"}}}
	for _, c := range change {
		c(&plan)
	}
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		r.t.Fatal(err)
	}
	r.supervise()
	return r
}

func agentLast(p *Plan) {
	p.Alone.RestartLast = []string{agentUnit}
	p.Probes = []probe.Spec{probe.Defaults(probe.KindHercules), probe.Defaults(probe.KindCurrentSystem)}
}

var aloneSteps = []string{"survey", "activate", "probe", "prove", "restart last", "commit", "restore"}

func TestAHostDecidesAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		proof reach.Proof
		on    reach.OnUnknown
		want  State
		cause Cause
		says  string
	}{
		{"a witness came in", witnessed, reach.GoBack, Committed, "", "proven by the witness"},
		{"nobody came in", local, reach.WhenChanged, Committed, "", "inbound not proven"},
		{"nobody came in, and somebody must", local, reach.GoBack, RolledBack, NotReachable, "inbound not proven"},
		{"it cannot be reached", shut, reach.Commit, RolledBack, NotReachable, "handshake (nobody answered)"},
	} {
		for _, action := range []Action{Switch, Test, Rollback} {
			t.Run(c.name+", "+string(action), func(t *testing.T) {
				r := alone(t, &prover{proof: c.proof}, func(p *Plan) { p.Action, p.Alone.OnUnknown = action, c.on })
				got := r.untilState(c.want)
				said := strings.Join(append(got.Notes, got.Reason), "\n")
				if got.Cause != c.cause || !strings.Contains(said, c.says) || got.Proof == nil || !got.Judged {
					t.Errorf("cause %q, says %q, proof %v", got.Cause, said, got.Proof)
				}
				want := []string{"survey", "activate", "prove", "commit"}
				switch {
				case c.want == RolledBack:
					want[3] = "restore"
					r.on(oldPath)
				case action == Test:
					want = want[:3]
				default:
					r.on(newPath)
				}
				if order := r.host.order(aloneSteps...); !slices.Equal(order, want) {
					t.Errorf("order %v, want %v", order, want)
				}
				if got.Cause.Rejects() != (c.want == RolledBack) {
					t.Errorf("cause %q", got.Cause)
				}
			})
		}
	}
}

// What fails on the host needs no proof, and what activates nothing has none.
func TestWhatIsNotProven(t *testing.T) {
	t.Run("a probe fails", func(t *testing.T) {
		r := proving(t, &prover{proof: witnessed})
		r.host.probe = func(context.Context) []probe.Result { return result(probe.Fail, probe.Rollback) }
		r.decide(agentLast, func(p *Plan) { p.Alone.RestartLast = nil })
		if got := r.untilState(RolledBack); got.Cause != ProbeFailed || got.Proof != nil || r.host.called("prove") != 0 {
			t.Errorf("%q, %v", got.Cause, r.host.calls)
		}
	})
	t.Run("boot", func(t *testing.T) {
		r := alone(t, &prover{proof: shut}, agentLast, func(p *Plan) { p.Action = Boot })
		got := r.untilState(Committed)
		if order := r.host.order(aloneSteps...); !slices.Equal(order, []string{"commit"}) || got.Proof != nil {
			t.Errorf("%v, %v", order, got.Proof)
		}
	})
	t.Run("a profile", func(t *testing.T) {
		r := alone(t, &prover{proof: shut}, func(p *Plan) { p.Program = &Program{Profile: "home", User: "ann", Kind: "home-manager"} })
		r.untilState(Committed)
		if order := r.host.order(aloneSteps...); !slices.Equal(order, []string{"activate", "probe", "commit"}) {
			t.Errorf("%v", order)
		}
	})
}

func TestWhatCannotBeLeftToTheHost(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Plan)
		says   string
	}{
		"kept":             {func(p *Plan) { p.Keep = true }, "nobody could be shown to reach"},
		"rebooted":         {func(p *Plan) { p.Action = Reboot }, "boot a system once"},
		"a profile's unit": {func(p *Plan) { agentLast(p); p.Program = &Program{Kind: "custom"} }, "restarts no unit"},
		"an odd user":      {func(p *Plan) { p.Alone.Question.Users = []string{"-x"} }, "account"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBootable(t)
			b.Engine.Prover = &prover{host: b.host}
			plan := b.plan()
			plan.Alone = &Alone{}
			c.change(&plan)
			if _, err := b.Prepare(b.ctx(), plan); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			if last, err := b.Store.Load(); err != nil || last != nil {
				t.Errorf("it was recorded: %v, %v", last, err)
			}
		})
	}
	t.Run("nobody proves", func(t *testing.T) {
		r := newRig(t)
		plan := r.plan()
		plan.Alone = &Alone{}
		if _, err := r.Prepare(r.ctx(), plan); err == nil {
			t.Error("accepted")
		}
		plan.Action = Boot
		if _, err := r.Prepare(r.ctx(), plan); err != nil {
			t.Errorf("a boot needs no proof: %v", err)
		}
	})
}

// A survey that fails makes the proof less, and is told.
func TestASurveyThatFailsIsNoted(t *testing.T) {
	r := alone(t, &prover{unread: errBroken, proof: local})
	if got := r.untilState(Committed); !strings.Contains(got.Notes[0], errBroken.Error()) {
		t.Errorf("notes %q", got.Notes)
	}
}

func TestTheAgentIsRestartedLast(t *testing.T) {
	p := &prover{proof: local}
	p.restart = func(_ context.Context, r Record) ([]string, error) {
		if now := p.host; now.called("prove") != 1 {
			t.Error("before the proof")
		}
		return []string{agentUnit}, nil
	}
	r := proving(t, p)
	asked := make(chan []string, 4)
	r.host.probing = func(record Record) { asked <- kindsOf(record.Probes) }
	r.decide(agentLast)
	got := r.untilState(Committed)
	if order := r.host.order(aloneSteps...); !slices.Equal(order, []string{"survey", "activate", "probe", "prove", "restart last", "probe", "commit"}) {
		t.Errorf("order %v", order)
	}
	if !slices.Equal(got.RestartedLast, []string{agentUnit}) || !strings.Contains(strings.Join(got.Notes, "\n"), "restarted last: "+agentUnit) {
		t.Errorf("restarted %v, notes %q", got.RestartedLast, got.Notes)
	}
	if one, two := <-asked, <-asked; !slices.Equal(one, []string{probe.KindCurrentSystem}) || !slices.Equal(two, []string{probe.KindHercules}) {
		t.Errorf("asked %v, then %v", one, two)
	}
	if len(got.Results) != 2 {
		t.Errorf("results %v", got.Results)
	}
}

func kindsOf(specs []probe.Spec) []string {
	var kinds []string
	for _, s := range specs {
		kinds = append(kinds, s.Kind)
	}
	return kinds
}

// What was restarted last is restarted again where the host goes back from it, also where
// nobody knows whether it was.
func TestWhatWasRestartedLastIsRestartedOnTheWayBack(t *testing.T) {
	t.Run("its probe fails", func(t *testing.T) {
		r := proving(t, &prover{proof: witnessed})
		r.host.probe = func(context.Context) []probe.Result {
			if r.host.called("restart last") == 0 {
				return result(probe.Pass, probe.Rollback)
			}
			return result(probe.Fail, probe.Rollback)
		}
		r.decide(agentLast)
		if got := r.untilState(RolledBack); got.Cause != ProbeFailed {
			t.Errorf("cause %q", got.Cause)
		}
		want := []string{"survey", "activate", "probe", "prove", "restart last", "probe", "restore", "restart last"}
		if order := r.host.order(aloneSteps...); !slices.Equal(order, want) {
			t.Errorf("order %v", order)
		}
		r.on(oldPath)
	})
	t.Run("the supervisor dies in the restart", func(t *testing.T) {
		hang, began := entered()
		p := &prover{proof: local, restart: func(ctx context.Context, r Record) ([]string, error) { return nil, hang(ctx, r) }}
		r := alone(t, p, agentLast)
		r.awaitStep(began)
		r.kill()
		_ = r.supervised()
		if got := r.load(); got.State != Waiting || !slices.Equal(got.RestartedLast, []string{agentUnit}) {
			t.Fatalf("%s, %v", got.State, got.RestartedLast)
		}
		p.restart = nil
		if err := r.TakeOver(r.ctx(), id, "the supervisor was gone"); err != nil {
			t.Fatal(err)
		}
		if order := r.host.order("restore", "restart last"); !slices.Equal(order, []string{"restart last", "restore", "restart last"}) {
			t.Errorf("order %v", order)
		}
		r.on(oldPath)
	})
	t.Run("it does not start again", func(t *testing.T) {
		r := newRig(t)
		r.Engine.Prover = &prover{host: r.host, restart: func(context.Context, Record) ([]string, error) { return nil, errBroken }}
		r.put(RollingBack, func(now *Record) { now.Alone, now.RestartedLast = &Alone{}, []string{agentUnit} })
		if err := r.drive(r.ctx(), id); err != nil {
			t.Fatal(err)
		}
		if got := r.load(); got.State != RollbackFailed || !strings.Contains(strings.Join(got.Notes, "\n"), errBroken.Error()) {
			t.Errorf("%s: %q", got.State, got.Notes)
		}
	})
	t.Run("the host has booted since, and only what runs tells which system", func(t *testing.T) {
		r := newRig(t)
		r.Engine.Prover = &prover{host: r.host}
		r.put(RollingBack, func(now *Record) {
			now.Alone, now.RestartedLast, now.Restarted = &Alone{}, []string{agentUnit}, true
		})
		if err := r.drive(r.ctx(), id); err != nil {
			t.Fatal(err)
		}
		if got := r.load(); got.State != RolledBack || r.host.called("restart last") != 1 || r.host.called("restore") != 0 {
			t.Errorf("%s after %v", got.State, r.host.calls)
		}
	})
}

// A restart that fails is a verdict, unless a probe knows the unit better.
func TestARestartThatFails(t *testing.T) {
	fails := func(context.Context, Record) ([]string, error) { return nil, errBroken }
	t.Run("and nobody judges it", func(t *testing.T) {
		p := &prover{proof: local}
		p.restart = func(ctx context.Context, r Record) ([]string, error) {
			if p.host.called("restore") > 0 {
				return nil, nil
			}
			return fails(ctx, r)
		}
		r := alone(t, p, agentLast, func(p *Plan) { p.Probes = nil })
		if got := r.untilState(RolledBack); got.Cause != ActivationFailed || !strings.Contains(got.Reason, errBroken.Error()) || len(got.RestartedLast) != 1 {
			t.Errorf("%q: %s; %v", got.Cause, got.Reason, got.RestartedLast)
		}
	})
	t.Run("and a probe judges it", func(t *testing.T) {
		r := alone(t, &prover{proof: local, restart: fails}, agentLast)
		if got := r.untilState(Committed); !strings.Contains(strings.Join(got.Notes, "\n"), errBroken.Error()) {
			t.Errorf("notes %q", got.Notes)
		}
	})
	t.Run("since there was nothing to restart", func(t *testing.T) {
		r := alone(t, &prover{proof: local, restart: func(context.Context, Record) ([]string, error) { return nil, nil }}, agentLast)
		if got := r.untilState(Committed); len(got.RestartedLast) != 0 {
			t.Errorf("restarted %v", got.RestartedLast)
		}
	})
}

// A person may still decide, until the host has.
func TestAPersonDecidesWhileTheHostProves(t *testing.T) {
	for name, c := range map[string]struct {
		decide func(*rig) error
		want   State
		system string
	}{
		"abort":   {func(r *rig) error { _, err := r.Abort(r.ctx(), id, PersonAborted, "no", nil); return err }, RolledBack, oldPath},
		"confirm": {func(r *rig) error { _, err := r.Confirm(r.ctx(), id, nil); return err }, Committed, newPath},
	} {
		t.Run(name, func(t *testing.T) {
			hang, began := entered()
			r := alone(t, &prover{proof: shut, hang: hang})
			r.awaitStep(began)
			if err := c.decide(r); err != nil {
				t.Fatal(err)
			}
			if got := r.untilState(c.want); got.Proof != nil {
				t.Errorf("what came too late was recorded: %v", got.Proof)
			}
			r.on(c.system)
		})
	}
	t.Run("before what comes last", func(t *testing.T) {
		hang, began := entered()
		r := alone(t, &prover{proof: local, hang: hang}, agentLast)
		r.awaitStep(began)
		if _, err := r.Confirm(r.ctx(), id, nil); err == nil {
			t.Error("confirmed, although the agent was not restarted")
		}
	})
}

// Every deadline holds, and a proof that does not end leaves time to decide.
func TestAHostThatCannotDecideGoesBack(t *testing.T) {
	hang, began := entered()
	r := alone(t, &prover{proof: witnessed, hang: hang})
	r.awaitStep(began)
	r.clock.advance(limits.Confirm)
	if got := r.untilState(RolledBack); got.Cause != NobodyConfirmed || got.Cause.Rejects() || !strings.Contains(got.Reason, "could not judge and prove") {
		t.Errorf("%q: %s", got.Cause, got.Reason)
	}
	r.on(oldPath)
}

func TestTheProofLeavesTimeForWhatFollows(t *testing.T) {
	r := newRig(t)
	record := Record{Alone: &Alone{RestartLast: []string{agentUnit}}, Probes: []probe.Spec{probe.Defaults(probe.KindHercules)}}
	needs := record.Alone.Needs(record.Probes)
	if (&Alone{}).Needs(record.Probes) != 0 || needs <= probe.LongestDeadline(record.Probes) {
		t.Errorf("needs %v", needs)
	}
	record.ConfirmBy = r.clock.Now().Add(needs + time.Minute*4)
	if got := r.proofTime(record); got <= 0 || needs+4*time.Minute-got < needs {
		t.Errorf("of %v it has %v, and what follows needs %v", needs+4*time.Minute, got, needs)
	}
	record.ConfirmBy = r.clock.Now().Add(time.Minute)
	if got := r.proofTime(record); got < 20*time.Second || got > 30*time.Second {
		t.Errorf("of a minute it has %v", got)
	}
}

// Somebody else's switch is left alone, and no deployer is waited for after a rollback.
func TestAloneAsWithADeployer(t *testing.T) {
	t.Run("superseded", func(t *testing.T) {
		p := &prover{proof: witnessed}
		p.hang = func(context.Context, Record) error { p.host.run(elsePath); return nil }
		r := alone(t, p)
		r.untilState(Superseded)
		if r.host.called("commit")+r.host.called("restore") != 0 {
			t.Errorf("calls %v", r.host.calls)
		}
	})
	t.Run("nobody is expected", func(t *testing.T) {
		r := proving(t, &prover{proof: shut})
		r.Engine.Reboot = func(context.Context, Record) error { t.Error("rebooted"); return nil }
		r.decide(func(p *Plan) { p.LastResort = Restart })
		if got := r.untilState(RolledBack); got.SeeBy != 0 {
			t.Error("a host that nobody deploys to waits for a deployer")
		}
	})
	t.Run("restarted in the middle", func(t *testing.T) {
		hang, began := entered()
		r := alone(t, &prover{proof: witnessed, hang: hang})
		r.awaitStep(began)
		r.kill()
		_ = r.supervised()
		r.clock.reboot("boot-2")
		r.host.run(oldPath)
		if got, err := r.settle(); err != nil || got.State != RolledBack || got.Cause != HostRestarted {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestWishesOfADeployerThatAreRefused(t *testing.T) {
	many := slices.Repeat([]string{"root"}, 200)
	for name, a := range map[string]Alone{
		"an option as a user":      {Question: reach.Question{Users: []string{"-oX"}}},
		"no user":                  {Question: reach.Question{Users: []string{""}}},
		"a user of two lines":      {Question: reach.Question{Users: []string{"a\nb"}}},
		"too many users":           {Question: reach.Question{Users: many}},
		"another scheme":           {Question: reach.Question{Outward: []string{"http://example.org"}}},
		"a path":                   {Question: reach.Question{Outward: []string{"https://example.org/a"}}},
		"a password":               {Question: reach.Question{Outward: []string{"https://a:b@example.org"}}},
		"a query":                  {Question: reach.Question{Outward: []string{"https://example.org?"}}},
		"no port":                  {Question: reach.Question{Outward: []string{"https://example.org:70000"}}},
		"no name":                  {Question: reach.Question{Outward: []string{"https://"}}},
		"an option as a name":      {Question: reach.Question{Outward: []string{"https://-x"}}},
		"a witness of two lines":   {Question: reach.Question{Witness: "a\nb"}},
		"an odd choice":            {OnUnknown: "never"},
		"an option as a unit":      {RestartLast: []string{"--force"}},
		"a unit without a suffix":  {RestartLast: []string{"agent"}},
		"a pattern":                {RestartLast: []string{"*.service"}},
		"too many units":           {RestartLast: many},
		"too many things to reach": {Question: reach.Question{Outward: many}},
	} {
		if err := a.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	good := Alone{Question: reach.Question{Users: []string{"root", "ci_bot$"}, Outward: []string{"https://hercules-ci.com", "https://a.example:8443/"}, Witness: "web-2"},
		OnUnknown: reach.Commit, RestartLast: []string{agentUnit}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
