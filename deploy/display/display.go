// Package display turns the events of a run into what a person or a program
// reads: a live view on a terminal, plain lines for a log, JSON lines, or
// nothing but bad news.
//
// It keeps two promises. The answer goes to standard output and the story to
// standard error. And nothing that a host, a builder or a file chose to say
// reaches a terminal unescaped: every foreign text passes through [Clean] or
// [EscapeJSON] first.
package display

import (
	"fmt"
	"io"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// Kind names a display.
type Kind string

// The displays. Auto is the terminal where there is one, and plain otherwise.
const (
	Auto     Kind = "auto"
	Terminal Kind = "terminal"
	Plain    Kind = "plain"
	JSON     Kind = "json"
	Quiet    Kind = "quiet"
)

// Kinds lists every display in the order in which help texts name them.
var Kinds = [...]Kind{Auto, Terminal, Plain, JSON, Quiet}

// ParseKind reads the name of a display.
func ParseKind(s string) (Kind, error) {
	names := make([]string, len(Kinds))
	for i, k := range Kinds {
		if string(k) == s {
			return k, nil
		}
		names[i] = string(k)
	}
	return "", fmt.Errorf("unknown output %q: choose one of %s", Clean(s), strings.Join(names, ", "))
}

// Display consumes the events of one run.
type Display interface {
	// Event takes one event. It may be called from several goroutines, does
	// not wait for the terminal, and must not be called after Close.
	Event(event.Event)
	// Close ends the story, prints the answer and returns the first error met
	// while writing to standard output.
	Close() error
}

// Pauser is a display that draws without being told anything, and must be kept from
// that while somebody else writes to the terminal. Neither is called after Close.
type Pauser interface {
	Pause()
	Resume()
}

// Settings is what a display needs to know about where it writes.
type Settings struct {
	Out    io.Writer // the answer
	ErrOut io.Writer // the story
	OutTTY bool
	ErrTTY bool
	// Color allows colour on whichever of the two streams is a terminal.
	Color bool
	// Width is the width of the terminal in columns; 0 stands for 80.
	Width int
	// Hosts are the selected hosts, in the order in which they are reported.
	Hosts []string
	// Env looks up an environment variable.
	Env func(string) (string, bool)
}

// Resolve replaces Auto by the display that suits the streams, and refuses a
// terminal display without a terminal.
func (s Settings) Resolve(kind Kind) (Kind, error) {
	switch {
	case kind == Terminal && !s.ErrTTY:
		return "", fmt.Errorf("standard error is not a terminal: use --output plain, or auto")
	case kind != Auto:
		return kind, nil
	case s.ErrTTY && s.env("TERM") != "dumb" && !s.InCI():
		return Terminal, nil
	default:
		return Plain, nil
	}
}

// InCI is true where a machine keeps the output as a log, even if it offers a
// pseudo-terminal.
func (s Settings) InCI() bool {
	for _, name := range []string{"CI", "IN_HERCULES_CI_EFFECT"} {
		if v := s.env(name); v != "" && v != "false" && v != "0" {
			return true
		}
	}
	return false
}

func (s Settings) env(name string) string {
	if s.Env == nil {
		return ""
	}
	v, _ := s.Env(name)
	return v
}

func (s Settings) width() int {
	if s.Width <= 0 {
		return 80
	}
	return max(s.Width, minWidth)
}

// New returns the display of the given kind. Its error is a usage error.
func New(kind Kind, s Settings) (Display, error) {
	kind, err := s.Resolve(kind)
	if err != nil {
		return nil, err
	}
	switch kind {
	case Terminal:
		return newTerminal(s), nil
	case Plain:
		return newPlain(s), nil
	case JSON:
		return newJSON(s), nil
	case Quiet:
		return newQuiet(s), nil
	default:
		return nil, fmt.Errorf("unknown output %q", Clean(string(kind)))
	}
}
