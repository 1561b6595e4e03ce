package remote

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the format of hashed names, where it hides and does not protect
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The format is in sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. The parsers that exist for
// it read files only, refuse a whole file for one line that they do not understand,
// such as a new type of key, and take the type of an authority's key for that of its
// hosts. This one keeps what concerns one host.

// knownKey is a key that a line of known_hosts has for a host.
type knownKey struct {
	ssh.PublicKey
	// file and line say where it stands; line is zero outside of files.
	file string
	line int
}

func (k knownKey) place() string {
	if k.line == 0 {
		return k.file
	}
	return k.file + ":" + strconv.Itoa(k.line)
}

// knownHost is what is known about one host.
type knownHost struct {
	// keys are the host's own, authorities may certify it, and revoked are never
	// accepted, neither as a key nor as an authority.
	keys, authorities, revoked []knownKey
}

func (k *knownHost) add(other knownHost) {
	k.keys = append(k.keys, other.keys...)
	k.authorities = append(k.authorities, other.authorities...)
	k.revoked = append(k.revoked, other.revoked...)
}

// hostNames are the names under which a host may be known: the one that OpenSSH
// looks for first, and for a port of its own also the bare name, whose keys are
// accepted but never held against the host.
type hostNames struct{ exact, bare string }

// namesOf returns the names of a target in the form of known_hosts.
func namesOf(t Target) hostNames {
	name := strings.ToLower(t.Address)
	switch {
	case t.SSH.HostKeyAlias != "":
		return hostNames{exact: strings.ToLower(t.SSH.HostKeyAlias)}
	case t.Port == 22:
		return hostNames{exact: name}
	}
	return hostNames{exact: "[" + name + "]:" + strconv.Itoa(t.Port), bare: name}
}

// The largest file, and the longest line of it, that are read.
const (
	mostKnownHosts = 32 << 20
	longestLine    = 64 << 10
)

// readKnownFiles reads what files say of a name; files that do not exist say nothing.
func readKnownFiles(files []string, name string) (knownHost, error) {
	var all knownHost
	for _, path := range files {
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return all, fmt.Errorf("%s: %s", path, fileFault(err))
		}
		found, err := readKnownHosts(file, path, name)
		file.Close()
		if err != nil {
			return all, err
		}
		all.add(found)
	}
	return all, nil
}

// readKnownHosts reads what one source says of a name. A line that cannot be read is
// an error only where it concerns the name: OpenSSH passes over it, but it may be the
// one that revokes a key.
func readKnownHosts(source io.Reader, file, name string) (knownHost, error) {
	var found knownHost
	number := 0
	limited := &io.LimitedReader{R: source, N: mostKnownHosts + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		number++
		line, ok := splitKnownLine(lines.Text())
		if !ok || !matchesName(line.names, name) {
			continue
		}
		public, err := line.key()
		if errors.Is(err, errForeignKey) && line.marker != markerRevoked {
			continue
		}
		if err != nil {
			return found, fmt.Errorf("%s:%d: %v", file, number, err)
		}
		key := knownKey{PublicKey: public, file: file, line: number}
		switch line.marker {
		case "":
			found.keys = append(found.keys, key)
		case markerAuthority:
			found.authorities = append(found.authorities, key)
		case markerRevoked:
			found.revoked = append(found.revoked, key)
		default:
			return found, fmt.Errorf("%s:%d: unknown marker %s", file, number, printable(line.marker))
		}
	}
	if err := lines.Err(); err != nil {
		return found, fmt.Errorf("%s:%d: %v", file, number+1, err)
	}
	if limited.N <= 0 { // what follows may revoke a key
		return found, fmt.Errorf("%s: it is larger than %d bytes", file, mostKnownHosts)
	}
	return found, nil
}

const (
	markerAuthority = "@cert-authority"
	markerRevoked   = "@revoked"
)

// knownLine is a line of known_hosts that is no comment, in its fields.
type knownLine struct{ marker, names, keyType, blob string }

func splitKnownLine(text string) (knownLine, bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' })
	if len(fields) == 0 || fields[0][0] == '#' {
		return knownLine{}, false
	}
	var line knownLine
	if fields[0][0] == '@' {
		line.marker, fields = fields[0], fields[1:]
	}
	for i, field := range []*string{&line.names, &line.keyType, &line.blob} {
		if i < len(fields) {
			*field = fields[i]
		}
	}
	return line, line.names != ""
}

// errForeignKey is a key of a type that this program does not know.
var errForeignKey = errors.New("a type of key that is not known")

func (l knownLine) key() (ssh.PublicKey, error) {
	blob, err := base64.StdEncoding.DecodeString(l.blob)
	if err != nil || len(blob) == 0 {
		return nil, errors.New("it has no key that can be read")
	}
	var head struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(blob, &head) != nil || head.Type != l.keyType {
		return nil, errors.New("its key is not of the type it names")
	}
	public, err := ssh.ParsePublicKey(blob)
	switch {
	case err == nil:
		return public, nil
	case strings.HasPrefix(plain(err), "unknown key algorithm"):
		return nil, errForeignKey
	}
	return nil, errors.New(plain(err))
}

// matchesName says whether the names of a line stand for a name, which is in lower
// case: a hashed name, or patterns of which none that fits may be negated.
func matchesName(names, name string) bool {
	if strings.HasPrefix(names, "|") {
		return matchesHash(names, name)
	}
	matched := false
	for pattern := range strings.SplitSeq(names, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !wildcard(strings.ToLower(pattern), name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchesHash compares with |1|salt|hash, the HMAC-SHA1 of the name.
func matchesHash(hashed, name string) bool {
	parts := strings.Split(hashed, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, saltErr := base64.StdEncoding.DecodeString(parts[2])
	want, hashErr := base64.StdEncoding.DecodeString(parts[3])
	if saltErr != nil || hashErr != nil {
		return false
	}
	hash := hmac.New(sha1.New, salt)
	hash.Write([]byte(name))
	return bytes.Equal(hash.Sum(nil), want)
}

// wildcard matches * and ? in time that grows with the product of the lengths: the
// last star is the only one that is ever tried again.
func wildcard(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// has finds a key among known ones.
func has(known []knownKey, key ssh.PublicKey) (knownKey, bool) {
	i := slices.IndexFunc(known, func(k knownKey) bool { return sameKey(k, key) })
	if i < 0 {
		return knownKey{}, false
	}
	return known[i], true
}
