package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestRecallFindsATransactionByHowItsIDBegins(t *testing.T) {
	a := testAgent(t)
	a.engine.Host = nixos.Host{}
	history := filepath.Join(a.engine.Store.Dir, "history")
	if err := os.MkdirAll(history, 0o700); err != nil {
		t.Fatal(err)
	}
	for number, id := range []string{"abcd1111", "abcd2222", "efgh3333"} {
		data, err := json.Marshal(transaction.Record{ID: id, Number: uint64(number + 1), State: transaction.Committed, New: "/" + id})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(history, "000000000"+string(rune('1'+number))+"-"+id+".json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ id, found, code, says string }{
		{"efgh", "efgh3333", "", ""},
		{"abcd1111", "abcd1111", "", ""},
		{"abcd", "", protocol.CodeRefused, "more than one transaction"},
		{"ijkl", "", protocol.CodeUnknown, "remembers no transaction ijkl"},
		{"abc", "", protocol.CodeRefused, "not a transaction id"},
		{"../../x", "", protocol.CodeRefused, "not a transaction id"},
	} {
		params, _ := json.Marshal(protocol.RecallRequest{ID: c.id})
		got, err := a.handle(context.Background(), protocol.MethodRecall, params, func(any) error { return nil })
		var said *protocol.Error
		if c.found != "" {
			if s, ok := got.(*protocol.Status); err != nil || !ok || s.ID != c.found {
				t.Errorf("%s: %+v, %v", c.id, got, err)
			}
			continue
		}
		if !errors.As(err, &said) || said.Code != c.code || !strings.Contains(said.Message, c.says) {
			t.Errorf("%s: %v", c.id, err)
		}
	}
}

func TestRollbackPlanOfAnotherProfileIsRefused(t *testing.T) {
	_, err := testAgent(t).handle(context.Background(), protocol.MethodRollbackPlan, json.RawMessage(`{"profile":"/etc"}`), func(any) error { return nil })
	var said *protocol.Error
	if !errors.As(err, &said) || said.Code != protocol.CodeRefused {
		t.Errorf("got %v", err)
	}
}

// What nix-store 2.26 and 2.34 were seen to print.
func TestSaysInvalid(t *testing.T) {
	for said, want := range map[string]bool{
		"run nix-store --check-validity: exit status 1: error: path '/nix/store/0-x' is not valid":                          true,
		"run nix-store --check-validity: exit status 1: error: executing SQLite query: database disk image is malformed":    false,
		"run nix-store --check-validity: exit status 1: error: cannot open Nix database '/nix/var/nix/db/db.sqlite'":        false,
		"run nix-store --check-validity: exit status 1: error: file '/nix/var/nix/db/db.sqlite' is not a database (in 'x')": false,
		"run nix-store --check-validity: context deadline exceeded":                                                         false,
	} {
		if got := saysInvalid(said); got != want {
			t.Errorf("%s: %v", said, got)
		}
	}
}

func TestSystemThatIsNoneIsNotSound(t *testing.T) {
	top := t.TempDir()
	if err := sound(context.Background(), top, filepath.Join(top, "gone")); err == nil || !strings.Contains(err.Error(), "not on the host") {
		t.Errorf("got %v", err)
	}
	if err := sound(context.Background(), top, top); err == nil || !strings.Contains(err.Error(), "not a NixOS system") {
		t.Errorf("got %v", err)
	}
}

func TestASpecialisationBelongsToItsParent(t *testing.T) {
	top := t.TempDir()
	variant := filepath.Join(top, "variant-system")
	if err := errors.Join(os.MkdirAll(filepath.Join(top, "parent/specialisation"), 0o700), os.Mkdir(variant, 0o700),
		os.Symlink(variant, filepath.Join(top, "parent/specialisation/slow"))); err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(top, "parent")
	for running, want := range map[string]string{variant: parent, parent: parent, "/other": "/other"} {
		if got := parentOf(running, parent); got != want {
			t.Errorf("%s belongs to %s, not %s", running, got, want)
		}
	}
}
