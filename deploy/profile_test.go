package deploy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// two is a host with its system and a profile of ann's.
func two(t *testing.T, goal Goal) (lead, home *hostRun) {
	t.Helper()
	h := hosts.NewHost("web1")
	h.Profiles = append(h.Profiles, hosts.Profile{Name: "home", Kind: hosts.KindHomeManager, User: "ann"})
	request := Request{Goal: goal, Action: transaction.Switch, Hosts: []hosts.Host{h}}
	lead = newHostRuns(&run{Request: request}, h)
	if len(lead.later) != 1 {
		t.Fatalf("%d later profiles", len(lead.later))
	}
	for _, p := range lead.all() {
		p.facts, p.system = web1(t).facts, web1(t).system
	}
	return lead, lead.later[0]
}

// A host that was not reached cannot build for its other profiles either.
func TestNothingIsBuiltForAHostOfWhichAProfileFailed(t *testing.T) {
	for range 2 {
		lead, home := two(t, GoalTransact)
		other, _ := two(t, GoalTransact)
		for _, p := range []*hostRun{lead, home} {
			p.failure = nil
			p.fail(errors.New("not reached"))
			if got := unfailed([]*hostRun{lead, other}); !slices.Equal(got, []*hostRun{other}) {
				t.Errorf("%d hosts are built for", len(got))
			}
			p.failure = nil
		}
	}
}

// The failure of a later profile is the host's, and no other profile ends without an
// outcome.
func TestALaterProfileFailsBeforeTheDeployment(t *testing.T) {
	lead, home := two(t, GoalTransact)
	home.fail(refused("web1", "build", "nix log", "the builder failed"))
	lead.run.deploy(t.Context(), []*hostRun{lead})
	o := lead.finishAll(t.Context())
	if o.Outcome != string(Refused) || o.Failure == nil || o.Failure.Step != "build" || len(o.Profiles) != 2 {
		t.Fatalf("got %+v", o)
	}
	for _, p := range o.Profiles {
		if p.Failure == nil || p.Failure.Step != "build" {
			t.Errorf("profile %s: %+v", p.Profile, p.Failure)
		}
	}
}

func TestADryRunOfSeveralProfilesCopiesNothing(t *testing.T) {
	lead, home := two(t, GoalTransact)
	lead.run.DryRun = true
	lead.run.Events = func(e event.Event) {
		if e.Type == "phase" && e.Phase == event.Copy && e.Step.Status == event.Started {
			t.Error("it copies")
		}
	}
	home.system.OutPath = t.TempDir()
	for _, p := range lead.all() {
		p.place = &place{host: p} // whose size nobody asks for
	}
	if err := lead.deployAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range lead.all() {
		if p.outcome == nil || p.outcome.Outcome != string(Previewed) {
			t.Errorf("profile %s: %+v", p.profile.Name, p.outcome)
		}
	}
}

// A host without a system of its own is rebooted as a machine: what its profile is says
// nothing about the kernel.
func TestARebootIsOfTheMachine(t *testing.T) {
	h := hosts.NewHost("web1")
	h.Profiles = []hosts.Profile{{Name: "home", Kind: hosts.KindHomeManager, User: "ann"}}
	for goal, want := range map[Goal]bool{GoalReboot: true, GoalTransact: false, GoalPush: false} {
		if lead := newHostRuns(&run{Request: Request{Goal: goal}}, h); (lead.of == nil) != want {
			t.Errorf("goal %v is about %+v", goal, lead.of)
		}
	}
}

// What is to be typed next names the profile whose transaction it is.
func TestTheNextCommandNamesTheProfile(t *testing.T) {
	lead, home := two(t, GoalTransact)
	for h, want := range map[*hostRun]string{lead: "hdeploy attach web1 abcd1234", home: "hdeploy attach web1 --profile home abcd1234"} {
		h.facts.Transaction = &protocol.Status{ID: "abcd1234", State: transaction.Waiting}
		refusal(t, h.checkHost(), "lock", want)
	}
	home.run.Action = transaction.Rollback
	if got := home.again(); got != "hdeploy rollback web1 --profile home" {
		t.Errorf("got %q", got)
	}
}

func TestProfilesAreNotActivatedForASystemThatIsOnlyBooted(t *testing.T) {
	lead, _ := two(t, GoalTransact)
	if err := lead.bootedApart(); err != nil {
		t.Fatal(err)
	}
	lead.bootInstead = "switch inhibitors differ"
	var f *Failure
	if err := lead.bootedApart(); !errors.As(err, &f) || f.Code != CodeRefused || !strings.Contains(f.Cause.Error(), "inhibitors") {
		t.Errorf("got %v", err)
	}
}

// A host whose system comes from elsewhere has none in the flake to be asked for.
func TestOnlySystemsThatAreDeployedAreAskedFor(t *testing.T) {
	whole, homes := hosts.NewHost("web1"), hosts.NewHost("web2")
	homes.Profiles = []hosts.Profile{{Name: "home", Kind: hosts.KindHomeManager, User: "ann"}}
	if got := systemsOf([]hosts.Host{whole, homes}); len(got) != 1 || got[0].Host != "web1" {
		t.Errorf("asked for %+v", got)
	}
}
