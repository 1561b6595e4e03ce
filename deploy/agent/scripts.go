package agent

import (
	"fmt"
	"strings"
)

// The scripts run under /bin/sh, as root or as the owner of a profile, and look programs up where NixOS has them.

const (
	dir = "/var/lib/hdeploy/agent"

	// exitAbsent, exitAltered and exitPlatform are the scripts' own exit codes.
	exitAbsent   = 97
	exitAltered  = 98
	exitPlatform = 99
)

// A login shell of any kind passes these lines on as they are: they are one line
// each, without a single quote, a backslash or an exclamation mark.

const prologue = `PATH=/run/current-system/sw/bin:/run/wrappers/bin:/usr/bin:/bin; export PATH; umask 077; ` +
	`case "$(uname -s)-$(uname -m)" in %s*) echo "$(uname -s) $(uname -m)" >&2; exit 99;; esac; ` +
	`d=/var/lib/hdeploy/agent; [ "$(id -u)" = 0 ] || d=$HOME/.local/state/hdeploy/agent; a=$d/hdeploy-agent-$h; `

// caseArms sets h to the hash of the agent for the machine's platform.
func caseArms() (string, error) {
	var arms strings.Builder
	for _, machine := range []string{"x86_64", "aarch64"} {
		hash, err := hashOf(platforms[machine])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&arms, "Linux-%s) h=%s;; ", machine, hash)
	}
	return arms.String(), nil
}

// startScript runs the agent if it is there and is what it should be.
func startScript() (string, error) {
	arms, err := caseArms()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(prologue, arms) +
		`if [ -f "$a" ] && [ "$(sha256sum < "$a")" = "$h  -" ]; then exec "$a" serve; fi; uname -m >&2; exit 97`, nil
}

// installScript copies what was uploaded, or its standard input where the path is
// empty, into root's directory, hashes what it wrote there, and makes that the agent. Older agents go: a transaction that runs
// has its own copy in /run. It does not become the agent, since nobody knows how
// much of what follows a program of the host has read ahead.
func installScript(upload string) (string, error) {
	arms, err := caseArms()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(prologue, arms) +
		`mkdir -p "$d" && chmod 700 "${d%/agent}" "$d" || exit 1; t=$(mktemp "$d/.upload-XXXXXXXX") || exit 1; ` +
		`cat ` + upload + ` > "$t" || { rm -f "$t"; exit 1; }; ` +
		`if [ "$(sha256sum < "$t")" = "$h  -" ]; then :; else rm -f "$t"; exit 98; fi; ` +
		`chmod 700 "$t" && sync "$t" && mv -f "$t" "$a" || exit 1; ` +
		`for o in "$d"/hdeploy-agent-*; do [ "$o" = "$a" ] || rm -f "$o"; done`, nil
}

// obeyScript prints what a host only prints that runs the line it was given.
const (
	obeyScript = "echo hdeploy-$((6*7))"
	obeyed     = "hdeploy-42"
)
