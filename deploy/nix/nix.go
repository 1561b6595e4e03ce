// Package nix drives the nix command line: evaluate, build, copy, measure.
//
// Nix is a program here, not a library: its stable surface is a handful of
// commands and the log that `--log-format internal-json` writes to stderr.
// The package keeps one invariant: whatever the program, its builders or a
// remote daemon print is data. It is size-capped, freed of control characters
// and parsed before anything else sees it. And no nix outlives the call that
// started it.
//
// Where the code depends on a version of Nix (tried with 2.26 and 2.34; the
// rest from the release notes and sources):
//
//	since  what                                             who depends on it
//	2.15   `DRV^out` means the output; DRV alone the file   Build
//	2.18   the oldest version this driver accepts           Version.Usable
//	2.19   `FLAKE#.` is the root of the flake's outputs;    Evaluate, which with 2.18 takes one
//	       Lix has it too                                   call for each of the outputs
//	2.19   `path-info --json` is a map, no list;            nobody: Closure reads the plain
//	2.33   and wants `--json-format`, or will fail          listing, the same in all versions
//	2.34   the reason of a failed build comes after its     tracker.ended; other words: errors.go
//	       activity stopped, and in other words
//	all    a client prints all that a daemon says with      tracker.message, which goes by the
//	       level 0, warnings too, without raw_msg           first word
//	all    `copy` logs a line of JSON for each piece of     Copy, which reads the plain log
//	       each file that it reads
//
// What a call costs on two cores with Nix 2.26: `nix --version` 13 ms, an
// evaluation of a small flake 27 ms (with `#.` as with a full path, with the
// evaluation cache as without), a build of what is built 16 ms against 28 ms
// by flake attribute, a copy with nothing to do 18 ms. So one call evaluates
// all hosts and tells the version by the way.
package nix

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// Nix is the nix program of this machine. It is safe for concurrent use.
type Nix struct {
	// Program is the absolute path of the program.
	Program string
	// Extra is what the user appended for evaluation and build, for instance
	// --override-input. It is passed on as it is.
	Extra []string
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

// Find looks nix up in PATH. The error is a [*MissingError]. The version is
// not asked for, since that costs a process: [Nix.Evaluate] learns it on the
// way and fails with a [*TooOldError]; a caller that does not evaluate may
// use [Nix.Version].
func Find(context.Context) (*Nix, error) {
	program, err := exec.LookPath("nix")
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, &MissingError{Cause: err}
	}
	if errors.Is(err, exec.ErrDot) {
		return nil, &MissingError{Cause: errors.New("PATH leads to a nix in the current directory, which is not trusted")}
	}
	return &Nix{Program: program}, nil
}

// Version is a parsed version of Nix or of one of its relatives.
type Version struct {
	// Text is what the program said about itself, in one line.
	Text string
	// Major and Minor are the version numbers, for instance 2 and 26.
	Major, Minor int
}

// oldest is the first release with all that the driver relies on.
const oldestMajor, oldestMinor = 2, 18

// Usable tells whether this driver can work with the version.
func (v Version) Usable() bool { return v.atLeast(oldestMajor, oldestMinor) }

// hasRootFragment tells whether `FLAKE#.` names the root of the outputs.
func (v Version) hasRootFragment() bool { return v.atLeast(2, 19) }

func (v Version) atLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

var versionNumber = regexp.MustCompile(`(?:^|[ \t])(\d{1,4})\.(\d{1,4})(?:[^0-9 \t][^ \t]*)?$`)

// parseVersion reads the first line of `nix --version`, or the value of
// builtins.nixVersion. Known forms: "nix (Nix) 2.26.3",
// "nix (Lix, like Nix) 2.91.1", "nix (Determinate Nix 3.6.6) 2.29.0", each
// perhaps with a suffix such as "pre20250807_ab12cd". The number is the last
// word: Determinate's own number stands before it.
func parseVersion(output string) (Version, error) {
	line, _, _ := strings.Cut(strings.TrimSpace(output), "\n")
	text := oneLine(line, 200)
	match := versionNumber.FindStringSubmatch(text)
	if match == nil {
		return Version{}, fmt.Errorf("read the version of nix: %q is not one", text)
	}
	major, _ := strconv.Atoi(match[1])
	minor, _ := strconv.Atoi(match[2])
	return Version{Text: text, Major: major, Minor: minor}, nil
}

// Version asks the program for its version. It takes about 20 ms.
func (n *Nix) Version(ctx context.Context) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	output, err := n.run(ctx, "ask nix for its version", []string{"--version"}, newTracker(quiet, nil))
	if err != nil {
		return Version{}, err
	}
	return parseVersion(string(output))
}

// features switches on what the nix command needs, whatever nix.conf says.
var features = []string{"--extra-experimental-features", "nix-command flakes"}

// arguments is the argument list of one subcommand with a log in JSON.
func arguments(subcommand string, rest ...string) []string {
	args := append([]string{}, features...)
	args = append(args, subcommand, "--log-format", "internal-json")
	return append(args, rest...)
}
