package transaction

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles"
)

// of returns the path of a system by a letter, and generation one of the profile.
func of(letter string) string {
	return "/nix/store/" + strings.Repeat(letter, 32) + "-nixos-system"
}

func generations(letters string) []profiles.Generation {
	var all []profiles.Generation
	for i, letter := range letters {
		all = append(all, profiles.Generation{Number: i + 1, Path: of(string(letter))})
	}
	slices.Reverse(all)
	return all
}

func hasEnded(action Action, letter string, state State, cause Cause) Record {
	return Record{ID: "abcd1234" + letter, Action: action, New: of(letter), State: state, Cause: cause}
}

func commit(letter string) Record { return hasEnded(Switch, letter, Committed, "") }

func back(to, from string) Record {
	r := hasEnded(Rollback, to, Committed, "")
	r.Rejects = of(from)
	return r
}

// Systems are letters; a history begins with the newest.
func TestBackChooses(t *testing.T) {
	for _, c := range []struct {
		name        string
		generations string
		at          int // the profile's generation
		running     string
		history     []Record
		rooted      string // systems that roots keep as confirmed
		gone        string // systems that are not on the host any more
		want        string // empty for none
		generation  int
		verdict     Verdict
		skipped     string
	}{
		{name: "the one before", generations: "abc", at: 3, running: "c", history: []Record{commit("c"), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
		{name: "not what was just left", generations: "abcb", at: 4, running: "b", history: []Record{back("b", "c"), commit("c"), commit("b"), commit("a")},
			want: "a", generation: 1, verdict: Confirmed, skipped: "c"},
		{name: "not what failed since", generations: "abc", at: 3, running: "c",
			history: []Record{hasEnded(Switch, "b", RolledBack, ProbeFailed), commit("c"), commit("b"), commit("a")}, want: "a", generation: 1, verdict: Confirmed, skipped: "b"},
		{name: "but what only met silence", generations: "abc", at: 3, running: "c",
			history: []Record{hasEnded(Switch, "b", RolledBack, NobodyConfirmed), commit("c"), commit("b"), commit("a")}, want: "b", generation: 2, verdict: Confirmed},
		{name: "not what was collected", generations: "abc", at: 3, running: "c", history: []Record{commit("c"), commit("b"), commit("a")}, gone: "b",
			want: "a", generation: 1, verdict: Confirmed, skipped: "b"},
		{name: "kept by its root alone", generations: "c", at: 1, running: "c", history: []Record{commit("c"), commit("b")}, want: "b", verdict: Confirmed},
		{name: "deployed again in between", generations: "aba", at: 3, running: "a", history: []Record{commit("a"), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
		{name: "after a rollback by other means", generations: "ab", at: 1, running: "a", history: []Record{commit("b"), commit("a")}, want: ""},
		{name: "after a rollback by other means, with an older one", generations: "xab", at: 2, running: "a", history: []Record{commit("b"), commit("a")},
			want: "x", generation: 1, verdict: NotDecided},
		{name: "no history", generations: "abc", at: 3, running: "c", want: "b", generation: 2, verdict: NotDecided},
		{name: "no history, and the newest below is the same", generations: "acc", at: 3, running: "c", want: "a", generation: 1, verdict: NotDecided},
		{name: "no history, and the newest below is gone", generations: "abc", at: 3, running: "c", gone: "b", want: "a", generation: 1, verdict: NotDecided, skipped: "b"},
		{name: "a history that begins with what runs", generations: "abc", at: 3, running: "c", history: []Record{commit("c")}, want: "b", generation: 2, verdict: NotDecided},
		{name: "unproven, and rejected", generations: "abc", at: 3, running: "c", history: []Record{hasEnded(Switch, "b", RolledBack, ActivationFailed)},
			want: "a", generation: 1, verdict: NotDecided, skipped: "b"},
		{name: "a history that a boot took", generations: "abc", at: 3, running: "c", rooted: "ca", want: "a", generation: 1, verdict: Confirmed},
		{name: "a history that a boot took, and what it confirmed is gone", generations: "abc", at: 3, running: "c", rooted: "ca", gone: "a", want: "b", generation: 2, verdict: NotDecided, skipped: "a"},
		{name: "a history that a boot took, and what came since", generations: "axb", at: 3, running: "b", rooted: "ba", history: []Record{commit("b")}, want: "a", generation: 1, verdict: Confirmed},
		{name: "roots say less than a history", generations: "ab", at: 1, running: "a", rooted: "ba", history: []Record{commit("b"), commit("a")}, want: ""},
		{name: "one generation", generations: "a", at: 1, running: "a", want: ""},
		{name: "a test of another system", generations: "ab", at: 2, running: "t", history: []Record{hasEnded(Test, "t", Committed, ""), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
		{name: "a test of an older system", generations: "ab", at: 2, running: "a", history: []Record{hasEnded(Test, "a", Committed, ""), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
		{name: "a test by another tool", generations: "ab", at: 2, running: "t", want: "b", generation: 2, verdict: NotDecided},
		{name: "a system that waits for the next boot", generations: "abc", at: 3, running: "b", history: []Record{hasEnded(Boot, "c", Committed, ""), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
		{name: "one that another tool left waiting", generations: "abc", at: 3, running: "b", want: "b", generation: 2, verdict: NotDecided},
		{name: "a failed system that was kept", generations: "ab", at: 2, running: "k", history: []Record{hasEnded(Switch, "k", Kept, ProbeFailed), commit("b"), commit("a")},
			want: "b", generation: 2, verdict: Confirmed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := standing(c.generations, c.at, c.running, c.history, c.gone)
			for _, letter := range c.rooted {
				s.Rooted = append(s.Rooted, of(string(letter)))
			}
			got, err := s.Back()
			if (c.want == "") != (err != nil) {
				t.Fatalf("got %+v, %v", got, err)
			}
			skipped := ""
			for _, passed := range got.Skipped {
				skipped += passed.System[len("/nix/store/") : len("/nix/store/")+1]
				if passed.Why == "" {
					t.Errorf("no reason for %s", passed.System)
				}
			}
			if skipped != c.skipped {
				t.Errorf("passed over %q, not %q", skipped, c.skipped)
			}
			if c.want == "" {
				return
			}
			if got.System != of(c.want) || got.Generation != c.generation || got.Verdict != c.verdict {
				t.Errorf("got %+v", got)
			}
			if (got.Proof != nil) != (c.verdict == Confirmed && c.rooted == "") || got.Proof != nil && got.Proof.New != got.System {
				t.Errorf("the proof is %+v", got.Proof)
			}
		})
	}
}

func standing(all string, at int, running string, history []Record, gone string) Standing {
	s := Standing{Running: of(running), Generations: generations(all), History: history}
	for _, g := range s.Generations {
		if g.Number == at {
			s.At = g
		}
	}
	s.Sound = func(system string) error {
		for _, letter := range gone {
			if system == of(string(letter)) {
				return errors.New("collected")
			}
		}
		return nil
	}
	return s
}

func TestNamedTargets(t *testing.T) {
	s := standing("abc", 3, "c", []Record{hasEnded(Switch, "b", RolledBack, ProbeFailed), commit("c"), commit("a")}, "d")
	for _, c := range []struct {
		to      string
		system  string
		number  int
		verdict Verdict
		says    string
	}{
		{to: "1", system: "a", number: 1, verdict: Confirmed},
		{to: "2", system: "b", number: 2, verdict: Rejected},
		{to: of("f"), system: "f", verdict: NotDecided},
		{to: "4", says: "no generation 4"},
		{to: "-1", says: "no generation -1"},
		{to: of("d"), says: "collected"},
		{to: "/etc", says: "neither the number of a generation nor a store path"},
	} {
		got, err := s.Named(c.to)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %+v, %v", c.to, got, err)
			}
			continue
		}
		if err != nil || got.System != of(c.system) || got.Generation != c.number || got.Verdict != c.verdict {
			t.Errorf("%s: %+v, %v", c.to, got, err)
		}
	}
}

func TestConfirmedInTheOrderOfTheirLastConfirmation(t *testing.T) {
	for _, c := range []struct {
		name    string
		history []Record
		want    []string
	}{
		{"nothing", nil, nil},
		{"forth", []Record{commit("c"), commit("b"), commit("a")}, []string{of("c"), of("b"), of("a")}},
		{"forth and back", []Record{back("b", "c"), commit("c"), commit("b"), commit("a")}, []string{of("b"), of("a")}},
		{"and forth again", []Record{commit("c"), back("b", "c"), commit("c"), commit("b")}, []string{of("c"), of("b")}},
		{"silence in between", []Record{hasEnded(Switch, "b", RolledBack, NobodyConfirmed), commit("c"), commit("b")}, []string{of("c"), of("b")}},
		{"neither tested nor staged", []Record{hasEnded(Test, "t", Committed, ""), hasEnded(Boot, "u", Committed, ""), commit("a")}, []string{of("a")}},
	} {
		if got := ConfirmedIn(c.history); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestAFreezeDoesNotStopARollbackByItsOwner(t *testing.T) {
	f := &Freeze{Owner: "ann@laptop"}
	for _, c := range []struct {
		freeze   *Freeze
		action   Action
		deployer string
		want     bool
	}{
		{nil, Switch, "bob@desk", false},
		{f, Switch, "ann@laptop", true},
		{f, Rollback, "ann@laptop", false},
		{f, Rollback, "bob@desk", true},
	} {
		if got := c.freeze.Stops(c.action, c.deployer); got != c.want {
			t.Errorf("%v %s by %s: %v", c.freeze, c.action, c.deployer, got)
		}
	}
}

func TestValidIDPrefix(t *testing.T) {
	for prefix, want := range map[string]bool{"abcd": true, "abcd1234abcd1234": true, "abc": false, "": false, "../abcd": false, "ABCD": false} {
		if got := ValidIDPrefix(prefix); got != want {
			t.Errorf("%q: %v", prefix, got)
		}
	}
}
