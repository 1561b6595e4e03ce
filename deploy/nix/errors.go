package nix

import (
	"fmt"
	"regexp"
	"strings"
)

// MissingError says that this machine has no nix in PATH.
type MissingError struct{ Cause error }

func (e *MissingError) Error() string {
	return fmt.Sprintf("find nix in PATH: %v; hdeploy needs Nix %d.%d or newer on the machine that deploys",
		e.Cause, oldestMajor, oldestMinor)
}

// TooOldError says that the nix in PATH cannot be used.
type TooOldError struct{ Have Version }

func (e *TooOldError) Error() string {
	return fmt.Sprintf("use %s: hdeploy needs Nix %d.%d or newer", e.Have.Text, oldestMajor, oldestMinor)
}

// UnknownAttributeError says that the flake has nothing under the attribute
// path of a host. Where several hosts miss theirs, Evaluate returns them joined.
type UnknownAttributeError struct {
	Host string
	// Attribute is the longest part of the path that is missing, in Nix's notation.
	Attribute string
	// Available are the names beside it, sorted, at most 500; nil where not even
	// the set around it exists.
	Available []string
}

func (e *UnknownAttributeError) Error() string {
	if len(e.Available) == 0 {
		return fmt.Sprintf("evaluate %s: the flake has no %s", e.Host, e.Attribute)
	}
	const shown = 12
	names := e.Available
	more := ""
	if len(names) > shown {
		more = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return fmt.Sprintf("evaluate %s: the flake has no %s, only %s%s", e.Host, e.Attribute, strings.Join(names, ", "), more)
}

// Kind is what a failure of nix was about, where its words tell.
type Kind string

// The kinds a caller may act on. The empty kind is every other failure.
const (
	// BuilderFailed: a builder ended badly; Error.Log has its last lines.
	BuilderFailed Kind = "builder-failed"
	// HashMismatch: a fixed-output derivation got something else.
	HashMismatch Kind = "hash-mismatch"
	// WrongSystem: nothing here can build for that system or needs that feature.
	WrongSystem Kind = "wrong-system"
	// Collected: a path went between its evaluation and its use, most likely
	// by a garbage collection. Evaluating once more brings it back.
	Collected Kind = "collected"
	// Untrusted: the receiving store wants signatures, or trusts not this user.
	Untrusted Kind = "untrusted"
	// Unreachable: the store's daemon could not be connected to.
	Unreachable Kind = "unreachable"
	// Disconnected: the store's daemon went away while it worked.
	Disconnected Kind = "disconnected"
	// DiskFull: there is no space on one of the two sides.
	DiskFull Kind = "disk-full"
	// Syntax: a Nix file cannot be parsed.
	Syntax Kind = "syntax"
	// Recursion: a value needs itself.
	Recursion Kind = "recursion"
	// NoFlake: there is no flake where one was expected.
	NoFlake Kind = "no-flake"
	// Untracked: the flake lacks a file, most likely because Git does not track it.
	Untracked Kind = "untracked"
)

// Error is a failed call of nix.
type Error struct {
	// Step is what was tried: "evaluate", "build", "copy" or "measure".
	Step string
	// Host is the host that was being evaluated; empty where not known.
	Host string
	Kind Kind
	// Cause is Nix's own reason, in one line.
	Cause string
	// Hint is what a person can do about it; empty where Nix says it itself.
	Hint string
	// Output is all of what Nix said about the failure, in lines.
	Output string
	// Log holds the last lines of the builder that failed.
	Log []string
}

func (e *Error) Error() string {
	subject := e.Step
	if e.Host != "" {
		subject += " " + e.Host
	}
	return subject + ": " + e.Cause
}

// A sign is a part of a message by which a kind is known. The messages are
// those of Nix 2.26 and 2.34, as recorded in testdata, and of 2.18 and Lix, as
// in their sources.
type sign struct {
	text string
	kind Kind
}

// The order matters: a daemon that goes away while it says that its disk is
// full says both, and the disk is what a person must look at.
var signs = []sign{
	{"No space left on device", DiskFull},
	{"Disk quota exceeded", DiskFull},
	{"database or disk is full", DiskFull},
	{"hash mismatch in fixed-output derivation", HashMismatch},
	{"lacks a signature by a trusted key", Untrusted},
	{"is not privileged to", Untrusted},
	{"is required to build '", WrongSystem},
	{"platform mismatch", WrongSystem},
	{"missing system features", WrongSystem},
	{"cannot build missing derivation", Collected},
	{"failed to obtain derivation of", Collected},
	{"is required, but there is no substituter that can build it", Collected},
	{"to socket at '", Unreachable},
	{"Nix daemon disconnected unexpectedly", Disconnected},
	{"unexpected end-of-file", Disconnected},
	{"Broken pipe", Disconnected},
	{"Connection reset by peer", Disconnected},
	{"failed with exit code", BuilderFailed},
	{"failed due to signal", BuilderFailed},
	{"failed to produce output path", BuilderFailed},
	{"timed out after", BuilderFailed},
	{"syntax error,", Syntax},
	{"infinite recursion encountered", Recursion},
	{"stack overflow; max-call-depth exceeded", Recursion},
	{"is not tracked by Git", Untracked},
	{"flake.nix' does not exist", NoFlake},
	{"could not find a flake.nix file", NoFlake},
}

// classify finds the kind of a failure in the core of Nix's own words: not in
// all of them, which quote builders and source files.
func classify(cause string) Kind {
	for _, s := range signs {
		if strings.Contains(cause, s.text) {
			return s.kind
		}
	}
	switch {
	case invalidPath.MatchString(cause):
		return Collected
	case missingSource.MatchString(cause):
		return Untracked
	}
	return ""
}

var (
	invalidPath = regexp.MustCompile(`path '/[^' ]+' is not valid`)
	// What Nix 2.26 says about a file that Git does not track.
	missingSource = regexp.MustCompile(`path '/[^' ]+-source/[^']+' does not exist`)
)

var hints = map[Kind]string{
	HashMismatch: "what was fetched is not what the expression expects: check the source, then the hash",
	WrongSystem:  "nothing here can build it: set a remote builder (nix.buildMachines) or emulation (boot.binfmt.emulatedSystems)",
	Collected:    "a store path was collected in between: run it again",
	Untrusted:    "the receiving user must be root or in nix.settings.trusted-users of the host",
	Unreachable:  "the store's daemon does not answer: `systemctl status nix-daemon.socket`",
	DiskFull:     "free some space: `nix-collect-garbage --delete-older-than 14d`",
	Untracked:    "a flake in a Git repository has only what Git tracks: if the file is there, `git add` it",
	NoFlake:      "set `flake` in deploy.toml to the directory that has the flake.nix; in a Git repository, `git add flake.nix`",
}
