package sshconfig

import (
	"fmt"
	"strings"
	"unicode"
)

// Error says what is wrong with a line, or which line hdeploy cannot honour.
type Error struct {
	Source
	// Directive is the keyword of the line, or empty where the file itself is at
	// fault.
	Directive string
	Message   string
	// Next is what to do about it.
	Next string
}

func (e *Error) Error() string {
	text := e.Position() + ": " + e.Text()
	if e.Next != "" {
		text += "; " + e.Next
	}
	return text
}

// Position is FILE:LINE, or FILE where no line is at fault.
func (e *Error) Position() string {
	if e.Line == 0 {
		return printable(e.File)
	}
	return fmt.Sprintf("%s:%d", printable(e.File), e.Line)
}

// Text is the message with the directive before it.
func (e *Error) Text() string {
	if e.Directive == "" {
		return printable(e.Message)
	}
	return printable(e.Directive + ": " + e.Message)
}

// printable replaces what could move a terminal's cursor and cuts what would fill it.
func printable(text string) string {
	const longest = 300
	var clean strings.Builder
	for _, r := range text {
		if clean.Len() > longest {
			clean.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		clean.WriteRune(r)
	}
	return clean.String()
}
