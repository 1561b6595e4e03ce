// Package nix drives the nix command line: evaluate, build, copy, measure.
//
// Nix is a program here, not a library: its stable surface is a handful of
// commands and the log that `--log-format internal-json` writes to stderr.
// The package keeps one invariant: whatever the program, its builders or a
// remote daemon print is data. It is size-capped, freed of control characters
// and parsed before anything else sees it. And no nix outlives the call that
// started it. Where it depends on a version of Nix, version.go says so.
//
// What a call costs on two cores with Nix 2.26: `nix --version` 13 ms, an
// evaluation of a small flake 27 ms (with `#.` as with a full path, with the
// evaluation cache as without), a build of what is built 16 ms against 28 ms
// by flake attribute, a copy with nothing to do 18 ms. So one call evaluates
// all hosts and tells the version by the way.
package nix

import "github.com/hbohlen/hdeploy/deploy/event"

// Nix is the nix program of this machine. It is safe for concurrent use.
type Nix struct {
	// Program is the absolute path of the program.
	Program string
	// Extra is what the user appended for evaluation and build, for instance
	// --override-input. It is passed on as it is.
	Extra []string
	// Env are variables, as "NAME=value", that its environment has beside those of this
	// process.
	Env []string
}

// Progress is one thing a running nix said. Exactly one field is set.
type Progress struct {
	// Count says how far it is: hosts during an evaluation, derivations
	// during a build, bytes and paths during a copy. At most ten a second,
	// and the last one always arrives.
	Count *event.Progress
	// Line is a line that a builder or a fetcher printed.
	Line *event.Line
	// Note is a warning, a trace or another remark of Nix itself.
	Note *event.Note
}

// features switches on what the nix command needs, whatever nix.conf says.
var features = []string{"--extra-experimental-features", "nix-command flakes"}

// arguments is the argument list of one subcommand with a log in JSON.
func arguments(subcommand string, rest ...string) []string {
	args := append([]string{}, features...)
	args = append(args, subcommand, "--log-format", "internal-json")
	return append(args, rest...)
}
