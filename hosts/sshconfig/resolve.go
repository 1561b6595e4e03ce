package sshconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
)

// resolution is one lookup on its way through the files. The first value of a
// directive stays.
type resolution struct {
	config *Config
	query  Query
	// host is what Host patterns are compared with: what was asked for, and in the
	// final pass what it became.
	host string
	// final says that this is the second pass, which Match final asks for.
	final, wantsFinal bool
	// settled says that host is the address: the first pass is over.
	settled bool
	// active says that the block applies.
	active bool
	first  map[string]value
	// identities and certificates accumulate.
	identities, certificates []keyFile
	// jumps are the hops of ProxyJump, nearest first.
	jumps []string
	// contested is a ProxyCommand behind "ProxyJump none".
	contested    Source
	files, lines int
}

// value is what a directive was first set to.
type value struct {
	words []string
	at    Source
}

// keyFile is an IdentityFile or CertificateFile, not expanded. OpenSSH keeps apart
// what the user and what the system names.
type keyFile struct {
	path string
	user bool
}

// scope is where a line stands.
type scope struct {
	// user says that the line is of the user's configuration; check that the file
	// must be nobody else's; never that no block of the file can apply.
	user, check, never bool
	depth              int
	// option says that the line is no line of a file.
	option bool
}

func (c *Config) resolve(q Query) (*resolution, error) {
	if q.DefaultUser == "" {
		q.DefaultUser = c.local.user
	}
	r := &resolution{config: c, query: q, host: q.Host, first: map[string]value{}}
	if !validHost(q.Host) {
		return nil, r.fault("HostName", "a host cannot be called %q", q.Host)
	}
	if q.User != "" {
		r.first["User"] = value{words: []string{q.User}}
	}
	if q.Port != 0 {
		r.first["Port"] = value{words: []string{fmt.Sprint(q.Port)}}
	}
	r.active = true
	for _, o := range q.Options {
		if err := r.option(o); err != nil {
			return nil, err
		}
	}
	if err := r.pass(); err != nil {
		return nil, err
	}
	if err := r.settleHost(); err != nil {
		return nil, err
	}
	if !r.wantsFinal {
		return r, nil
	}
	r.final = true
	said := r.first["HostName"]
	said.words = []string{r.host}
	r.first["HostName"] = said
	return r, r.pass()
}

func (r *resolution) option(o Option) error {
	if strings.ContainsAny(o.Directive+o.Value, "\x00\r\n") {
		return &Error{Source: o.Source, Directive: o.Directive, Message: "an option is one line"}
	}
	if o.Directive == "" || strings.ContainsAny(o.Directive, blanks+`"=#`) {
		return &Error{Source: o.Source, Message: fmt.Sprintf("%q is no directive of ssh_config", o.Directive)}
	}
	l, ok := parseLine(o.Directive+" "+o.Value, o.Source)
	if !ok {
		return nil
	}
	return r.line(l, scope{user: true, option: true})
}

// pass goes through all files once.
func (r *resolution) pass() error {
	c := r.config
	for _, path := range []string{c.userFile, c.systemFile} {
		if path == "" {
			continue
		}
		r.active = true
		user := path == c.userFile
		err := r.file(path, scope{user: user, check: user && !c.named})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (r *resolution) file(path string, s scope) error {
	f, err := r.config.read(path)
	if err != nil {
		return err
	}
	if s.check {
		if err := f.permitted(path); err != nil {
			return err
		}
	}
	r.files++
	r.lines += len(f.lines)
	if r.files > mostIncluded || r.lines > mostLines {
		return &Error{Source: Source{File: path}, Directive: "Include", Message: fmt.Sprintf("a lookup reads more than %d files or %d lines", mostIncluded, mostLines)}
	}
	for _, l := range f.lines {
		if err := r.line(l, s); err != nil {
			return err
		}
	}
	return nil
}

// line applies one directive, or checks its form where its block does not apply.
func (r *resolution) line(l line, s scope) error {
	k, known := keywords[l.keyword]
	fail := func(format string, args ...any) error {
		name := k.name
		if name == "" {
			name = l.keyword
		}
		return &Error{Source: l.at, Directive: name, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case l.fault != "":
		return fail("%s", l.fault)
	case !known && matchesList(l.keyword, lower(r.word("IgnoreUnknown"))) == match:
		return nil
	case !known:
		return fail("this is no directive of ssh_config")
	case k.read == nil:
		return nil
	}
	return k.read(&reading{resolution: r, line: l, scope: s, name: k.name, fail: fail})
}

// settleHost finds out the address: that of HostName, or what was asked for.
func (r *resolution) settleHost() error {
	host := r.query.Host
	if said := r.word("HostName"); said != "" {
		expanded, err := expand(said, tokens{'h': host}, nil)
		if err != nil {
			return r.fault("HostName", "%v", err)
		}
		host = expanded
	}
	if !validHost(host) {
		return r.fault("HostName", "a host cannot be called %q", host)
	}
	if address, err := netip.ParseAddr(host); err == nil {
		r.host = address.String()
	} else {
		r.host = lower(host)
	}
	r.settled = true
	return nil
}

// currentHost is the address as far as it is known: Match host is asked before the
// files are at their end.
func (r *resolution) currentHost() string {
	said := r.word("HostName")
	if r.settled || said == "" {
		return r.host
	}
	if expanded, err := expand(said, tokens{'h': r.query.Host}, nil); err == nil {
		return expanded
	}
	return said
}

func (r *resolution) user() string {
	if said := r.word("User"); said != "" {
		return said
	}
	return r.query.DefaultUser
}

func (r *resolution) port() int {
	port, err := portNumber(r.word("Port"))
	if err != nil {
		return 22
	}
	return port
}

// jumpHost is the hop before the destination, without user and port.
func (r *resolution) jumpHost() string {
	if len(r.jumps) == 0 {
		return ""
	}
	hop, err := ParseHop(r.jumps[len(r.jumps)-1])
	if err != nil {
		return ""
	}
	return hop.Host
}

// word is the first argument of a directive, or empty.
func (r *resolution) word(directive string) string {
	if said := r.first[directive]; len(said.words) > 0 {
		return said.words[0]
	}
	return ""
}

func (r *resolution) fault(directive, format string, args ...any) error {
	return &Error{Source: r.source(directive), Directive: directive, Message: fmt.Sprintf(format, args...)}
}

// source is where a directive was said; where it was not, the file that was read.
func (r *resolution) source(directive string) Source {
	if said, ok := r.first[directive]; ok && said.at != (Source{}) {
		return said.at
	}
	return Source{File: r.config.userFile}
}

// validHost is OpenSSH's: names go into the words of shells.
func validHost(name string) bool {
	return name != "" && name[0] != '-' && len(name) <= 1024 &&
		!strings.ContainsAny(name, "'`\"$\\;&<>|(){},"+blanks+"\v\f") && !hasControls(name)
}

func validUser(name string) bool {
	if name == "" || name[0] == '-' || hasControls(name) || strings.ContainsAny(name, "'`\";&<>|(){}") || strings.HasSuffix(name, `\`) {
		return false
	}
	return !strings.Contains(name, " -")
}

func hasControls(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
