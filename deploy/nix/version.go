package nix

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Where the code depends on a version of Nix (tried with 2.26 and 2.34; the rest from
// release notes and sources). What can be told from an answer is told from it, and
// asks for no version:
//
//	since  what                                             who depends on it
//	2.15   `DRV^out` means the output; DRV alone the file   Build
//	2.18   the oldest version this driver accepts           Version.Usable
//	2.19   `FLAKE#.` is the root of the flake's outputs;    Evaluate, which with 2.18 takes one
//	       Lix has it too                                   call for each of the outputs
//	2.19   `path-info --json` is a map, no list;            nobody: Closure reads the plain
//	2.33   and wants `--json-format`, or will fail          listing, the same in all versions
//	2.20   `show-config` is called `config show`; the old   Signs, which tries both
//	       name goes on with a warning
//	2.20   the program of a store ssh-ng://localhost is     Through, whose words mean the same
//	       started by itself, before that by bash -c        to both
//	2.34   the reason of a failed build comes after its     tracker.ended; other words: errors.go
//	       activity stopped, and in other words
//	all    a client prints all that a daemon says with      tracker.message, which goes by the
//	       level 0, warnings too, without raw_msg           first word
//	all    `copy` logs a line of JSON for each piece of     Copy, which reads the plain log
//	       each file that it reads
//	all    a daemon that is asked to substitute from a      Copy's caller, which copies
//	       cache that is gone may hang up                   without that then
//	all    a daemon takes max-jobs, builders and others     Store.Settings, which gives it its own
//	       from a client that it trusts

// Flavour is who made a Nix.
type Flavour string

// The flavours. Whatever names itself otherwise counts as Nix of its number.
const (
	CppNix Flavour = "nix"
	// Lix was forked from Nix 2.18 and counts its own releases from 2.90 on: its
	// number says nothing about what Nix of such a number can do.
	Lix Flavour = "lix"
	// Determinate stands on the Nix whose number it gives last.
	Determinate Flavour = "determinate"
)

// Version is a parsed version of Nix or of one of its relatives.
type Version struct {
	// Text is what the program said about itself, in one line.
	Text    string
	Flavour Flavour
	// Major and Minor are the version numbers, for instance 2 and 26.
	Major, Minor int
}

// oldest is the first release with all that the driver relies on.
const oldestMajor, oldestMinor = 2, 18

// Usable tells whether this driver can work with the version.
func (v Version) Usable() bool { return v.atLeast(oldestMajor, oldestMinor) }

// hasRootFragment tells whether `FLAKE#.` names the root of the outputs.
func (v Version) hasRootFragment() bool { return v.Flavour == Lix || v.atLeast(2, 19) }

func (v Version) atLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// versionNumber is the last word. A suffix follows the numbers of a release that is
// none: "pre20250521_76a4d4c2", "-dev-pre20250807-ab12cd3", "-lix".
var versionNumber = regexp.MustCompile(`(?:^|[ \t])(\d{1,4})\.(\d{1,4})(?:[^0-9 \t][^ \t]*)?$`)

// parseVersion reads the first line of `nix --version`, or the value of
// builtins.nixVersion, which names no flavour but that of Lix. The number is the last
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
	return Version{Text: text, Flavour: flavourOf(text), Major: major, Minor: minor}, nil
}

func flavourOf(text string) Flavour {
	switch {
	case strings.Contains(text, "Lix") || strings.HasSuffix(text, "-lix"):
		return Lix
	case strings.Contains(text, "Determinate"):
		return Determinate
	}
	return CppNix
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
