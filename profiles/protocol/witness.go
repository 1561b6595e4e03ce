package protocol

import (
	"net/netip"
	"time"
)

// MethodWitness lets a host dial in to another one, from outside, while that one decides
// by itself whether it can be reached: WitnessRequest -> WitnessResult.
const MethodWitness = "witness"

// WitnessLongest is how long a witness dials in at most.
const WitnessLongest = time.Hour

// WitnessRequest asks for handshakes with an sshd, without a login: one at once, and
// one every few seconds from then on, whether or not the connection that asked lives. A
// second request of the same ID dials once and changes nothing else.
type WitnessRequest struct {
	// ID is that of the transaction on the other host.
	ID string `json:"id"`
	// Address is an address or name as this host would use it, Port the port of ssh.
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	// HostKeys are those that are believed, each "TYPE BASE64".
	HostKeys []string `json:"host_keys"`
	// User is who is said to want in; empty for root.
	User string `json:"user,omitempty"`
	// For is how long it goes on, at most [WitnessLongest]; zero ends it, and dials not at all.
	For time.Duration `json:"for"`
}

// WitnessResult is what became of the first handshake.
type WitnessResult struct {
	Reached bool `json:"reached"`
	// Why says why it was not.
	Why string `json:"why,omitempty"`
	// Addresses are those that this host dials from, as far as it knows: what
	// translates addresses on the way is not seen.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}
