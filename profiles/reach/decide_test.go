package reach

import (
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	local := []Finding{{Name: "handshake", State: Proven}, {Name: "keys", State: Proven, Detail: "two keys of root"}}
	with := func(more ...Finding) []Finding { return append(append([]Finding{}, local...), more...) }
	failed := Finding{Name: "sshd", State: Failed, Detail: "root may not log in"}
	changed := Finding{Name: "filter", State: Changed, Detail: "port 22 is not open"}
	unread := Finding{Name: "network", State: Unknown, Detail: "no such file"}
	for _, c := range []struct {
		name string
		Proof
		on   OnUnknown
		back bool
		// says are words of the reason.
		says string
	}{
		{"a witness", Proof{ByWitness, with()}, WhenChanged, false, "proven by the witness|proven: handshake, keys"},
		{"a connection", Proof{ByConnection, with()}, GoBack, false, "proven by a connection that came in"},
		{"a witness outweighs a change", Proof{ByWitness, with(changed, unread)}, WhenChanged, false, "by the witness|changed: filter|unknown: network"},
		{"a witness does not outweigh a failure", Proof{ByWitness, with(failed)}, Commit, true, "cannot be reached|sshd (root may not log in)|proven by the witness"},
		{"a witness alone", Proof{ByWitness, nil}, WhenChanged, false, "by the witness"},
		{"a failure", Proof{NotProven, with(failed)}, WhenChanged, true, "sshd (root may not log in)|inbound not proven"},
		{"two failures", Proof{NotProven, with(failed, Finding{Name: "outward", State: Failed})}, Commit, true, "sshd (root may not log in), outward; inbound not proven"},
		{"nothing changed", Proof{NotProven, with()}, WhenChanged, false, "inbound not proven|nothing that decides over it was seen to change|proven: handshake, keys"},
		{"nothing changed, and that is not enough", Proof{NotProven, with()}, GoBack, true, `inbound not proven|on_unknown is "rollback"`},
		{"a change", Proof{NotProven, with(changed)}, WhenChanged, true, "inbound not proven|filter (port 22 is not open)"},
		{"a change that is accepted", Proof{NotProven, with(changed)}, Commit, false, `inbound not proven|on_unknown is "commit"|changed: filter`},
		{"something unknown", Proof{NotProven, with(unread)}, WhenChanged, false, "inbound not proven|unknown: network"},
		{"all unknown", Proof{NotProven, []Finding{unread}}, WhenChanged, false, "inbound not proven|unknown: network"},
		{"nobody came in is told once", Proof{NotProven, with(Finding{Name: "inbound", State: Unknown})}, WhenChanged, false, "inbound not proven, and nothing that decides over it was seen to change; proven: handshake, keys"},
		{"nothing was looked at", Proof{}, WhenChanged, true, "inbound not proven|nothing could be looked at"},
		{"nothing was looked at, and need not be", Proof{}, Commit, false, "inbound not proven"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Decide(c.Proof, c.on)
			if got.Back != c.back {
				t.Errorf("goes back: %v, because %s", got.Back, got.Reason)
			}
			for words := range strings.SplitSeq(c.says, "|") {
				if !strings.Contains(got.Reason, words) {
					t.Errorf("%q does not say %q", got.Reason, words)
				}
			}
			if unproven := strings.Contains(got.Reason, "inbound not proven"); unproven != (c.Inbound == NotProven) {
				t.Errorf("inbound is %q, and the reason %q", c.Inbound, got.Reason)
			}
		})
	}
}
