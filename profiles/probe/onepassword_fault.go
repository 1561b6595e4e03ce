package probe

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// The exit codes of OpNix 0.10 and later. Older ones end with 1 whatever it was.
const (
	opnixMissingReference = 65
	opnixRateLimited      = 75
)

// opnixFault names why OpNix failed, with the line of its journal that says so.
func (a attempt) opnixFault(ctx context.Context, u systemd.Unit) (class, line string) {
	class, line = classify(a.opnixLines(ctx, u))
	switch u.ExitStatus {
	case opnixMissingReference:
		class = "missing-reference"
	case opnixRateLimited:
		class = "rate-limited"
	}
	return class, line
}

// opnixLines are what the unit's processes wrote in its invocation. A unit that
// systemd starts again and again may just have begun a new one, which is silent yet:
// then it is what they wrote since the trial began. And journald does not always learn
// the invocation of a process that ends at once: then it is what they wrote since the start.
func (a attempt) opnixLines(ctx context.Context, u systemd.Unit) []string {
	since := int64(0)
	if a.host.Baseline.sameBoot() {
		since = a.host.Baseline.Monotonic
	}
	read := func(since int64, match string) (lines []string) {
		_ = journal{a.host.Systemd}.read(ctx, func(e entry) bool {
			if e.message != "" && !e.pid1 && e.monotonic > since {
				lines = append(lines, e.message)
			}
			return true
		}, "--lines=500", match)
		return lines
	}
	var lines []string
	if u.Invocation != "" {
		lines = read(0, "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	}
	if len(lines) > 0 || u.Restarts == 0 && u.ExecStart == 0 {
		return lines
	}
	if u.Restarts == 0 {
		since = max(since, u.ExecStart)
	}
	return read(since, "_SYSTEMD_UNIT="+u.ID)
}

// faults are what OpNix, 1Password's SDK and Go print. OpNix follows every
// error with suggestions that name other causes, and with counts of zero, so
// that the patterns must be as narrow as this. The first class that is found
// anywhere in the output counts.
var faults = []struct {
	class   string
	pattern *regexp.Regexp
}{
	{"no-token", regexp.MustCompile(`Token file .* (does not exist!|is not readable!)`)},
	{"empty-token", regexp.MustCompile(`Token file is empty`)},
	{"unknown-owner", regexp.MustCompile(`(user|group) '[^']*' does not exist`)},
	{"rate-limited", regexp.MustCompile(`- rate_limited|(?i:rate limit exceeded|too many requests|status code:? 429)`)},
	{"missing-reference", regexp.MustCompile(`- (missing|invalid|ambiguous)_reference|error resolving secret reference|no (vault|item|section|field) matched`)},
	{"auth", regexp.MustCompile(`(?i)unauthorized|status code:? 40[13]|invalid service account token|service account (was )?deleted|authentication (failed|error)|failed to authenticate`)},
	{"network", regexp.MustCompile(`(?i)no such host|dial tcp|i/o timeout|connection (refused|reset)|network is unreachable|TLS handshake|error sending request|temporary failure in name resolution`)},
	{"outage", regexp.MustCompile(`(?i)status code:? 5\d\d|internal server error|bad gateway|service unavailable|gateway time-?out|- transient\b`)},
}

func classify(lines []string) (class, line string) {
	for _, f := range faults {
		for _, line := range lines {
			if f.pattern.MatchString(line) {
				return f.class, redact(line)
			}
		}
	}
	for _, line := range slices.Backward(lines) {
		if strings.TrimSpace(line) != "" {
			return "failed", redact(line)
		}
	}
	return "failed", ""
}

// remoteFaults are no fault of the new system: the network, or 1Password.
func isRemoteFault(class string) bool {
	return class == "network" || class == "rate-limited" || class == "outage"
}

// reference is 1Password's notation for a field of an item. The names of vaults and
// items may hold blanks, so that only a colon, a quote or the line ends it.
var reference = regexp.MustCompile(`(?mi)op://[^"'\n]*?(: |["']|$)`)

// redact hides which items of a vault are referred to.
func redact(line string) string {
	return reference.ReplaceAllString(line, "op://…$1")
}

// hint is the command that mends a class of fault.
func (in *inquiry) hint(class string) string {
	again := "systemctl restart " + in.unit.ID
	token := in.spec.TokenFile
	if token == "" {
		token = "/etc/opnix-token"
	}
	switch class {
	case "no-token", "empty-token":
		return "put the service account's token into " + token + ": opnix token set -path " + token + "; then " + again
	case "auth":
		return "the service account's token is not accepted: make a new one in 1Password, opnix token set -path " + token + "; then " + again
	case "missing-reference":
		return "compare services.onepassword-secrets.secrets.*.reference with the vault: op item list --vault VAULT; then " + again
	case "rate-limited":
		return "wait until 1Password's limit for the account is reset, then once: " + again
	case "unknown-owner":
		return "declare the user or group in users.users or users.groups; a service with DynamicUser has no static one"
	case "network":
		return "check name service and the way out from the host: getent hosts my.1password.com; then " + again
	case "outage":
		return "1Password answers with errors: see status.1password.com, and later " + again
	case "deadlock":
		return "systemctl list-jobs; update OpNix to 0.10.1 or later, or remove `services` from the secrets: before, it waits for services that wait for it"
	case "hung":
		return "systemctl list-jobs; journalctl -u " + in.unit.ID + " -e"
	}
	return "journalctl -u " + in.unit.ID + " -e"
}
