package transaction

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// moves is the whole machine, written a second time: state, event, next state.
var moves = map[State]map[Event]State{
	Prepared:       {Begin: Trying, Abort: RollingBack, Supersede: Superseded},
	Trying:         {Activated: Waiting, Abort: RollingBack, Supersede: Superseded},
	Waiting:        {Confirm: Committing, Abort: RollingBack, Supersede: Superseded, Keep: Kept},
	Committing:     {Confirm: Committing, CommitDone: Committed, Abort: RollingBack, Supersede: Superseded},
	RollingBack:    {Abort: RollingBack, RestoreDone: RolledBack, RestoreFails: RollbackFailed, Supersede: Superseded},
	Committed:      {Confirm: Committed},
	RolledBack:     {Abort: RolledBack},
	RollbackFailed: {Abort: RollbackFailed},
}

func TestEveryPairOfStateAndEventIsDefinedOrRefused(t *testing.T) {
	const wantDefined, wantRefused = 21, 69
	defined, refused := 0, 0
	for _, s := range States {
		for _, e := range Events {
			next, err := Next(s, e)
			want, ok := moves[s][e]
			switch {
			case ok && (err != nil || next != want):
				t.Errorf("%s in %s: got %s, %v; want %s", e, s, next, err, want)
			case !ok && !errors.Is(err, ErrRefused):
				t.Errorf("%s in %s: got %s, %v; want a refusal", e, s, next, err)
			case !ok && next != s:
				t.Errorf("%s in %s was refused and moved to %s", e, s, next)
			}
			if err == nil {
				defined++
			} else {
				refused++
			}
		}
	}
	if defined != wantDefined || refused != wantRefused {
		t.Errorf("%d states x %d events: %d defined, %d refused; want %d and %d", len(States), len(Events), defined, refused, wantDefined, wantRefused)
	}
}

func TestTableNamesOnlyDeclaredStatesAndEvents(t *testing.T) {
	for s, row := range table {
		if !slices.Contains(States[:], s) {
			t.Errorf("row of the undeclared state %q", s)
		}
		for e, next := range row {
			if !slices.Contains(Events[:], e) || !slices.Contains(States[:], next) {
				t.Errorf("%s: %q leads to %q, one of them undeclared", s, e, next)
			}
		}
	}
	for _, s := range States {
		if _, ok := table[s]; !ok {
			t.Errorf("no row for %s", s)
		}
	}
	if _, err := Next("bogus", Abort); !errors.Is(err, ErrRefused) {
		t.Errorf("a state nobody declared: %v", err)
	}
}

func TestFinalStatesHaveNoWayOut(t *testing.T) {
	finals := []State{Committed, RolledBack, RollbackFailed, Superseded, Kept}
	for _, s := range States {
		if s.Final() != slices.Contains(finals, s) {
			t.Errorf("Final(%s) = %v", s, s.Final())
		}
		for _, e := range Events {
			if next, err := Next(s, e); s.Final() && err == nil && next != s {
				t.Errorf("%s leaves the final state %s for %s", e, s, next)
			}
		}
	}
}

func TestEveryStateThatIsNotFinalHasAWayBack(t *testing.T) {
	for _, s := range States {
		if s.Final() {
			continue
		}
		if next, err := Next(s, Abort); err != nil || next != RollingBack {
			t.Errorf("abort in %s: %s, %v", s, next, err)
		}
		if next, err := Next(s, Supersede); err != nil || next != Superseded {
			t.Errorf("supersede in %s: %s, %v", s, next, err)
		}
	}
}

// arrivals lists the moves into a state from another one.
func arrivals(to State) []string {
	var found []string
	for _, s := range States {
		for _, e := range Events {
			if next, err := Next(s, e); err == nil && next == to && s != to {
				found = append(found, fmt.Sprintf("%s -%s->", s, e))
			}
		}
	}
	return found
}

func TestOnlyAConfirmationLeadsToACommit(t *testing.T) {
	for to, want := range map[State]string{
		Committing: "waiting -confirm->",
		Committed:  "committing -commit-done->",
		RolledBack: "rolling-back -restore-done->",
		Waiting:    "trying -activated->",
		Trying:     "prepared -begin->",
	} {
		if got := arrivals(to); len(got) != 1 || got[0] != want {
			t.Errorf("%s is reached by %v, want only %q", to, got, want)
		}
	}
	if got := arrivals(Prepared); got != nil {
		t.Errorf("prepared is reached by %v", got)
	}
}

func TestInstant(t *testing.T) {
	if got := Instant(5).Add(3); got != 8 {
		t.Errorf("5+3 = %d", got)
	}
	if got := Instant(5).Until(2); got != -3 {
		t.Errorf("from 5 until 2 = %d", got)
	}
}

func TestLimitsMustEndEveryState(t *testing.T) {
	if err := limits.Validate(); err != nil {
		t.Errorf("good limits: %v", err)
	}
	if got := limits.Total(); got != limits.Activation+limits.Confirm+limits.Commit+limits.Rollback+limits.Grace {
		t.Errorf("total %v", got)
	}
	for name, change := range map[string]func(*Limits){
		"activation": func(l *Limits) { l.Activation = 0 },
		"confirm":    func(l *Limits) { l.Confirm = -1 },
		"commit":     func(l *Limits) { l.Commit = 0 },
		"rollback":   func(l *Limits) { l.Rollback = 25 * 3600e9 },
		"grace":      func(l *Limits) { l.Grace = 0 },
	} {
		l := limits
		change(&l)
		if err := l.Validate(); err == nil {
			t.Errorf("%s without an end was accepted", name)
		}
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"abcd1234": true, "0123456789abcdefghijklmnopqrstuv": true,
		"": false, "abc": false, "ABCD1234": false, "abcd1234/": false, "../../etc": false,
		"abcd-1234": false, "abcd1234\n": false, "0123456789abcdefghijklmnopqrstuvw": false,
		"abcd 1234": false, "abcd1234.service": false, "äbcd12345": false,
	} {
		if ValidID(id) != want {
			t.Errorf("ValidID(%q) = %v", id, !want)
		}
	}
}

func TestTheFirstReasonStays(t *testing.T) {
	var r Record
	r.because(ProbeFailed, "the %s", "cause")
	r.because(Disturbed, "a consequence")
	if r.Reason != "the cause" {
		t.Errorf("reason %q", r.Reason)
	}
}
