package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// logsKept is how many transactions' logs outlive the next one.
const logsKept = 20

// LogLimit is how many bytes of a log are kept: its end, which tells why.
const LogLimit = 256 << 10

// LogFile is the file that the switches of transaction id write to. It lives
// until the next transaction or the next boot.
func (s Store) LogFile(id string) string { return filepath.Join(s.Run, id, "activation.log") }

func (s Store) keptLog(id string) string { return filepath.Join(s.Dir, historyDir, id+".log") }

// Log returns the end of what the switches of transaction id printed, and whether
// that is not all of it. The error is [fs.ErrNotExist] where no log is kept.
func (s Store) Log(id string) (text []byte, cut bool, err error) {
	if !ValidID(id) {
		return nil, false, fmt.Errorf("read log: not a transaction id: %q", id)
	}
	text, err = s.tailOf(s.LogFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = s.tailOf(s.keptLog(id))
	}
	if cut = len(text) == LogLimit; cut {
		_, text, _ = bytes.Cut(text, []byte("\n")) // half a line says less than none
	}
	return text, cut, err
}

// keepLog copies the end of a transaction's log to where the next transaction and
// the next boot leave it alone.
func (s Store) keepLog(id string) error {
	text, err := s.tailOf(s.LogFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was switched, or a boot has taken it
	}
	if err != nil {
		return fmt.Errorf("keep log: %v", err)
	}
	if err := atomicfile.WriteOn(s.fs(), s.keptLog(id), text, 0o600); err != nil {
		return fmt.Errorf("keep log: %v", err)
	}
	return nil
}

// trimLogs removes the logs of all but the newest transactions of the history.
func (s Store) trimLogs() {
	kept := map[string]bool{}
	for i, entry := range s.archived() {
		if i >= logsKept {
			break
		}
		_, id, _ := strings.Cut(strings.TrimSuffix(entry.Name(), ".json"), "-")
		kept[id+".log"] = true
	}
	entries, _ := s.fs().ReadDir(filepath.Join(s.Dir, historyDir))
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".log") && !kept[name] {
			_ = s.fs().Remove(filepath.Join(s.Dir, historyDir, name))
		}
	}
}

// tailOf is the last [LogLimit] bytes of a file.
func (s Store) tailOf(name string) ([]byte, error) {
	f, err := s.fs().OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var tail []byte
	for chunk := make([]byte, LogLimit); ; {
		n, err := f.Read(chunk)
		tail = append(tail, chunk[:n]...)
		tail = append(tail[:0], tail[max(0, len(tail)-LogLimit):]...)
		if errors.Is(err, io.EOF) {
			return tail, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
