package protocol

import "time"

// The methods that leave the host's system as it is.
const (
	// MethodDryActivate asks a copied system what its activation would do:
	// DryActivateRequest -> DryActivateResult. Where the closure is not whole, the
	// error has [CodeMissing], as with MethodStart.
	MethodDryActivate = "dry-activate"
	// MethodPush keeps a copied closure from being collected: PushRequest ->
	// PushResult. The error may have [CodeMissing].
	MethodPush = "push"
)

// DryActivateRequest names a copied system.
type DryActivateRequest struct {
	// ID is like a transaction's; the closure is kept under it meanwhile.
	ID  string `json:"id"`
	New string `json:"new"`
	// Limit is how long switch-to-configuration may take.
	Limit time.Duration `json:"limit"`
}

// DryActivateResult is what switch-to-configuration said.
type DryActivateResult struct {
	ExitCode int `json:"exit_code"`
	// Lines are what it printed, without control characters; the first of them
	// where there are very many.
	Lines []string `json:"lines,omitempty"`
}

// PushRequest names a copied closure.
type PushRequest struct {
	// ID is like a transaction's; the closure is kept under it until its own root
	// is made.
	ID  string `json:"id"`
	New string `json:"new"`
}

// PushResult is empty.
type PushResult struct{}
