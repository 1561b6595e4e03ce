package sshconfig

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
)

// reading is one line and where it stands.
type reading struct {
	*resolution
	line
	scope scope
	// name is the directive as ssh_config(5) writes it.
	name string
	fail func(format string, args ...any) error
}

// set keeps the first value of a block that applies.
func (r *reading) set(words ...string) {
	if _, said := r.first[r.name]; !said && r.active {
		r.first[r.name] = value{words: words, at: r.at}
	}
}

// one returns the only argument.
func (r *reading) one() (string, error) {
	switch {
	case len(r.words) == 0 || r.words[0] == "":
		return "", r.fail("it has no argument")
	case len(r.words) > 1:
		return "", r.fail("it has more than one argument")
	}
	return r.words[0], nil
}

func (r *reading) oneWord() error {
	word, err := r.one()
	if err == nil {
		r.set(word)
	}
	return err
}

func (r *reading) flag() error { return choice("yes", "no", "true", "false")(r) }

// choice reads one of some words, in any case; true and false are yes and no.
func choice(words ...string) func(*reading) error {
	return func(r *reading) error {
		word, err := r.one()
		if err != nil {
			return err
		}
		word = lower(word)
		for _, known := range words {
			if word != known {
				continue
			}
			switch word {
			case "true":
				word = "yes"
			case "false":
				word = "no"
			}
			r.set(word)
			return nil
		}
		return r.fail("%q is none of %s", r.words[0], strings.Join(words, ", "))
	}
}

func (r *reading) portNumber() error {
	word, err := r.one()
	if err != nil {
		return err
	}
	port, err := portNumber(word)
	if err != nil {
		return r.fail("%v", err)
	}
	r.set(strconv.Itoa(port))
	return nil
}

// portNumber reads a port or the name of a service.
func portNumber(word string) (int, error) {
	number, err := strconv.Atoi(word)
	if err != nil && word != "" && !strings.ContainsAny(word, "+- ") {
		number, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", word) // a file, no network
	}
	if err != nil || number < 1 || number > math.MaxUint16 {
		return 0, fmt.Errorf("%q is no port", word)
	}
	return number, nil
}

func (r *reading) time() error {
	word, err := r.one()
	if err != nil {
		return err
	}
	if word == "none" {
		return nil // as if nothing were said: a later line may say more
	}
	seconds, ok := seconds(word)
	if !ok {
		return r.fail("%q is no time", word)
	}
	r.set(strconv.Itoa(seconds))
	return nil
}

// seconds reads a time as sshd_config(5) writes it: numbers, each with s, m, h, d, w
// or nothing behind it.
func seconds(text string) (int, bool) {
	units := map[byte]int{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
	total := 0
	for text != "" {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		number, err := strconv.Atoi(text[:digits])
		if err != nil {
			return 0, false
		}
		unit := 1
		if text = text[digits:]; text != "" {
			if unit = units[lower(text[:1])[0]]; unit == 0 {
				return 0, false
			}
			text = text[1:]
		}
		if number > math.MaxInt32/unit || number*unit > math.MaxInt32-total {
			return 0, false
		}
		total += number * unit
	}
	return total, true
}

func (r *reading) number() error {
	word, err := r.one()
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(word); err != nil || n < 0 || n > math.MaxInt32 {
		return r.fail("%q is no number", word)
	}
	r.set(word)
	return nil
}

// command reads all that follows, with its quotes and number signs.
func (r *reading) command() error {
	text := strings.TrimLeft(r.rest, blanks+"=")
	if jump := r.first["ProxyJump"].words; r.name == "ProxyCommand" && len(jump) > 0 {
		if r.active && lower(jump[0]) == "none" && lower(text) != "none" && r.contested == (Source{}) {
			r.contested = r.at
		}
		return nil // whichever of the two comes first holds
	}
	r.set(text)
	return nil
}

// severalWords reads a list in which "none" stands alone.
func (r *reading) severalWords() error {
	for _, word := range r.words {
		if word == "" {
			return r.fail("an argument is empty")
		}
		if lower(word) == "none" && len(r.words) > 1 {
			return r.fail("none stands beside others")
		}
	}
	if len(r.words) > mostKnownHosts {
		return r.fail("more than %d arguments", mostKnownHosts)
	}
	if len(r.words) > 0 {
		r.set(r.words...)
	}
	return nil
}

// Caps of OpenSSH.
const (
	mostKnownHosts = 32
	mostKeyFiles   = 100
)

// keyFile adds to what was said before.
func (r *reading) keyFile() error {
	word, err := r.one()
	if err != nil || !r.active {
		return err
	}
	files := &r.identities
	if r.name == "CertificateFile" {
		files = &r.certificates
	}
	if len(*files) >= mostKeyFiles {
		return r.fail("there are more than %d of it", mostKeyFiles)
	}
	next := keyFile{word, r.scope.user}
	for _, present := range *files {
		if present == next {
			return nil
		}
	}
	*files = append(*files, next)
	r.set(word) // where the first one was said
	return nil
}

func (r *reading) agent() error {
	word, err := r.one()
	if err != nil {
		return err
	}
	if _, err := expand(word, nil, r.config.local.env); err != nil {
		return r.fail("%v", err)
	}
	if name, ok := strings.CutPrefix(word, "$"); ok && !strings.HasPrefix(name, "{") && !validVariable(name) {
		return r.fail("%q is no variable of the environment", word)
	}
	r.set(word)
	return nil
}

func validVariable(name string) bool {
	return name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// algorithms reads a list that all, or a part of them, may be named in.
func algorithms(all []string) func(*reading) error {
	return func(r *reading) error {
		word, err := r.one()
		if err != nil {
			return err
		}
		if !validAlgorithms(word, all) {
			return r.fail("%q names an algorithm that does not exist", word)
		}
		r.set(word)
		return nil
	}
}
