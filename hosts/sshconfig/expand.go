package sshconfig

import (
	"cmp"
	"crypto/sha1" // the name of a socket, no secret
	"encoding/hex"
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// tokens are what stands for %x, by x.
type tokens map[byte]string

// longestExpansion caps what a line may grow to.
const longestExpansion = 1 << 16

// expand replaces tokens and, where env is given, ${VARIABLE}.
func expand(text string, known tokens, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		var put string
		switch {
		case env != nil && strings.HasPrefix(text[i:], "${"):
			name, _, closed := strings.Cut(text[i+2:], "}")
			if !closed || name == "" {
				return "", fmt.Errorf("${ without a name and }")
			}
			value, ok := env(name)
			if !ok {
				return "", fmt.Errorf("the variable %s of the environment is not set", name)
			}
			put = value
			i += len("${") + len(name)
		case text[i] != '%' || known == nil:
			put = text[i : i+1]
		case i+1 == len(text):
			return "", fmt.Errorf("a %% at the end")
		case text[i+1] == '%':
			i++
			put = "%"
		default:
			i++
			value, ok := known[text[i]]
			if !ok {
				return "", fmt.Errorf("the token %%%c is not known here", text[i])
			}
			put = value
		}
		if b.Len()+len(put) > longestExpansion {
			return "", fmt.Errorf("it grows to more than %d bytes", longestExpansion)
		}
		b.WriteString(put)
	}
	return b.String(), nil
}

// tilde replaces ~ and ~USER at the beginning of a path.
func (l local) tilde(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok {
		return path, nil
	}
	name, rest, _ := strings.Cut(rest, "/")
	home := l.home
	if name != "" {
		account, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("there is no user %s", name)
		}
		home = account.HomeDir
	}
	return strings.TrimSuffix(home, "/") + "/" + strings.TrimLeft(rest, "/"), nil
}

// tokens are those that nearly every directive knows, made of what is known so far.
func (r *resolution) tokens() tokens {
	host, port, name, jump := r.currentHost(), strconv.Itoa(r.port()), r.user(), r.jumpHost()
	alias := r.query.Host
	if said := r.word("HostKeyAlias"); said != "" {
		alias = lower(said)
	}
	here := r.config.local
	short, _, _ := strings.Cut(here.hostname, ".")
	sum := sha1.Sum([]byte(here.hostname + host + port + name + jump))
	return tokens{
		'C': hex.EncodeToString(sum[:]), 'L': short, 'd': here.home, 'h': host, 'i': strconv.Itoa(here.uid), 'j': jump,
		'k': alias, 'l': here.hostname, 'n': r.query.Host, 'p': port, 'r': name, 'u': here.user,
	}
}

// blockTokens are those of Match exec and Include, where HostKeyAlias is as it was
// written, and a host without one is known by its address.
func (r *resolution) blockTokens() tokens {
	known := r.tokens()
	known['k'] = cmp.Or(r.word("HostKeyAlias"), known['h'])
	return known
}

// only keeps some tokens.
func (t tokens) only(names string) tokens {
	kept := tokens{}
	for i := range len(names) {
		kept[names[i]] = t[names[i]]
	}
	return kept
}
