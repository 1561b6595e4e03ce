package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// secretLimit caps what is read of a file to see its shape.
const secretLimit = 1 << 20

// flaw is what is wrong with a file; the zero value is nothing.
type flaw struct {
	class, expected, seen, hint string
}

func (f flaw) found() bool { return f.class != "" }

func (f flaw) finding() finding {
	return fail(f.class, f.expected, f.seen).try(f.hint)
}

// checkOwners compares the owners; an empty name is not judged. Names are
// looked up in the host's passwd and group, as OpNix does.
func checkOwners(path string, info fs.FileInfo, owner, group string) flaw {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return flaw{}
	}
	for _, part := range []struct {
		what, name, command string
		id                  uint32
		lookup              func(string) (string, error)
	}{
		{"user", owner, "chown", stat.Uid, userID},
		{"group", group, "chgrp", stat.Gid, groupID},
	} {
		if part.name == "" {
			continue
		}
		id, err := part.lookup(part.name)
		if err != nil {
			return flaw{"unknown-owner", fmt.Sprintf("%s belongs to %s %s", path, part.what, part.name), fmt.Sprintf("there is no %s %s on the host", part.what, part.name),
				"declare users." + part.what + "s." + part.name + "; a service with DynamicUser has no static one"}
		}
		if seen := strconv.FormatUint(uint64(part.id), 10); seen != id {
			return flaw{"owner", fmt.Sprintf("%s belongs to %s %s", path, part.what, part.name), fmt.Sprintf("it belongs to %s id %s", part.what, seen),
				fmt.Sprintf("%s %s %s", part.command, part.name, path)}
		}
	}
	return flaw{}
}

func userID(name string) (string, error) {
	if isNumber(name) {
		return name, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	if isNumber(name) {
		return name, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

func isNumber(name string) bool {
	_, err := strconv.ParseUint(name, 10, 32)
	return err == nil
}

// modeOf is the mode as chmod writes it, set-id and sticky bits included.
func modeOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Mode & 0o7777
	}
	return uint32(info.Mode().Perm())
}

func typeOf(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// checkPrivate wants a path that only its owner can use. Less for the owner
// than the usual 0600 or 0700 is no fault as long as it can be read.
func checkPrivate(path, owner string, directory bool) flaw {
	info, err := os.Stat(path)
	kind, usual, least := "file", uint32(0o600), uint32(0o400)
	if directory {
		kind, usual, least = "directory", 0o700, 0o500
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return flaw{"missing-file", path + " exists", "it does not exist", ""}
	case err != nil:
		return flaw{"unreadable", path + " exists", err.Error(), ""}
	case directory != info.IsDir() || !directory && !info.Mode().IsRegular():
		return flaw{"not-a-file", path + " is a " + kind, "it is something else", ""}
	case modeOf(info)&^usual != 0 || modeOf(info)&least != least:
		return flaw{"mode", fmt.Sprintf("%s has mode %04o", path, usual), fmt.Sprintf("mode %04o", modeOf(info)), fmt.Sprintf("chmod %04o %s", usual, path)}
	case !directory && info.Size() == 0:
		return flaw{"empty-file", path + " is not empty", "it is empty", ""}
	}
	return checkOwners(path, info, owner, "")
}

// readSecret reads a file for its shape alone. The caller puts no byte of it,
// and no error that may quote one, into a finding.
func readSecret(path string) ([]byte, error) {
	// To open a pipe without a writer blocks.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// To read one whose writer says nothing does, too: who owns the directory can put
	// it there.
	if info, err := file.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is a %s", path, typeOf(info))
	}
	content, err := io.ReadAll(io.LimitReader(file, secretLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > secretLimit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, secretLimit)
	}
	return content, nil
}

// isToken says whether a cluster join token has the shape of a JSON Web Token.
func isToken(content []byte) bool {
	parts := bytes.Split(bytes.TrimSpace(content), []byte("."))
	if len(parts) != 3 {
		return false
	}
	for _, part := range parts {
		if len(part) == 0 || bytes.ContainsAny(part, " \t\r\n") {
			return false
		}
	}
	return true
}

func isStrings(raw json.RawMessage) bool {
	var list []*string
	if json.Unmarshal(raw, &list) != nil || list == nil {
		return false
	}
	for _, s := range list {
		if s == nil {
			return false
		}
	}
	return true
}
