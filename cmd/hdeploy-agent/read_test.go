package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	older = "/nix/store/00000000000000000000000000000000-older"
	newer = "/nix/store/11111111111111111111111111111111-newer"
)

// still is a host of which nothing but what runs and boots is known.
type still struct {
	transaction.Host
	running, boots string
}

func (s still) Look(string) (string, profiles.Generation, error) {
	return s.running, profiles.Generation{}, nil
}
func (s still) Boots() (string, error)             { return s.boots, nil }
func (s still) Armed(context.Context, string) bool { return false }

// readAgent is an agent on a host with transactions, oldest first.
func readAgent(t *testing.T, records ...transaction.Record) agent {
	t.Helper()
	a := testAgent(t)
	a.engine.Host = still{running: newer, boots: older}
	dir := filepath.Join(a.engine.Store.Dir, "history")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		r.Number, r.ID = uint64(i+1), fmt.Sprintf("past%04d", i+1)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%010d-%s.json", r.Number, r.ID)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func answer[T any](t *testing.T, a agent, method, params string, on func(any) error) T {
	t.Helper()
	if on == nil {
		on = func(any) error { return nil }
	}
	got, err := a.handle(t.Context(), method, json.RawMessage(params), on)
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	result, ok := got.(T)
	if !ok {
		t.Fatalf("%s: %T", method, got)
	}
	return result
}

