// Package reach finds out what a host can prove by itself about being reachable:
// where the deployment runs on the host it deploys, no connection from there proves
// anything, since one to the host's own outer address rides on lo, past the packet
// filter.
//
// It keeps a proof honest: what was not seen is said to be unproven, and what could not
// be read is neither well nor ill.
package reach

import "net/netip"

// Question is what a host is asked to prove.
type Question struct {
	// Users are the login users that must still be let in; empty for root.
	Users []string `json:"users,omitempty"`
	// Outward are what the host must still reach: "https://NAME[:PORT]" for a name, a
	// connection and a handshake of TLS with a certificate that is valid.
	Outward []string `json:"outward,omitempty"`
	// Witness names another host that dials in from outside; empty for none. Then
	// the proof waits for its connection.
	Witness string `json:"witness,omitempty"`
	// WitnessAddresses are those that it dials from, as far as it knows them: what
	// comes from behind a translation of addresses cannot be told for its.
	WitnessAddresses []netip.Addr `json:"witness_addresses,omitempty" needs:"alone"`
	// WitnessReached says that it got through before the trial. One that never did
	// proves nothing by its absence.
	WitnessReached bool `json:"witness_reached,omitempty" needs:"alone"`
}

// mostAsked caps what is looked at of each list of a question.
const mostAsked = 32

// users are those that are asked about.
func (q Question) users() []string {
	if len(q.Users) == 0 {
		return []string{"root"}
	}
	return q.Users
}

// Inbound is what has seen traffic from outside come in to sshd under the new system.
type Inbound string

// What may have been seen.
const (
	NotProven    Inbound = ""           // nothing from outside
	ByWitness    Inbound = "witness"    // the witness has dialled in
	ByConnection Inbound = "connection" // somebody else has, from outside
)

// State is what one look at the new system says.
type State string

// The states of a finding. Changed is could-not-tell with a reason to doubt: what
// decides over being reachable is not what it was.
const (
	Proven  State = "proven"
	Failed  State = "failed"
	Changed State = "changed"
	Unknown State = "unknown"
)

// Finding is one look: "handshake", "listening", "sshd", "keys", "filter", "network",
// "outward" or "inbound".
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Detail says what was seen, for a person; it holds no secret.
	Detail string `json:"detail,omitempty"`
}

// Proof is all that the host could find out about the new system.
type Proof struct {
	Inbound  Inbound   `json:"inbound,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// OnUnknown is what a host does with a system that nothing failed on, and that was not
// proven to let traffic in.
type OnUnknown string

// The choices. By default a host goes back where something that decides over being
// reachable has changed, and commits otherwise.
const (
	WhenChanged OnUnknown = ""
	GoBack      OnUnknown = "rollback"
	Commit      OnUnknown = "commit"
)

// Valid says whether o is one of the choices.
func (o OnUnknown) Valid() bool { return o == WhenChanged || o == GoBack || o == Commit }
