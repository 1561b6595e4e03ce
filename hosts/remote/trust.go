package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// ShownKey is a key that a host has shown and that is not the known one, if there is
// any.
type ShownKey struct {
	// Host is the host of the target, or the jump host, Address where it answered.
	Host, Address string
	// Type and Fingerprint (SHA256) are the key's, Line is the key as it stands in
	// host_keys of deploy.toml, Console prints its fingerprint on the host itself.
	Type, Fingerprint, Line, Console string
	// Known are the fingerprints that were known, each with its place; none for a
	// host that nothing is known of.
	Known []string
	// File is the known_hosts file that [ShownKey.Write] adds to, empty where the key
	// belongs into deploy.toml: it has a placeholder for it, or there is no such file.
	File string

	name string
	key  ssh.PublicKey
	old  []knownKey
}

// DialTrusting is [Dial], but a key that is not known is shown to accept, which
// returns nil when a person, or a fingerprint known from elsewhere, vouches for it.
// The login then goes on over the same connection: one that is given up without a
// login would be punished by the host. A key that is revoked, that contradicts the
// pinned one, or, without replace, that contradicts a known one, is refused without
// asking.
func DialTrusting(ctx context.Context, t Target, replace bool, accept func(context.Context, ShownKey) error) (*Conn, error) {
	accepted := map[string]bool{}
	t.replace = replace
	t.accept = func(ctx context.Context, shown ShownKey) error {
		seen := shown.Address + " " + shown.Line
		if accepted[seen] {
			return nil
		}
		if err := accept(ctx, shown); err != nil {
			return err
		}
		accepted[seen] = true
		return nil
	}
	return Dial(ctx, t)
}

// ask lets somebody vouch for a key.
func (p *hostKeyPolicy) ask(ctx context.Context, key ssh.PublicKey) error {
	shown := ShownKey{
		Host: p.target.Host, Address: p.target.endpoint(), Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key),
		Line: keyLine(key), Console: consoleCommand(key),
		name: p.names.exact, key: key, old: p.host.keys,
	}
	if files := p.target.KnownHostsFiles; !p.pinned && len(files) > 0 && files[0] != os.DevNull {
		shown.File = files[0]
	}
	for _, old := range p.host.keys {
		shown.Known = append(shown.Known, ssh.FingerprintSHA256(old)+" in "+old.place())
	}
	var err error
	p.budget.aside(func() { err = p.target.accept(ctx, shown) })
	if err != nil {
		return p.target.fail(HostKeyUnknown, p.trustCommand(""), "trust %s %s: %v", shown.Type, shown.Fingerprint, err)
	}
	return nil
}

// Write adds the key to the known_hosts file, which is created private, and takes out
// the keys that were known before. A name that an old key has only by a pattern, or in
// another file, is left for a person, and then nothing is written.
func (s ShownKey) Write() error {
	if s.File == "" {
		return nil
	}
	if special := strings.IndexAny(s.name, " \t\r\n,*?!|"); special >= 0 || strings.IndexAny(s.name, "#@") == 0 {
		return fmt.Errorf("write known hosts: %q would stand for more than this host there; see HostKeyAlias in ssh_config", s.name)
	}
	content, err := readAll(s.File)
	if err != nil {
		return fmt.Errorf("read known hosts: %v", err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	for _, old := range s.old {
		if old.file != s.File || old.line < 1 || old.line > len(lines) {
			return fmt.Errorf("replace the old key: it stands in %s, which must be changed by hand", old.place())
		}
		if lines[old.line-1], err = withoutName(lines[old.line-1], s.name); err != nil {
			return fmt.Errorf("replace the old key in %s: %v", old.place(), err)
		}
	}
	text := strings.Join(lines, "")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return replaceFile(s.File, text+s.name+" "+s.Line+"\n")
}

// withoutName takes a name off a line, and drops the line if it has no other.
func withoutName(line, name string) (string, error) {
	parsed, ok := splitKnownLine(line)
	if !ok || parsed.marker != "" {
		return "", errors.New("the file has changed meanwhile")
	}
	if strings.HasPrefix(parsed.names, "|") {
		return "", nil
	}
	names := strings.Split(parsed.names, ",")
	left := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.ToLower(n) == name })
	switch {
	case matchesName(strings.Join(left, ","), name):
		return "", fmt.Errorf("a pattern stands for %s there, which must be changed by hand", printable(name))
	case len(left) == 0:
		return "", nil
	}
	return strings.Replace(line, parsed.names, strings.Join(left, ","), 1), nil
}

func readAll(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe has no end
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s is no regular file", path)) // a device would be replaced
	}
	content, err := io.ReadAll(io.LimitReader(file, mostKnownHosts+1))
	if err == nil && len(content) > mostKnownHosts {
		err = fmt.Errorf("%s is larger than %d bytes", path, mostKnownHosts) // the rest would be lost
	}
	return content, err
}

// replaceFile writes a file beside the old one and renames it, so that another ssh
// never reads half of it. A link is followed: a dotfiles folder may hold the file. Who
// could read the old one can read the new one, which may be everybody's.
func replaceFile(path, text string) (err error) {
	mode := fs.FileMode(0o600)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
		if info, err := os.Stat(path); err == nil {
			mode = info.Mode().Perm()
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write known hosts: %v", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".known_hosts-*")
	if err != nil {
		return fmt.Errorf("write known hosts: %v", err)
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write known hosts: %v", err)
	}
	return nil
}
