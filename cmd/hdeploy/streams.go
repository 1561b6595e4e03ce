package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// streams is everything of the process that a command may touch.
type streams struct {
	In          io.Reader
	Out, ErrOut io.Writer
	// InTTY, OutTTY and ErrTTY say which of the streams are terminals.
	InTTY, OutTTY, ErrTTY bool
	// Env looks up an environment variable.
	Env func(string) (string, bool)
	// Width returns the columns of the terminal, or 0 where there is none.
	Width func() int
	// Dir is the working directory.
	Dir string
}

// systemStreams returns the streams of this process.
func systemStreams() streams {
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // a deleted working directory: the first file access says so
	}
	return streams{
		In:     os.Stdin,
		Out:    os.Stdout,
		ErrOut: os.Stderr,
		InTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		Env:    os.LookupEnv,
		Width:  terminalWidth,
		Dir:    dir,
	}
}

func terminalWidth() int {
	for _, f := range []*os.File{os.Stderr, os.Stdout} {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}

func (s streams) env(name string) string {
	if value, set := s.Env(name); set {
		return value
	}
	return ""
}

// color says whether the environment wants colour at all; each display asks
// its own stream whether it is a terminal.
func (s streams) color() bool {
	return s.env("NO_COLOR") == "" && s.env("TERM") != "dumb"
}
