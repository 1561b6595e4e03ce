package event

// Finding is something that a check found out before a deployment would.
type Finding struct {
	// Name says what was looked at, for instance "token" or "space".
	Name string `json:"name"`
	// Severity is one of the words below.
	Severity Severity `json:"severity"`
	Cause    string   `json:"cause"`
	// Remedy is what to change or to type; several lines where there is a choice.
	Remedy string `json:"remedy,omitempty"`
}

// Severity says what a finding means for a deployment.
type Severity string

// The severities, the worst first.
const (
	// Obstacle: a deployment would be refused, fail, or leave a service without
	// what it needs.
	Obstacle Severity = "failure"
	// Warning: it would go well, and something else is wrong or may soon be.
	Warning Severity = "warning"
	// Remark: worth knowing.
	Remark Severity = "note"
)
