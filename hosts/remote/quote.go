package remote

import (
	"errors"
	"fmt"
	"strings"
)

// Quote turns argv into one line that sh, bash, zsh and fish split into
// exactly argv again. SSH has no argv: the server hands one line to the login
// shell of the account, whichever that is. nushell and csh do so too where no word
// has a single quote, a backslash, an exclamation mark or the end of a line in it,
// for which they have no form in common with the others: hdeploy's own scripts have
// none of these.
func Quote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("quote command: it is empty")
	}
	var line strings.Builder
	for i, word := range argv {
		if strings.ContainsRune(word, 0) {
			return "", fmt.Errorf("quote argument %d: it contains a zero byte", i)
		}
		if i > 0 {
			line.WriteByte(' ')
		}
		quoteWord(&line, word)
	}
	return line.String(), nil
}

// quoteWord leaves single quotes for every quote and backslash: fish, unlike
// sh, gives both a meaning inside of them, and all agree on \' and \\ outside.
func quoteWord(line *strings.Builder, word string) {
	if word == "" {
		line.WriteString("''")
		return
	}
	if !strings.ContainsFunc(word, special) {
		line.WriteString(word)
		return
	}
	for word != "" {
		end := strings.IndexAny(word, `'\`)
		if end == 0 {
			line.WriteByte('\\')
			line.WriteByte(word[0])
			word = word[1:]
			continue
		}
		if end < 0 {
			end = len(word)
		}
		line.WriteByte('\'')
		line.WriteString(word[:end])
		line.WriteByte('\'')
		word = word[end:]
	}
}

// special reports whether a rune could mean something to one of the shells.
// The equals sign is: before a command it makes an assignment.
func special(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-./:,@+", r)
}
