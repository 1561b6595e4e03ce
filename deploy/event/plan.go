package event

import "time"

// Plan is what a rollback is about to do.
type Plan struct {
	// From is the system that is left, FromGeneration the profile's generation.
	From           string `json:"from"`
	FromGeneration int    `json:"from_generation,omitempty"`
	// To is the system to go to, Generation its newest generation, zero where it
	// has none any more, and Version what it calls itself.
	To         string `json:"to"`
	Generation int    `json:"generation,omitempty"`
	Version    string `json:"version,omitempty"`
	// Verdict is "confirmed", "unproven", "rejected", or "previous" where a
	// deployment that is under way is taken back.
	Verdict     string    `json:"verdict"`
	ConfirmedBy string    `json:"confirmed_by,omitempty"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
	// Skipped are the systems that were passed over.
	Skipped []PassedOver `json:"skipped,omitempty"`
	// Rejects is the system that the host remembers as rejected afterwards.
	Rejects string `json:"rejects,omitempty"`
	// Aborts is the transaction that is taken back, AbortsOf who began it.
	Aborts       string `json:"aborts,omitempty"`
	AbortsOf     string `json:"aborts_of,omitempty"`
	RebootNeeded bool   `json:"reboot_needed,omitempty"`
}

// PassedOver is a system that a rollback does not go to, and why.
type PassedOver struct {
	System     string `json:"system"`
	Generation int    `json:"generation,omitempty"`
	Why        string `json:"why"`
}
