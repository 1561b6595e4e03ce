package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// What a configuration may hold at most: a hundred times what people write.
const (
	mostBytes    = 1 << 20 // of one file
	mostIncluded = 1 << 10 // files that one lookup reads
	mostLines    = 1 << 18 // that one lookup reads
	deepest      = 16      // Include within Include, as in OpenSSH
)

// line is one directive as it is written.
type line struct {
	at Source
	// keyword is in lower case; rest is what follows it, words its arguments.
	keyword, rest string
	words         []string
	// fault is why the line cannot be read.
	fault string
}

// file is one that was read.
type file struct {
	lines []line
	// loose says that others than its owner may write to it, foreign that its owner
	// is neither the user nor root.
	loose, foreign bool
}

// read reads a file once. Its error satisfies errors.Is(err, fs.ErrNotExist) where
// there is none.
func (c *Config) read(path string) (*file, error) {
	if known, ok := c.files[path]; ok {
		return known, nil
	}
	f, err := readFile(path, c.local.uid)
	if err != nil {
		return nil, err
	}
	c.files[path] = f
	return f, nil
}

func readFile(path string, uid int) (*file, error) {
	// Opening a pipe would wait for its writer.
	opened, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fs.ErrNotExist
		}
		return nil, &Error{Source: Source{File: path}, Message: "read it: " + cause(err)}
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, &Error{Source: Source{File: path}, Message: "read it: " + cause(err)}
	}
	f := &file{loose: info.Mode().Perm()&0o022 != 0}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.foreign = owner.Uid != 0 && int(owner.Uid) != uid
	}
	switch {
	case info.IsDir() || path == os.DevNull:
		return f, nil // empty to OpenSSH, which meets folders in the globs of Include
	case !info.Mode().IsRegular():
		return nil, &Error{Source: Source{File: path}, Message: "read it: it is no regular file"}
	}
	text, err := io.ReadAll(io.LimitReader(opened, mostBytes+1))
	if err != nil {
		return nil, &Error{Source: Source{File: path}, Message: "read it: " + cause(err)}
	}
	if len(text) > mostBytes {
		return nil, &Error{Source: Source{File: path}, Message: fmt.Sprintf("it is larger than %d bytes", mostBytes)}
	}
	f.lines = parse(path, text)
	return f, nil
}

func cause(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}

// parse cuts a file into its directives. Empty lines and comments are left out.
func parse(path string, text []byte) []line {
	var lines []line
	number := 0
	for row := range bytes.SplitSeq(text, []byte{'\n'}) {
		number++
		if l, ok := parseLine(string(row), Source{File: path, Line: number}); ok {
			lines = append(lines, l)
		}
	}
	return lines
}

// parseLine is false for a line that says nothing.
func parseLine(text string, at Source) (line, bool) {
	if strings.ContainsRune(text, 0) {
		return line{at: at, fault: "the line has a zero byte"}, true
	}
	text = strings.TrimRight(text, blanks+"\f")
	keyword, rest, more, ok := firstWord(text)
	if ok && keyword == "" && more {
		keyword, rest, more, ok = firstWord(rest)
	}
	if !ok || keyword == "" || keyword[0] == '#' {
		return line{}, false
	}
	l := line{at: at, keyword: lower(keyword)}
	l.rest = strings.TrimLeft(rest, blanks)
	if !more || l.rest == "" {
		l.fault = "it has no argument"
		return l, true
	}
	if l.words, ok = split(l.rest, true); !ok {
		l.fault = "a quote is not closed"
	}
	return l, true
}

// permitted refuses what others could have written. check is what OpenSSH calls
// SSHCONF_CHECKPERM.
func (f *file) permitted(path string) error {
	at := Source{File: path}
	if f.foreign {
		return &Error{Source: at, Message: "it belongs to another user, who could send connections elsewhere", Next: "make it yours with\n    chown \"$(id -u)\" " + printable(path)}
	}
	if f.loose {
		return &Error{Source: at, Message: "others than you may write to it, and could send connections elsewhere", Next: "take that away with\n    chmod go-w " + printable(path)}
	}
	return nil
}
