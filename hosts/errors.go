package hosts

import (
	"fmt"
	"sort"
	"strings"
	"unicode"

	"github.com/xrash/smetrics"
)

// ConfigError is one fault of deploy.toml.
type ConfigError struct {
	File string
	// Line and Column start at 1; Column counts bytes. Both are 0 when the
	// fault is the file itself, and Column is where it is a line of ssh_config.
	Line, Column int
	Message      string
	// Suggestion is what to write instead, or empty.
	Suggestion string
}

func (e *ConfigError) Error() string {
	position := e.File
	if e.Line > 0 {
		position = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Column > 0 {
		position += fmt.Sprintf(":%d", e.Column)
	}
	if e.Suggestion == "" {
		return position + ": " + e.Message
	}
	return position + ": " + e.Message + "; try: " + e.Suggestion
}

// ConfigErrors are all faults of one file, in the order of their positions.
type ConfigErrors []*ConfigError

func (e ConfigErrors) Error() string {
	lines := make([]string, len(e))
	for i, fault := range e {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes each fault visible to errors.As.
func (e ConfigErrors) Unwrap() []error {
	faults := make([]error, len(e))
	for i, fault := range e {
		faults[i] = fault
	}
	return faults
}

// mostFaults caps the report: beyond it a file is not mistyped but not ours.
const mostFaults = 100

// sorted orders faults by position and caps them.
func (e ConfigErrors) sorted() ConfigErrors {
	sort.SliceStable(e, func(i, j int) bool {
		if e[i].Line != e[j].Line {
			return e[i].Line < e[j].Line
		}
		return e[i].Column < e[j].Column
	})
	if len(e) <= mostFaults {
		return e
	}
	rest := &ConfigError{File: e[0].File, Message: fmt.Sprintf("%d more faults are not shown", len(e)-mostFaults)}
	return append(e[:mostFaults:mostFaults], rest)
}

// closest returns the candidate most like word, or "" when none is alike.
func closest(word string, candidates []string) string {
	const alike = 0.82 // found by the table in the tests: typos pass, other words do not
	const longest = 64 // the comparison is quadratic, and words may be hostile
	if len(word) > longest {
		return ""
	}
	best, bestScore := "", alike
	for _, candidate := range candidates {
		if len(candidate) > longest {
			continue
		}
		score := smetrics.JaroWinkler(strings.ToLower(word), strings.ToLower(candidate), 0.7, 4)
		if score > bestScore {
			best, bestScore = candidate, score
		}
	}
	return best
}

// printable replaces what could move a terminal's cursor and cuts what would
// fill it.
func printable(text string) string {
	const longest = 200
	runes := []rune(text)
	if len(runes) > longest {
		runes = append(runes[:longest], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}

func quotedList(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = fmt.Sprintf("%q", word)
	}
	return strings.Join(quoted, ", ")
}
