package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Caps of one reading of the journal.
const (
	journalBytes = 4 << 20
	journalLines = 20000
	// journalLine has room for the longest line that journald takes from a process, 48 KiB,
	// as the array of numbers that it becomes where it has an escape sequence.
	journalLine = 256 << 10
)

// MESSAGE_IDs of PID 1, from systemd's catalog.
const (
	messageStarting = "7d4958e842da4a758f6c1cdc7b36dcc5"
	messageStarted  = "39f53479d3a045ac8e11786248231fbf"
	messageFailed   = "be02cf6855d2428ba40df7e9d022f03d"
	messageRestart  = "5eb03494b6584870a536b337290809b3"
)

// journal reads the host's journal with its own journalctl.
type journal struct{ systemd.Manager }

// entry is one journal entry, as far as probes need it.
type entry struct {
	message   string
	messageID string
	// pid1 says that PID 1 itself wrote it; journald vouches for that.
	pid1      bool
	cursor    string
	monotonic int64 // µs
	// invocation is the one that PID 1 writes about.
	invocation string
}

// read passes entries to each, oldest first, until it returns false or the
// caps are reached. args select the entries.
func (j journal) read(ctx context.Context, each func(entry) bool, args ...string) error {
	_, err := j.readTo(ctx, each, args...)
	return err
}

// readTo is read, and says whether that was everything.
func (j journal) readTo(ctx context.Context, each func(entry) bool, args ...string) (whole bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Without --all, journalctl leaves out messages of more than 4 KiB.
	args = append([]string{"--quiet", "--no-pager", "--all", "--output=json", "--output-fields=MESSAGE,MESSAGE_ID,_PID,INVOCATION_ID"}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(j.Bin, "journalctl"), args...)
	cmd.Env = j.Env()
	cmd.WaitDelay = time.Second
	said := &head{limit: 4 << 10}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("read the journal: %v", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("read the journal: %v", err)
	}
	// A process left by journalctl could hold the pipe open past the deadline.
	unblock := context.AfterFunc(ctx, func() { out.Close() })
	defer unblock()
	enough, whole := parseJournal(out, each)
	if enough {
		stop()
		_ = cmd.Wait() // it was stopped on purpose
		return false, nil
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return false, fmt.Errorf("read the journal: %w", ctx.Err())
		}
		return false, fmt.Errorf("read the journal: %v: %s", err, clean(said.kept.String()))
	}
	return whole, nil
}

// parseJournal reads `journalctl --output=json`: one object in each line. Lines
// it cannot read are passed over. It returns whether it stopped before the end, and
// whether no entry was lost because it is too long.
func parseJournal(r io.Reader, each func(entry) bool) (stopped, whole bool) {
	whole = true
	limited := &io.LimitedReader{R: r, N: journalBytes}
	lines := bufio.NewReaderSize(limited, journalLine)
	for range journalLines {
		line, err := lines.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		whole = whole && !tooLong
		if e, ok := parseEntry(line); ok && !tooLong && !each(e) {
			return true, whole
		}
		if err != nil {
			return limited.N <= 0, whole
		}
	}
	return true, whole
}

func parseEntry(line []byte) (entry, bool) {
	var raw struct {
		Message   json.RawMessage `json:"MESSAGE"`
		MessageID json.RawMessage `json:"MESSAGE_ID"`
		PID       json.RawMessage `json:"_PID"`
		About     json.RawMessage `json:"INVOCATION_ID"`
		Cursor    string          `json:"__CURSOR"`
		Monotonic string          `json:"__MONOTONIC_TIMESTAMP"`
	}
	if len(bytes.TrimSpace(line)) == 0 || json.Unmarshal(line, &raw) != nil {
		return entry{}, false
	}
	at, _ := strconv.ParseInt(raw.Monotonic, 10, 64)
	return entry{
		message: field(raw.Message), messageID: field(raw.MessageID), pid1: field(raw.PID) == "1", cursor: raw.Cursor, monotonic: at,
		invocation: field(raw.About),
	}, true
}

// field reads a field of an entry: a string, an array of bytes where it is not
// printable UTF-8, an array of those where the field occurs more than once (the
// first counts), or null where it is too long.
func field(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var numbers []uint8
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return ""
	}
	for _, item := range list {
		n, err := strconv.ParseUint(string(item), 10, 8)
		if err != nil {
			if item[0] == '[' || item[0] == '"' {
				return field(list[0])
			}
			return ""
		}
		numbers = append(numbers, uint8(n))
	}
	return string(numbers)
}

// cursor is the place of the last entry; empty if there is none.
func (j journal) cursor(ctx context.Context) string {
	var at string
	_ = j.read(ctx, func(e entry) bool { at = e.cursor; return false }, "--lines=1")
	return at
}

// ofInvocation selects what the processes of one invocation of a unit wrote
// and what PID 1 wrote about it. Any process may claim INVOCATION_ID in what it
// writes; _PID and _SYSTEMD_INVOCATION_ID are journald's own.
func ofInvocation(id string) []string {
	return []string{"_SYSTEMD_INVOCATION_ID=" + id, "+", "_PID=1", "INVOCATION_ID=" + id}
}

// restarts are the instants, in µs, at which systemd restarted the unit by
// itself since the baseline, or in this boot where there is none. The cursor
// only saves reading: --after-cursor= together with matches loses the first
// entry that matches (seen with systemd 252), so that the clock decides.
func (j journal) restarts(ctx context.Context, unit string, b *Baseline) ([]int64, error) {
	args := []string{"--boot", "_PID=1", "MESSAGE_ID=" + messageRestart, "UNIT=" + unit}
	since := int64(0)
	if b != nil {
		since = b.Monotonic
		if b.JournalCursor != "" {
			args = append([]string{"--cursor=" + b.JournalCursor}, args...)
		}
	}
	var at []int64
	err := j.read(ctx, func(e entry) bool {
		if e.monotonic > since {
			at = append(at, e.monotonic)
		}
		return true
	}, args...)
	return at, err
}

// head keeps the first bytes of what is written to it and swallows the rest.
// The buffer is not embedded: its ReadFrom would go past the cap.
type head struct {
	kept  bytes.Buffer
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.limit - h.kept.Len(); room > 0 {
		h.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
