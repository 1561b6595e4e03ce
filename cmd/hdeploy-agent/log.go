package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// logTail caps what is read of a log at a time, lineLimit one line of it.
	logTail   = 64 << 10
	lineLimit = 512
	logLines  = 200
)

// log returns the end of a transaction's log. A log that does not exist is an
// empty one: nothing was switched.
func (a agent) log(p protocol.LogRequest) (any, error) {
	if !transaction.ValidID(p.ID) {
		return nil, refuse("not a transaction id: %q", p.ID)
	}
	data, _, err := a.engine.Store.Log(p.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read log: %v", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return protocol.LogResult{}, nil
	}
	lines := strings.Split(text, "\n")
	wanted := min(max(p.Lines, 1), logLines)
	lines = lines[max(0, len(lines)-wanted):]
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return protocol.LogResult{Lines: lines}, nil
}

// followLog sends each line of a log but the first skip ones as an event, until
// stop is called. It returns the emit that may be used beside it.
func followLog(ctx context.Context, name string, skip int, emit func(any) error) (safe func(any) error, stop func()) {
	var mu sync.Mutex
	safe = func(event any) error {
		mu.Lock()
		defer mu.Unlock()
		return emit(event)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var tail logReader
		for over := false; !over; {
			over = ctx.Err() != nil // the last look comes after the end
			for _, line := range tail.read(name) {
				if skip--; skip >= 0 {
					continue
				}
				if safe(protocol.WatchEvent{Line: line}) != nil {
					return
				}
			}
			if !over {
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		}
	}()
	return safe, func() { cancel(); <-done }
}

// logReader returns the whole lines that were appended to a file since it last
// looked.
type logReader struct {
	offset int64
	rest   []byte
}

func (l *logReader) read(name string) []string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, l.offset, logTail), logTail))
	if err != nil {
		return nil
	}
	l.offset += int64(len(data))
	l.rest = append(l.rest, data...)
	var lines []string
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			if len(l.rest) > logTail {
				l.rest = nil
			}
			return lines
		}
		lines, l.rest = append(lines, printable(string(line))), rest
	}
}

// printable caps a line and removes what could act on a terminal.
func printable(line string) string {
	line = withoutControls(line)
	if len(line) > lineLimit {
		line = strings.ToValidUTF8(line[:lineLimit], "")
	}
	return line
}

func withoutControls(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r > unicode.MaxLatin1 && unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, line)
}
