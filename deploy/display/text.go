package display

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

const (
	// minWidth is the narrowest layout; a narrower terminal wraps it itself.
	minWidth = 40
	// textLimit caps one foreign text, in bytes. Width alone is no cap: a
	// megabyte of combining marks is zero columns wide.
	textLimit = 4096
	// markLimit caps the combining marks on one character, which would
	// otherwise climb over the lines above.
	markLimit = 3
)

// Clean makes one line of foreign text safe to print: colour sequences go,
// every other control, format or invalid character becomes a visible escape,
// tabs become spaces, and the length is capped.
func Clean(s string) string { return clean(s, textLimit) }

func clean(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:runeStart(s, limit)]
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(s); {
		if n := colourSequence(s[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t':
			b.WriteString("    ")
		case r < 0x80 && unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		case marks > markLimit || r >= 0xfe00 && r <= 0xfe0f: // variation selectors change widths
		default:
			b.WriteRune(r)
		}
		i += n
	}
	if cut {
		b.WriteString(" ... (cut)")
	}
	return b.String()
}

// colourSequence returns the length of the colour sequence that s starts
// with, or 0. Compilers colour their output; showing that as escapes would
// only hide the words.
func colourSequence(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	for i := 2; i < len(s) && i < 32; i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case c >= '0' && c <= '9', c == ';', c == ':':
		default:
			return 0
		}
	}
	return 0
}

// runeStart returns the start of the rune that holds byte i.
func runeStart(s string, i int) int {
	for back := 0; back < utf8.UTFMax && i > 0 && !utf8.RuneStart(s[i]); back++ {
		i--
	}
	return i
}

// cleanLines splits foreign text into safe lines, without empty ones at
// either end; at most keep of them, the last ones where there are more.
func cleanLines(s string, keep int) []string {
	all := strings.Split(strings.Trim(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), "\n")
	var out []string
	if len(all) > keep {
		out = append(out, fmt.Sprintf("... (%d lines before)", len(all)-keep))
		all = all[len(all)-keep:]
	}
	for _, line := range all {
		out = append(out, strings.TrimRight(Clean(line), " "))
	}
	return out
}

// oneLine joins foreign text of several lines into one.
func oneLine(s string) string {
	if len(s) > textLimit { // one byte more than the limit makes Clean say so
		s = s[:textLimit+1]
	}
	return Clean(strings.Join(strings.Fields(s), " "))
}

// EscapeJSON replaces the control characters that JSON permits inside strings
// but a terminal obeys (DEL and U+0080 to U+009F) by JSON escapes. Its input
// is the output of a JSON encoder, where they can only stand inside strings.
func EscapeJSON(line []byte) []byte {
	if !needsEscape(line) {
		return line
	}
	out := make([]byte, 0, len(line)+16)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == 0x7f:
			out = append(out, `\u007f`...)
		case c == 0xc2 && i+1 < len(line) && line[i+1] >= 0x80 && line[i+1] <= 0x9f:
			out = fmt.Appendf(out, `\u%04x`, line[i+1])
			i++
		default:
			out = append(out, c)
		}
	}
	return out
}

func needsEscape(line []byte) bool {
	for _, c := range line {
		if c == 0x7f || c == 0xc2 {
			return true
		}
	}
	return false
}

// fit cuts s to a width in columns.
func fit(s string, width int) string {
	return ansi.Truncate(s, max(width, 0), "…")
}

// pad fills s with spaces up to a width in columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// Wrap breaks safe text into lines of at most width columns. A path is never
// broken: half a path cannot be copied.
func Wrap(text string, width int) []string {
	width = max(width, 8)
	var lines []string
	line, columns := "", 0
	for _, word := range strings.Fields(text) {
		more := ansi.StringWidth(word)
		switch {
		case line != "" && columns+1+more <= width:
			line += " " + word
			columns += 1 + more
			continue
		case line != "":
			lines = append(lines, line)
		}
		if !isPath(word) {
			pieces := strings.Split(ansi.Hardwrap(word, width, true), "\n")
			lines = append(lines, pieces[:len(pieces)-1]...)
			word = pieces[len(pieces)-1]
		}
		line, columns = word, ansi.StringWidth(word)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func isPath(word string) bool { return strings.HasPrefix(word, "/") && len(word) <= 256 }

// style paints words. The zero style paints nothing: colour only repeats what
// the words say already.
type style struct{ color bool }

func (s style) paint(code, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string { return s.paint("1", t) }
func (s style) dim(t string) string  { return s.paint("2", t) }
func (s style) good(t string) string { return s.paint("32", t) }
func (s style) warn(t string) string { return s.paint("33", t) }
func (s style) bad(t string) string  { return s.paint("31", t) }
