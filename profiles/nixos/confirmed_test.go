package nixos

import (
	"slices"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestWorthKeeping(t *testing.T) {
	committed := func(system string) transaction.Record {
		return transaction.Record{New: system, State: transaction.Committed}
	}
	back := func(to, from string) transaction.Record {
		return transaction.Record{New: to, Rejects: from, Action: transaction.Rollback, State: transaction.Committed}
	}
	for _, c := range []struct {
		name    string
		history []transaction.Record
		kept    []string
		want    []string
	}{
		{"first", []transaction.Record{committed("/a")}, nil, []string{"/a"}},
		{"second", []transaction.Record{committed("/b"), committed("/a")}, []string{"/a"}, []string{"/b", "/a"}},
		{"rejected ones give their place up", []transaction.Record{back("/b", "/c"), committed("/c"), committed("/b"), committed("/a")}, []string{"/c", "/b"}, []string{"/b", "/a"}},
		{"rejected without a commit", []transaction.Record{
			{New: "/b", State: transaction.RolledBack, Cause: transaction.PersonAborted}, committed("/c"), committed("/b"), committed("/a"),
		}, []string{"/c", "/b"}, []string{"/c", "/a"}},
		{"forgotten by the history", []transaction.Record{committed("/c")}, []string{"/b", "/a"}, []string{"/c", "/b", "/a"}},
		{"no history", nil, []string{"/b", "/a"}, []string{"/b", "/a"}},
		{"never the same twice", []transaction.Record{committed("/b"), committed("/b"), committed("/a")}, []string{"/b", "/b"}, []string{"/b", "/a"}},
	} {
		if got := worthKeeping(c.history, c.kept); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestNeedsReboot(t *testing.T) {
	toplevel := t.TempDir()
	if NeedsReboot(map[string]string{"kernel": "/old"}, toplevel) {
		t.Error("a system without a kernel")
	}
	if version, _ := Describe(toplevel); NeedsReboot(nil, "/") || version != "" {
		t.Error("of nothing")
	}
}
