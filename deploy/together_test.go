package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// several is a host with its system, a home and an app.
func several(r *run) *hostRun {
	h := hosts.NewHost("web1")
	h.Profiles = append(h.Profiles,
		hosts.Profile{Name: "home", Kind: hosts.KindHomeManager, User: "ann", Attribute: "a", Timeouts: h.Timeouts},
		hosts.Profile{Name: "app", Kind: hosts.KindCustom, User: "root", Attribute: "b", Timeouts: h.Timeouts})
	return newHostRuns(r, h)
}

func TestProfilesOfAHost(t *testing.T) {
	lead := several(&run{})
	var keys []string
	for _, p := range lead.all() {
		keys = append(keys, p.key()+" "+p.Attribute+" "+p.kind())
	}
	want := []string{"web1 nixosConfigurations.web1.config.system.build.toplevel nixos", "web1:home a home-manager", "web1:app b custom"}
	if !slices.Equal(keys, want) || lead.of != nil || lead.later[0].of == nil {
		t.Errorf("the profiles are %q", keys)
	}
	if only := several(&run{Request: Request{Goal: GoalPush}}); len(only.later) != 0 {
		t.Error("what is pushed is the system alone")
	}
	for _, action := range []transaction.Action{transaction.Boot, transaction.Test, transaction.Reboot} {
		if only := several(&run{Request: Request{Action: action}}); len(only.later) != 0 || only.of != nil {
			t.Errorf("%s is for the system alone, and not for %d more", action, len(only.later))
		}
	}
	wrapped := hosts.Profile{Name: "system", Kind: hosts.KindDeployRs, User: "root"}
	if other := (hosts.Profile{Name: "site", Kind: hosts.KindDeployRs, User: "root"}); !isSystem(wrapped) || isSystem(other) {
		t.Error("the system of deploy-rs is root's profile of that name")
	}
}

// An earlier one must not go back while a later one is still in its trial, and a later
// one not while an earlier one is being committed.
func TestProfilesWaitForEachOther(t *testing.T) {
	lead := several(&run{})
	joint := &together{lead: lead, runs: lead.all()}
	joint.share()
	l := lead.Timeouts
	trial := l.Activation + l.Confirm + beginSlack
	for i, want := range []time.Duration{2 * trial, trial + l.Commit, 2 * l.Commit} {
		if got := joint.runs[i].longer; got != want {
			t.Errorf("profile %d waits %v longer, not %v", i, got, want)
		}
	}
	joint.share()
	if joint.runs[0].longer != 2*trial {
		t.Error("the time grows with each look")
	}
}

func TestOutcomeOfSeveralProfiles(t *testing.T) {
	rolledBack := &Failure{Host: "web1", Step: "trial", Word: RolledBack, Code: CodeRolledBack, Cause: errors.New("because of another")}
	cause := &Failure{Host: "web1", Step: "trial", Word: RolledBack, Code: CodeRolledBack, Cause: errors.New("the cause")}
	lost := &Failure{Host: "web1", Step: "follow", Word: Unknown, Code: CodeLookNow, Cause: errors.New("lost")}
	for name, c := range map[string]struct {
		words    [3]Word
		failures [3]*Failure
		blamed   int
		want     Word
		says     string
	}{
		"all committed":     {words: [3]Word{Committed, Committed, Committed}, want: Committed},
		"one differed":      {words: [3]Word{Unchanged, Unchanged, Committed}, want: Committed},
		"nothing to do":     {words: [3]Word{Unchanged, Unchanged, Unchanged}, want: Unchanged},
		"a later one fails": {failures: [3]*Failure{rolledBack, rolledBack, cause}, blamed: 2, want: RolledBack, says: "the cause"},
		"one is lost":       {failures: [3]*Failure{rolledBack, lost, cause}, blamed: 2, want: Unknown, says: "lost"},
		"not contacted":     {failures: [3]*Failure{lost}, want: Unknown, says: "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			lead := several(&run{})
			for i, p := range lead.all() {
				if c.words[i] != "" {
					p.done(c.words[i], CodeOK)
				}
				p.failure = c.failures[i]
			}
			lead.blamed = lead.all()[c.blamed]
			o := lead.finishAll(context.Background())
			if o.Outcome != string(c.want) || len(o.Profiles) != 3 || (o.Failure != nil) != (c.says != "") {
				t.Fatalf("the outcome is %+v", o)
			}
			if o.Failure != nil && !strings.Contains(o.Failure.Cause, c.says) {
				t.Errorf("the cause is %q", o.Failure.Cause)
			}
		})
	}
}

func TestOwnerOfAllProfilesNeedsNoRoot(t *testing.T) {
	host := func(user string, profiles ...hosts.Profile) *hostRun {
		h := hosts.NewHost("web1")
		h.User, h.Elevation, h.Profiles = user, []string{"sudo", "-n", "--"}, profiles
		return newHostRuns(&run{}, h)
	}
	home := hosts.Profile{Name: "home", Kind: hosts.KindHomeManager, User: "ann"}
	for name, c := range map[string]struct {
		h   *hostRun
		own bool
	}{
		"her home":             {host("ann", home), true},
		"somebody else's":      {host("bob", home), false},
		"the system beside it": {host("ann", hosts.Profile{Name: "system", Kind: hosts.KindNixOS, User: "root"}, home), false},
		"root's own":           {host("root", hosts.Profile{Name: "app", Kind: hosts.KindCustom, User: "root"}), false},
	} {
		if c.h.own != c.own || c.own != (len(c.h.Elevation) == 0) {
			t.Errorf("%s: without root is %v, elevation %q", name, c.h.own, c.h.Elevation)
		}
	}
	h := host("ann", home)
	h.facts.OfProfile = &protocol.ProfileFacts{Lingers: true}
	if h.needsRoot() || !h.own {
		t.Error("a user who lingers needs no root")
	}
	h.facts.OfProfile.Lingers = false
	if !h.needsRoot() || h.own || len(h.Elevation) == 0 {
		t.Error("a user who does not linger needs it")
	}
}

func TestChooseAProfile(t *testing.T) {
	for name, want := range map[string]string{"": "system", "home": "home", "none": ""} {
		h := newHostRun(&run{}, several(&run{}).Host)
		err := h.choose(name)
		if h.profile.Name != want || (want == "") != (err != nil) {
			t.Errorf("%q: chose %q, %v", name, h.profile.Name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "one of: system, home, app") {
			t.Error(err)
		}
	}
}
