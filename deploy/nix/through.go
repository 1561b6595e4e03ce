package nix

import (
	"fmt"
	"net/url"
	"strings"
)

// Through is the store behind a program, given as its argv, that speaks the protocol
// of `nix-daemon --stdio` on its standard input and output; Nix appends the word
// --stdio. Unlike a unix:// store, of which Nix takes the files to be here, it can
// be copied from.
//
// Nix starts the program of a store at localhost by itself, without ssh: from 2.20 on
// it splits the words at blanks, before it gives them to bash. So no word may have
// any character that means something to either.
func Through(argv ...string) (storeURI string, err error) {
	for _, word := range argv {
		if word == "" || strings.IndexFunc(word, special) >= 0 {
			return "", fmt.Errorf("start a program for nix: %q has characters other than letters, digits and +-./:=@_", oneLine(word, 200))
		}
	}
	return "ssh-ng://localhost?remote-program=" + url.PathEscape(strings.Join(argv, " ")), nil
}

func special(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+-./:=@_", r))
}
