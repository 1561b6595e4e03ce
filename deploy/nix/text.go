package nix

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes foreign text harmless for a terminal: escape sequences go as a
// whole, so that no "[31m" stays behind, and so do control characters and
// those that reorder text. A carriage return means that the line was written
// anew: only what was written last is kept. Newlines stay, tabs become blanks.
// At most limit bytes are returned.
func clean(text string, limit int) string {
	var out []byte
	lineStart := 0
	for i := 0; i < len(text); {
		if text[i] == 0x1b {
			i += escapeLength(text[i:])
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case r == '\n':
			out = append(out, '\n')
			lineStart = len(out)
		case r == '\t':
			out = append(out, ' ')
		case r == '\r':
			if i < len(text) && text[i] != '\n' {
				out = out[:lineStart]
			}
		case unicode.IsControl(r) || reorders(r):
		default:
			out = utf8.AppendRune(out, r)
		}
		if len(out) > limit {
			return string(cutRune(out[:limit]))
		}
	}
	return string(out)
}

// cutRune removes the incomplete character at the end of text, if there is one.
func cutRune(text []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if start := len(text) - i; utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				return text[:start]
			}
			break
		}
	}
	return text
}

// reorders tells whether the character changes the direction of the text
// after it, with which a name can be made to look like another.
func reorders(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029
}

// escapeLength is the length of the escape sequence that text begins with, by
// ECMA-48: CSI up to its final byte, OSC and its relatives up to BEL or ST.
func escapeLength(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		for i := 2; i < len(text); i++ {
			if text[i] >= 0x40 && text[i] <= 0x7e {
				return i + 1
			}
			if text[i] < 0x20 || text[i] > 0x7e {
				return i
			}
		}
		return len(text)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(text); i++ {
			switch {
			case text[i] == 0x07:
				return i + 1
			case text[i] == '\n':
				return i
			case text[i] == 0x1b:
				if i+1 < len(text) && text[i+1] == '\\' {
					return i + 2
				}
				return i
			}
		}
		return len(text)
	}
	// Others: intermediate bytes, as in "ESC ( B", and a final one.
	for i := 1; i < len(text); i++ {
		if text[i] < 0x20 || text[i] > 0x7e {
			return i
		}
		if text[i] >= 0x30 {
			return i + 1
		}
	}
	return len(text)
}

// oneLine is clean for a text that must not break a line.
func oneLine(text string, limit int) string {
	return strings.TrimSpace(strings.ReplaceAll(clean(text, limit), "\n", " "))
}

// storeName is the readable part of a store path: "hello-2.12" for
// /nix/store/<hash>-hello-2.12.drv.
func storeName(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if _, after, found := strings.Cut(name, "-"); found {
		name = after
	}
	return oneLine(strings.TrimSuffix(name, ".drv"), 100)
}
