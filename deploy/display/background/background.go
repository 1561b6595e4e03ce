// Package background keeps the library of the live display from asking the terminal
// for its background, which it does before main, whatever the command: the question is
// an escape sequence in a log that offers a pseudo-terminal, and its answer is waited
// for seconds.
//
// It keeps one promise: not a byte goes to a terminal before [Known] is called. It may
// import nothing but the standard library, since packages are initialised in the order
// of their paths once what they import is: so it comes before the library that asks.
package background

import "os"

// withheld is the terminal's name while libraries are initialised, which ask no terminal
// that is called dumb.
var withheld, isSet = os.LookupEnv(variable)

const variable = "TERM"

func init() {
	if isSet {
		_ = os.Setenv(variable, "dumb") // it fails for names that are no names alone
	}
}

// Known gives the terminal its name back. It is what main does first.
func Known() {
	if isSet {
		_ = os.Setenv(variable, withheld)
	}
}
