package reach

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Key is an authorized key.
type Key struct {
	Type string `json:"type"`
	// Fingerprint is "SHA256:…" as ssh-keygen shows it.
	Fingerprint string `json:"fingerprint"`
	Options     string `json:"options,omitempty"`

	blob string
}

// mostKeys caps the keys of a user, longestKey the bytes of a line, as sshd does.
const (
	mostKeys   = 4096
	longestKey = 16 << 10
)

// parseKeyLine reads a line of authorized_keys, as sshd(8) has it: options, the type of
// the key, the key, and a comment, which anybody could have written and is left out.
func parseKeyLine(line string) (Key, bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || len(line) > longestKey {
		return Key{}, false
	}
	if k, ok := parseKey(line); ok {
		return k, true
	}
	end := endOfOptions(line)
	k, ok := parseKey(strings.TrimLeft(line[end:], " \t"))
	k.Options = line[:end]
	return k, ok
}

// endOfOptions is where the first blank outside of quotes is.
func endOfOptions(line string) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == '"':
			i++
		case line[i] == '"':
			quoted = !quoted
		case !quoted && (line[i] == ' ' || line[i] == '\t'):
			return i
		}
	}
	return len(line)
}

// parseKey reads "TYPE BASE64 …"; the key repeats its type.
func parseKey(text string) (Key, bool) {
	f := strings.Fields(text)
	if len(f) < 2 {
		return Key{}, false
	}
	blob, err := base64.StdEncoding.DecodeString(f[1])
	if err != nil || len(blob) < 4 {
		return Key{}, false
	}
	length := binary.BigEndian.Uint32(blob)
	if uint64(length) > uint64(len(blob)-4) || string(blob[4:4+length]) != f[0] {
		return Key{}, false
	}
	sum := sha256.Sum256(blob)
	return Key{Type: f[0], Fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), blob: f[1]}, true
}

// parseKeys reads a file of keys. Of a key that stands there twice the first line counts.
func parseKeys(text string) []Key {
	var keys []Key
	for line := range strings.Lines(text) {
		k, ok := parseKeyLine(line)
		if ok && len(keys) < mostKeys && !slices.ContainsFunc(keys, k.same) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (k Key) same(other Key) bool { return k.Fingerprint == other.Fingerprint }

// admitted are the keys that let a user in, and why files of keys do not count.
func admitted(a Account, s Settings) (keys []Key, refused []string) {
	for pattern := range strings.FieldsSeq(s.value("authorizedkeysfile")) {
		if pattern == "none" {
			continue
		}
		name := a.expand(pattern)
		text, err := readCapped(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = a.mayRead(name)
		}
		if err == nil && s.value("strictmodes") != "no" {
			err = a.strict(name)
		}
		if err != nil {
			refused = append(refused, err.Error())
			continue
		}
		for _, k := range parseKeys(string(text)) {
			if !slices.ContainsFunc(keys, k.same) {
				keys = append(keys, k)
			}
		}
	}
	return keys, refused
}

// expand puts the user into a pattern of AuthorizedKeysFile; what is not absolute lies
// below the home.
func (a Account) expand(pattern string) string {
	name := strings.NewReplacer("%%", "%", "%h", a.Home, "%u", a.Name, "%U", strconv.FormatUint(uint64(a.UID), 10)).Replace(pattern)
	if !filepath.IsAbs(name) {
		name = filepath.Join(a.Home, name)
	}
	return name
}

// mayRead says whether the user can read a file, as whom sshd reads it.
func (a Account) mayRead(name string) error {
	if a.UID == 0 {
		return nil
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	wanted := fs.FileMode(4)
	for at := real; ; at, wanted = filepath.Dir(at), 1 {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		if a.rights(info)&wanted == 0 {
			return fmt.Errorf("%s is not %s's to read: mode %04o of %s", name, a.Name, info.Mode().Perm(), at)
		}
		if at == "/" {
			return nil
		}
	}
}

// rights are the bits of the mode that hold for the user.
func (a Account) rights(info fs.FileInfo) fs.FileMode {
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode().Perm(); {
	case ok && owner.Uid == a.UID:
		return mode >> 6
	case ok && a.inGroup(owner.Gid):
		return mode >> 3 & 7
	default:
		return mode & 7
	}
}

func (a Account) inGroup(gid uint32) bool {
	if gid == a.GID {
		return true
	}
	u, err := user.Lookup(a.Name)
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.FormatUint(uint64(gid), 10))
}

// strict applies StrictModes: the file, and the directories up to the home or the root,
// belong to root or to the user, and nobody else can write to them.
func (a Account) strict(name string) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	home, err := filepath.EvalSymlinks(a.Home)
	if err != nil {
		home = a.Home
	}
	for at := real; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || owner.Uid != 0 && owner.Uid != a.UID || info.Mode().Perm()&0o022 != 0 {
			return fmt.Errorf("StrictModes does not take %s: mode %04o of %s", name, info.Mode().Perm(), at)
		}
		if at == home || at == "/" {
			return nil
		}
	}
}

// compareKeys judges what became of one user's keys.
func compareKeys(name string, before, now Login) Finding {
	var gone, narrower []string
	for _, k := range before.Keys {
		at := slices.IndexFunc(now.Keys, k.same)
		switch {
		case at < 0:
			gone = append(gone, k.Type+" "+k.Fingerprint)
		case now.Keys[at].Options != "" && now.Keys[at].Options != k.Options:
			narrower = append(narrower, k.Type+" "+k.Fingerprint)
		case now.Keys[at].Options == "" && strings.Contains(k.Options, "cert-authority"):
			narrower = append(narrower, k.Type+" "+k.Fingerprint)
		}
	}
	why := ""
	if len(now.Refused) > 0 {
		why = ": " + strings.Join(now.Refused, "; ")
	}
	command := now.Settings.value("authorizedkeyscommand")
	asked := command != "" && command != "none"
	switch {
	case len(before.Keys) == 0 && asked:
		return finding(Keys, Unknown, "the keys of %s come from a program, %s", name, command)
	case len(before.Keys) == 0:
		return finding(Keys, Unknown, "%s had no authorized keys before either", name)
	case len(gone) == len(before.Keys) && !asked:
		return finding(Keys, Failed, "no key of %s is admitted any more%s", name, why)
	case len(gone) > 0:
		return finding(Keys, Changed, "of %s not admitted any more: %s%s", name, strings.Join(gone, ", "), why)
	case len(narrower) > 0:
		return finding(Keys, Changed, "of %s with other options: %s", name, strings.Join(narrower, ", "))
	}
	return finding(Keys, Proven, "%s of %s", count(len(before.Keys), "key"), name)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
