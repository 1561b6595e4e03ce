package deployrs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Option is one directive with its value as ssh_config would have it, quotes included.
type Option struct{ Name, Value string }

// SSHOptions are what a list sshOpts says.
type SSHOptions struct {
	// Options are in the order of their precedence: of a directive that has one
	// value the first one counts, as with ssh.
	Options []Option
	// ConfigFile is the file of -F, empty where there is none.
	ConfigFile string
	// Ignored are what hdeploy has no use for, as it was written.
	Ignored []string
}

// The options of ssh(1) by what becomes of them.
const (
	// ignoredFlags change what ssh shows, forwards or compresses: hdeploy has no
	// terminal on the host, forwards nothing of the user's and lets Nix compress.
	ignoredFlags = "AaCKkNnqTtvXxYy"
	// ignoredWithValue are about multiplexing and logs, which ssh alone does.
	ignoredWithValue = "eESO"
	// refusedFlags change what a connection is for.
	refusedFlags = "fGgMsV"
	// refusedWithValue likewise, and take a value.
	refusedWithValue = "BDILPQRWw"
)

// directives are the options that have a directive of their own in ssh_config.
var directives = map[byte]string{
	'b': "BindAddress", 'c': "Ciphers", 'i': "IdentityFile", 'J': "ProxyJump", 'l': "User", 'm': "MACs", 'p': "Port",
}

// mostOptions and mostOptionBytes cap one list.
const mostOptions, mostOptionBytes = 256, 16 << 10

// ParseSSHOptions reads a list of arguments of ssh(1), as deploy-rs passes them. What
// would change the connection and cannot be honoured is an error that names it; all
// of them are returned, joined.
func ParseSSHOptions(arguments []string) (SSHOptions, []error) {
	p := &optionParser{rest: arguments}
	if len(arguments) > mostOptions {
		return SSHOptions{}, []error{fmt.Errorf("it has %d items, more than %d", len(arguments), mostOptions)}
	}
	for len(p.rest) > 0 {
		word := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case len(word) > mostOptionBytes || strings.ContainsFunc(word, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
			p.fail("%.60q is too long or has control characters", word)
		case strings.TrimSpace(word) == "":
		case len(word) < 2 || word[0] != '-':
			p.fail("%q is no option of ssh", word)
		case strings.HasPrefix(word, "--"):
			p.fail("%q is no option of ssh", word)
		default:
			p.flags(word[1:])
		}
	}
	return p.result, p.faults
}

type optionParser struct {
	rest   []string
	result SSHOptions
	faults []error
}

func (p *optionParser) fail(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// flags reads the letters of one word, of which the last may take a value.
func (p *optionParser) flags(letters string) {
	for letters != "" {
		letter := letters[0]
		letters = letters[1:]
		switch {
		case letter == '4':
			p.add("AddressFamily", "inet")
		case letter == '6':
			p.add("AddressFamily", "inet6")
		case strings.IndexByte(ignoredFlags, letter) >= 0:
			p.result.Ignored = append(p.result.Ignored, "-"+string(letter))
		case strings.IndexByte(refusedFlags, letter) >= 0:
			p.fail("-%c cannot be honoured", letter)
		case takesValue(letter):
			p.valued(letter, letters)
			return
		default:
			p.fail("ssh has no option -%s", printable(letter))
			return
		}
	}
}

func printable(letter byte) string {
	if letter < ' ' || letter > '~' {
		return "?"
	}
	return string(letter)
}

func takesValue(letter byte) bool {
	return letter == 'o' || letter == 'F' || directives[letter] != "" || strings.IndexByte(ignoredWithValue+refusedWithValue, letter) >= 0
}

// valued reads an option whose value is the rest of its word, or the next one.
func (p *optionParser) valued(letter byte, value string) {
	if value == "" {
		if len(p.rest) == 0 {
			p.fail("-%c lacks its value", letter)
			return
		}
		value, p.rest = p.rest[0], p.rest[1:]
	}
	value = strings.TrimSpace(value)
	switch {
	case value == "" || strings.ContainsFunc(value, unicode.IsControl) || len(value) > mostOptionBytes:
		p.fail("the value of -%c is empty or cannot be read", letter)
	case letter == 'o':
		p.directive(value)
	case letter == 'F':
		if p.result.ConfigFile == "" {
			p.result.ConfigFile = value
		}
	case directives[letter] != "":
		p.add(directives[letter], inQuotes(value))
	case strings.IndexByte(ignoredWithValue, letter) >= 0:
		p.result.Ignored = append(p.result.Ignored, "-"+string(letter))
	default:
		p.fail("-%c cannot be honoured", letter)
	}
}

// inQuotes makes one word of a value, which in ssh_config ends at a blank.
func inQuotes(value string) string {
	if strings.ContainsAny(value, " \t") && !strings.Contains(value, `"`) {
		return `"` + value + `"`
	}
	return value
}

// directive reads Key=Value or Key Value, as a line of ssh_config.
func (p *optionParser) directive(line string) {
	end := strings.IndexAny(line, " \t=")
	if end <= 0 {
		p.fail("-o %q has no value", line)
		return
	}
	name, value := line[:end], strings.TrimLeft(line[end:], " \t")
	value = strings.TrimSpace(strings.TrimPrefix(value, "="))
	if value == "" || strings.ContainsFunc(name, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9') }) {
		p.fail("-o %q is no directive with a value", line)
		return
	}
	if unsafe(name, value) {
		p.result.Ignored = append(p.result.Ignored, name+"="+value)
		return
	}
	p.add(name, value)
}

// unsafe tells of a directive by which ssh would trust a host that it does not know,
// or of one that is about sharing connections. hdeploy does neither.
func unsafe(name, value string) bool {
	switch strings.ToLower(name) {
	case "stricthostkeychecking", "checkhostip", "controlmaster", "controlpath", "controlpersist", "loglevel", "compression",
		"forwardagent", "forwardx11", "requesttty", "visualhostkey", "updatehostkeys", "batchmode", "serveraliveinterval",
		"serveralivecountmax", "tcpkeepalive", "connectionattempts", "sendenv", "setenv":
		return true
	case "userknownhostsfile", "globalknownhostsfile":
		return value == "/dev/null"
	}
	return false
}

// add keeps the first value of a directive that has one.
func (p *optionParser) add(name, value string) {
	several := []string{"identityfile", "certificatefile"}
	known := slices.ContainsFunc(p.result.Options, func(o Option) bool { return strings.EqualFold(o.Name, name) })
	if !known || slices.Contains(several, strings.ToLower(name)) {
		p.result.Options = append(p.result.Options, Option{Name: name, Value: value})
	}
}
