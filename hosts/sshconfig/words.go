package sshconfig

import "strings"

const blanks = " \t\r\n"

// firstWord cuts the keyword off a line: it ends at blanks, of which one may be an
// equals sign, or at the end of its quotes. more says that something may follow; ok
// is false where a quote is not closed.
func firstWord(line string) (word, rest string, more, ok bool) {
	at := strings.IndexAny(line, blanks+`"=`)
	if at < 0 {
		return line, "", false, true
	}
	if line[at] == '"' {
		inner, rest, closed := strings.Cut(line[at+1:], `"`)
		return line[:at] + inner, strings.TrimLeft(rest, blanks), closed, closed
	}
	rest = strings.TrimLeft(line[at+1:], blanks)
	if line[at] != '=' && strings.HasPrefix(rest, "=") {
		rest = strings.TrimLeft(rest[1:], blanks)
	}
	return line[:at], rest, true, true
}

// split cuts arguments at blanks outside of quotes, and takes the quotes and the
// backslashes before quotes, backslashes and blanks away. It is false where a quote
// is not closed.
func split(text string, comments bool) ([]string, bool) {
	var words []string
	for i := 0; i < len(text); i++ {
		if text[i] == ' ' || text[i] == '\t' {
			continue
		}
		if comments && text[i] == '#' {
			break
		}
		word, end, ok := argument(text, i)
		if !ok {
			return nil, false
		}
		words = append(words, word)
		i = end
	}
	return words, true
}

// argument reads the one that begins at i and returns where it ends.
func argument(text string, i int) (word string, end int, ok bool) {
	var quote byte
	var b strings.Builder
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && escapes(text[i+1], quote):
			i++
			b.WriteByte(text[i])
		case c == '\\':
			b.WriteByte(c)
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), i, true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), i, quote == 0
}

func escapes(next, quote byte) bool {
	return next == '\'' || next == '"' || next == '\\' || next == ' ' && quote == 0
}
