package sshconfig

import (
	"fmt"
	"net/url"
	"strings"
)

// Hop is one machine that a connection passes through.
type Hop struct {
	// Host is what is looked up in ssh_config. User is empty and Port 0 where ProxyJump
	// does not say them.
	Host string
	User string
	Port int
	// Settings are what holds for the hop; [ParseHop] leaves them empty.
	Settings Settings
}

// jump reads ProxyJump: hops with commas between them, nearest first.
func (r *reading) jump() error {
	text := strings.TrimLeft(r.rest, blanks+"=")
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimRight(text, blanks)
	var hops []string
	if lower(text) != "none" {
		hops = strings.Split(text, ",")
		for _, hop := range hops {
			if _, err := ParseHop(hop); err != nil {
				return r.fail("%v", err)
			}
		}
	}
	if !r.active || len(r.first["ProxyCommand"].words) > 0 || len(r.first["ProxyJump"].words) > 0 {
		return nil
	}
	r.set(text)
	r.jumps = hops
	return nil
}

// ParseHop reads [user@]host[:port] or ssh://[user@]host[:port].
func ParseHop(text string) (Hop, error) {
	bad := fmt.Errorf("%q is no [user@]host[:port]", text)
	rest, isURI := strings.CutPrefix(text, "ssh://")
	at := strings.LastIndexByte(rest, '@')
	if isURI {
		at = strings.IndexByte(rest, '@')
	}
	var hop Hop
	if at >= 0 {
		hop.User, rest = rest[:at], rest[at+1:]
		if isURI {
			name, _, _ := strings.Cut(hop.User, ";")
			decoded, err := url.QueryUnescape(name)
			if err != nil {
				return Hop{}, bad
			}
			hop.User = decoded
		}
		if hop.User == "" {
			return Hop{}, bad
		}
	}
	host, port, ok := hostAndPort(rest)
	if isURI {
		path := ""
		if port, path, _ = strings.Cut(port, "/"); path != "" {
			return Hop{}, bad
		}
	}
	if !ok {
		return Hop{}, bad
	}
	hop.Host = host
	if port != "" {
		number, err := portNumber(port)
		if err != nil {
			return Hop{}, bad
		}
		hop.Port = number
	}
	// Tokens are only known later.
	if !validHost(host) || strings.Contains(host, "@") || hop.User != "" && !validUser(hop.User) {
		return Hop{}, bad
	}
	return hop, nil
}

// hostAndPort cuts at the first colon behind a host, which has brackets where it has
// colons itself.
func hostAndPort(text string) (host, port string, ok bool) {
	rest := ""
	if inner, isBracketed := strings.CutPrefix(text, "["); isBracketed {
		host, rest, ok = strings.Cut(inner, "]")
		if !ok || rest != "" && rest[0] != ':' && rest != "/" {
			return "", "", false
		}
		return host, strings.TrimPrefix(rest, ":"), host != ""
	}
	if at := strings.IndexAny(text, ":/"); at >= 0 {
		if text[at] == '/' {
			return text[:at], text[at:], at > 0
		}
		text, rest = text[:at], text[at+1:]
	}
	return text, rest, text != ""
}

// mostHops caps a way, of which each hop may name another.
const mostHops = 16

// Hops looks up the way that ProxyJump of settings describes, nearest hop first. As
// with ssh -J the way to a hop are the ones before it; only the first one's own
// ProxyJump and ProxyCommand count.
func (c *Config) Hops(settings Settings) ([]Hop, error) { return c.hops(settings, 0) }

func (c *Config) hops(settings Settings, before int) ([]Hop, error) {
	at := settings.Sources["ProxyJump"]
	if before+len(settings.ProxyJump) > mostHops {
		return nil, &Error{Source: at, Directive: "ProxyJump", Message: fmt.Sprintf("the way has more than %d hops, perhaps because it leads back to itself", mostHops)}
	}
	var way []Hop
	for i, text := range settings.ProxyJump {
		hop, err := ParseHop(text)
		if err != nil {
			return nil, &Error{Source: at, Directive: "ProxyJump", Message: err.Error()}
		}
		query := Query{Host: hop.Host, User: hop.User, Port: hop.Port}
		if i > 0 {
			query.Options = []Option{{Directive: "ProxyJump", Value: strings.Join(settings.ProxyJump[:i], ","), Source: at}}
		}
		if hop.Settings, err = c.Lookup(query); err != nil {
			return nil, err
		}
		if i == 0 && len(hop.Settings.ProxyJump) > 0 {
			if way, err = c.hops(hop.Settings, before+len(settings.ProxyJump)); err != nil {
				return nil, err
			}
		}
		hop.Settings.ProxyJump = nil
		way = append(way, hop)
	}
	return way, nil
}
