package reach

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Account is a user's line of passwd(5).
type Account struct {
	Name  string `json:"name"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Home  string `json:"home"`
	Shell string `json:"shell,omitempty"`
}

const passwd = "/etc/passwd"

// findAccount is nil where there is no such user. NixOS writes all users of the
// configuration into the file; those of a directory service are not found.
func findAccount(name string) (*Account, error) {
	text, err := readCapped(passwd)
	if err != nil {
		return nil, fmt.Errorf("find user %s: %v", name, err)
	}
	for line := range strings.Lines(string(text)) {
		if a, ok := parseAccount(strings.TrimRight(line, "\n")); ok && a.Name == name {
			return &a, nil
		}
	}
	return nil, nil
}

func parseAccount(line string) (Account, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || f[0] == "" || !filepath.IsAbs(f[5]) {
		return Account{}, false
	}
	uid, uidErr := strconv.ParseUint(f[2], 10, 32)
	gid, gidErr := strconv.ParseUint(f[3], 10, 32)
	return Account{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: filepath.Clean(f[5]), Shell: f[6]}, uidErr == nil && gidErr == nil
}

// noShell says why the account's shell lets nobody in: sshd refuses a login whose shell
// cannot be executed. An empty one is /bin/sh.
func (a Account) noShell() string {
	if a.Shell == "" {
		return ""
	}
	if slices.Contains([]string{"nologin", "false"}, filepath.Base(a.Shell)) {
		return "the shell is " + a.Shell
	}
	info, err := os.Stat(a.Shell)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "the shell " + a.Shell + " cannot be executed"
	}
	return ""
}
