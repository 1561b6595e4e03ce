package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// judgeToken looks whether there is a token, and who can read it. OpNix gives it to
// root and the group onepassword-secrets with mode 0640; one that was just put
// there has 0600.
func (in *inquiry) judgeToken() {
	path := in.spec.TokenFile
	if path == "" {
		return
	}
	expected := path + " holds the service account's token"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		in.file(path, "", flaw{"no-token", expected, "it does not exist", in.hint("no-token")})
		return
	case err != nil:
		in.file(path, "", flaw{"unreadable", expected, err.Error(), "ls -l " + path})
		return
	case !info.Mode().IsRegular():
		in.file(path, "", flaw{"no-token", expected, "it is a " + typeOf(info), in.hint("no-token")})
		return
	case IsBlank(path, info):
		in.file(path, "", flaw{"empty-token", expected, "it is empty", in.hint("empty-token")})
	}
	if modeOf(info)&0o007 != 0 {
		in.file(path, "", flaw{"mode", path + " is closed to others", fmt.Sprintf("mode %04o", modeOf(info)), "chmod 0640 " + path})
	}
	// The agent is root, and so is whoever may change its token.
	in.file(path, "", checkOwners(path, info, strconv.Itoa(os.Geteuid()), ""))
}

// IsBlank says whether a small regular file holds nothing but white space: OpNix
// trims its token, and so does sshd its lines. What cannot be read is not blank.
func IsBlank(path string, info fs.FileInfo) bool {
	if info.Size() == 0 {
		return true
	}
	content, err := readSecret(path)
	return err == nil && len(bytes.TrimSpace(content)) == 0
}

// judgeFiles compares every declared secret with what is on the disk.
func (in *inquiry) judgeFiles() {
	for _, s := range in.spec.Secrets {
		for _, f := range secretFlaws(s) {
			if f.hint == "" {
				f.hint = "systemctl restart " + in.unit.ID + "; journalctl -u " + in.unit.ID + " -e"
			}
			in.file(s.Path, s.Name, f)
		}
	}
	in.noteOldFiles()
}

// secretFlaws is what is wrong with a secret's file, and with the links to it. The
// path itself may be a link, too: OpNix writes through it.
func secretFlaws(s Secret) []flaw {
	info, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []flaw{{"missing-file", s.Path + " exists", "it does not exist", ""}}
	case err != nil:
		return []flaw{{"unreadable", s.Path + " exists", err.Error(), ""}}
	case !info.Mode().IsRegular():
		return []flaw{{"not-a-file", s.Path + " is a regular file", "it is a " + typeOf(info), ""}}
	}
	var flaws []flaw
	if info.Size() == 0 {
		flaws = append(flaws, flaw{"empty-file", s.Path + " is not empty", "it is empty", ""})
	} else if s.isLogin() && !hasKey(s.Path) {
		flaws = append(flaws, flaw{"no-login-key", s.Path + " holds a key", "there is no line with a key in it", ""})
	}
	if f := checkOwners(s.Path, info, s.Owner, s.Group); f.found() {
		flaws = append(flaws, f)
	}
	if wanted, err := strconv.ParseUint(s.Mode, 8, 32); err == nil && modeOf(info) != uint32(wanted) {
		// OpNix before 0.11 sets the mode of a file only when it makes it.
		flaws = append(flaws, flaw{"mode", fmt.Sprintf("%s has mode %04o", s.Path, wanted), fmt.Sprintf("mode %04o", modeOf(info)), fmt.Sprintf("chmod %04o %s", wanted, s.Path)})
	}
	for _, link := range s.Symlinks {
		if to, err := filepath.EvalSymlinks(link); err != nil || !sameFile(to, info) {
			flaws = append(flaws, flaw{"symlink", link + " leads to " + s.Path, "it does not", "ls -l " + link})
		}
	}
	if s.isLogin() {
		for i := range flaws {
			flaws[i].hint = strings.TrimPrefix(flaws[i].hint+"; ", "; ") + loginHint
		}
	}
	return flaws
}

func sameFile(path string, as fs.FileInfo) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, as)
}

const loginHint = "keep a session open: a rollback does not bring back login keys that OpNix overwrote; declare one in users.users.*.openssh.authorizedKeys"

// isLogin says that the secret decides who may log in.
func (s Secret) isLogin() bool {
	return filepath.Base(s.Path) == "authorized_keys" || strings.HasPrefix(s.Path, "/etc/ssh/authorized_keys.d/")
}

// hasKey says whether a line of an authorized_keys is neither blank nor a comment.
func hasKey(path string) bool {
	content, err := readSecret(path)
	if err != nil {
		return true // that it cannot be read is no sign that it is empty
	}
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// file adds a flaw of a file; one that was there before the trial, which touched
// neither the file nor OpNix, is not blamed on it.
func (in *inquiry) file(path, secret string, f flaw) {
	if !f.found() {
		return
	}
	found := f.finding()
	if secret != "" {
		found = found.because("secret " + secret)
	}
	missing := f.class == "missing-file" || f.class == "no-token"
	content := f.class == "empty-token" || f.class == "empty-file" || f.class == "no-login-key"
	if in.ranBefore && (missing && in.brokenBefore || in.host.Baseline.unchangedFile(path, content)) {
		found.verdict, found.class = Unknown, ClassFailedBefore
	}
	if missing || f.class == "empty-file" {
		in.lost = in.lost || secret != ""
	}
	in.found = append(in.found, found)
}

// unchangedFile says that nothing was done to a file since before the trial, or to its
// content alone: OpNix sets the token's owner and mode whenever it runs. Of a file that
// does not exist it says that nothing came or went in the directory it would be in.
func (b *Baseline) unchangedFile(path string, content bool) bool {
	if !b.sameBoot() {
		return false
	}
	began := time.Now().Add(-time.Duration(monotonic()-b.Monotonic) * time.Microsecond)
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		var stat syscall.Stat_t
		err := syscall.Stat(path, &stat)
		if err == nil && content {
			return time.Unix(stat.Mtim.Unix()).Before(began)
		}
		if err == nil {
			return time.Unix(stat.Ctim.Unix()).Before(began)
		}
		content = true
		if !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return false
}

// sameBoot says that the baseline's clock is still this one.
func (b *Baseline) sameBoot() bool {
	if b == nil {
		return false
	}
	id, err := bootID()
	return err == nil && id == b.BootID
}

// writeSlack is how much older than the unit's start a file of that run may look:
// file systems stamp with the clock of the last tick.
const writeSlack = 2 * time.Second

// noteOldFiles tells of secrets that the unit's last run, though it ended well, did
// not write: OpNix writes every file each time.
func (in *inquiry) noteOldFiles() {
	if !in.succeeded || in.unit.ExecStart == 0 {
		return
	}
	began := time.Now().Add(-time.Duration(monotonic()-in.unit.ExecStart) * time.Microsecond)
	var old []string
	for _, s := range in.spec.Secrets {
		if info, err := os.Stat(s.Path); err == nil && info.ModTime().Before(began.Add(-writeSlack)) {
			old = append(old, s.Name)
		}
	}
	if len(old) > 0 {
		in.note("not written by the unit's last run, though it ended well: " + strings.Join(old, ", "))
	}
}