func refusedWith(t *testing.T, a agent, method, params string, code string, words ...string) {
	t.Helper()
	_, err := a.handle(t.Context(), method, json.RawMessage(params), func(any) error { return nil })
	var said *protocol.Error
	if !errors.As(err, &said) || said.Code != code {
		t.Errorf("%s %s: %v, want %s", method, params, err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(said.Message, word) {
			t.Errorf("%s %s: %q does not say %q", method, params, said.Message, word)
		}
	}
}

func TestGenerationsAreMarked(t *testing.T) {
	m := marking{
		history: []transaction.Record{
			{ID: "past0002", New: newer, State: transaction.RolledBack, Cause: transaction.ProbeFailed},
			{ID: "past0001", New: older, State: transaction.Committed, Deployer: "ann@desk", Revision: "abc", Dirty: true},
		},
		current: profiles.Generation{Link: "system-2-link"}, running: newer, boots: older, good: older,
	}
	dated := func(number int, path string) profiles.Dated {
		return profiles.Dated{Generation: profiles.Generation{Link: fmt.Sprintf("system-%d-link", number), Number: number, Path: path}}
	}
	got := m.all([]profiles.Dated{dated(3, older), dated(2, older), dated(1, "/nix/store/22222222222222222222222222222222-first")})
	if len(got) != 4 {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	if g := got[0]; g.Boots || g.LastKnownGood || g.Verdict != transaction.Confirmed || g.Deployer != "ann@desk" || g.Revision != "abc" || !g.Dirty || g.Transaction != "past0001" {
		t.Errorf("another generation of the same system: %+v", g)
	}
	if g := got[1]; !g.Current || !g.Boots || !g.LastKnownGood || g.Running {
		t.Errorf("the one that the profile points at: %+v", g)
	}
	if g := got[2]; g.Verdict != transaction.NotDecided || g.Deployer != "" || g.Running || g.Boots {
		t.Errorf("the first: %+v", g)
	}
	if g := got[3]; g.Number != 0 || !g.Running || g.Path != newer || g.Verdict != transaction.Rejected {
		t.Errorf("what runs without being a generation: %+v", g)
	}
}

func TestHistoryIsToldNewestFirst(t *testing.T) {
	a := readAgent(t,
		transaction.Record{State: transaction.Committed, New: older, Deployer: "ann@desk"},
		transaction.Record{State: transaction.RolledBack, New: newer},
		transaction.Record{State: transaction.Committed, New: newer})
	var told []string
	result := answer[protocol.HistoryResult](t, a, protocol.MethodHistory, `{"limit":2}`, func(e any) error {
		s, ok := e.(*protocol.Status)
		if !ok || s.Running != "" {
			t.Errorf("told %+v", e)
		}
		told = append(told, s.ID)
		return nil
	})
	if strings.Join(told, " ") != "past0003 past0002" || result.Remembered != 3 {
		t.Errorf("told %v of %d", told, result.Remembered)
	}
	broken := errors.New("the peer hung up")
	if _, err := a.history(protocol.HistoryRequest{}, func(any) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestActivationLogs(t *testing.T) {
	empty := readAgent(t)
	refusedWith(t, empty, protocol.MethodActivationLog, `{}`, protocol.CodeRefused, "remembers no transaction")
	a := readAgent(t, transaction.Record{State: transaction.Committed, New: older}, transaction.Record{State: transaction.RolledBack, New: newer})
	if err := os.WriteFile(filepath.Join(a.engine.Store.Dir, "history", "past0001.log"), []byte("one\x1b[31m\ntwo\n\nlast"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, params := range []string{`{"id":"past0001"}`, `{"number":1}`} {
		got := answer[protocol.ActivationLogResult](t, a, protocol.MethodActivationLog, params, nil)
		if got.Status.ID != "past0001" || fmt.Sprintf("%q", got.Lines) != `["one[31m" "two" "" "last"]` || got.Cut {
			t.Errorf("%s: %+v", params, got)
		}
	}
	refusedWith(t, a, protocol.MethodActivationLog, `{}`, protocol.CodeRefused, "past0002", "no log")
	refusedWith(t, a, protocol.MethodActivationLog, `{"id":"past0009"}`, protocol.CodeRefused, "past0009", "does not remember")
	refusedWith(t, a, protocol.MethodActivationLog, `{"number":9}`, protocol.CodeRefused, "number 9")
	refusedWith(t, a, protocol.MethodActivationLog, `{"id":"../../etc/passwd"}`, protocol.CodeRefused, "not a transaction id")
}

func TestFreezeAndUnfreeze(t *testing.T) {
	a := readAgent(t)
	refusedWith(t, a, protocol.MethodFreeze, `{"owner":"ann@desk"}`, protocol.CodeRefused, "message")
	refusedWith(t, a, protocol.MethodFreeze, `{"message":"why"}`, protocol.CodeRefused, "owner")
	refusedWith(t, a, protocol.MethodFreeze, `{"owner":"ann","message":"`+strings.Repeat("x", freezeText+1)+`"}`, protocol.CodeRefused, "at most")
	got := answer[protocol.FreezeResult](t, a, protocol.MethodFreeze, `{"owner":"ann@desk","message":"why\u001b[31m"}`, nil)
	if got.Freeze == nil || got.Freeze.Owner != "ann@desk" || got.Freeze.Message != "why[31m" || got.Freeze.Since.IsZero() || got.Transaction != nil {
		t.Errorf("got %+v", got)
	}
	refusedWith(t, a, protocol.MethodFreeze, `{"owner":"bob@desk","message":"mine"}`, protocol.CodeFrozen, "ann@desk")
	refusedWith(t, a, protocol.MethodUnfreeze, `{"owner":"bob@desk"}`, protocol.CodeFrozen, "ann@desk")
	if got := answer[protocol.FreezeResult](t, a, protocol.MethodUnfreeze, `{"owner":"bob@desk","force":true}`, nil); got.Freeze == nil || got.Freeze.Owner != "ann@desk" {
		t.Errorf("with force: %+v", got)
	}
	if got := answer[protocol.FreezeResult](t, a, protocol.MethodUnfreeze, `{"owner":"bob@desk"}`, nil); got.Freeze != nil {
		t.Errorf("once more: %+v", got)
	}
	refusedWith(t, a, protocol.MethodGenerations, `{"profile":"/etc/passwd"}`, protocol.CodeRefused, "not the system profile")
}
