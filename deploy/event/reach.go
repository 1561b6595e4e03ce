package event

// Reach is what a host that decided by itself could find out about being reachable.
type Reach struct {
	// Inbound is what has seen traffic from outside come in: "witness" or "connection";
	// empty for nothing.
	Inbound string `json:"inbound,omitempty"`
	// Summary says in one line whether traffic from outside was proven to come in.
	Summary string `json:"summary"`
	Looks   []Look `json:"looks,omitempty"`
}

// Look is one of the things that the host looked at.
type Look struct {
	// Name is "handshake", "listening", "sshd", "keys", "filter", "network", "outward"
	// or "inbound".
	Name string `json:"name"`
	// State is "proven", "failed", "changed" or "unknown".
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}
