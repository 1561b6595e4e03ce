package nix

import (
	"bytes"
	"encoding/json"
)

// The numbers of Nix's log protocol, from its src/libutil/logging.hh. They
// have been the same since Nix 2.0; later versions only added some.
const (
	activityCopyPath   = 100
	activityCopyPaths  = 103
	activityBuilds     = 104
	activityBuild      = 105
	activitySubstitute = 108
	activityFetchTree  = 112

	resultLogLine     = 101
	resultPhase       = 104
	resultProgress    = 105
	resultPostLogLine = 107

	levelError   = 0
	levelWarning = 1
	levelNotice  = 2
)

// logPrefix begins every line that Nix's JSON logger writes. Other lines on
// stderr are from programs that nix started, or from a nix that crashed.
var logPrefix = []byte("@nix ")

// entry is one line of the log. The fields mean different things for each
// action; what a line lacks stays zero.
type entry struct {
	Action  string            `json:"action"`
	ID      int64             `json:"id"`
	Type    int64             `json:"type"`
	Level   int64             `json:"level"`
	Text    string            `json:"text"`
	Message string            `json:"msg"`
	Raw     *string           `json:"raw_msg"`
	Fields  []json.RawMessage `json:"fields"`

	// progress holds the fields of a progress report that was read without
	// a JSON decoder.
	progress []int64
}

// parseEntry reads one line of stderr. It returns false for what is not a
// well-formed line of the log.
func parseEntry(line []byte) (entry, bool) {
	body, found := bytes.CutPrefix(line, logPrefix)
	if !found {
		return entry{}, false
	}
	if e, ok := parseProgress(body); ok {
		return e, true
	}
	var e entry
	if json.Unmarshal(body, &e) != nil {
		return entry{}, false
	}
	return e, true
}

// parseProgress reads a progress report in exactly the form in which Nix
// writes it. There is one for nearly every write of a NAR that is fetched, and
// nix waits for whoever reads its stderr: a JSON decoder would take longer
// than Nix does.
func parseProgress(body []byte) (entry, bool) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"action":"result","fields":[`))
	if !ok {
		return entry{}, false
	}
	e := entry{Action: "result", Type: resultProgress, progress: make([]int64, 0, 4)}
	for {
		var number int64
		if number, rest, ok = cutNumber(rest); !ok || len(e.progress) == cap(e.progress) {
			return entry{}, false
		}
		e.progress = append(e.progress, number)
		if rest, ok = bytes.CutPrefix(rest, []byte(",")); !ok {
			break
		}
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`],"id":`)); !ok {
		return entry{}, false
	}
	if e.ID, rest, ok = cutNumber(rest); !ok || string(rest) != `,"type":105}` {
		return entry{}, false
	}
	return e, true
}

// cutNumber reads the decimal number, as JSON has it, that text begins with.
func cutNumber(text []byte) (int64, []byte, bool) {
	const mostDigits = 18 // always fits into 63 bits
	var number int64
	for i, c := range text {
		if c < '0' || c > '9' {
			return number, text[i:], i == 1 || i > 1 && text[0] != '0'
		}
		if i == mostDigits {
			return 0, nil, false
		}
		number = number*10 + int64(c-'0')
	}
	return 0, nil, false
}

// number returns a field that must be a count; anything else is zero, so that
// a hostile log can make no sum negative.
func (e *entry) number(i int) int64 {
	if i < len(e.progress) {
		return e.progress[i]
	}
	var n int64
	if i >= len(e.Fields) || json.Unmarshal(e.Fields[i], &n) != nil || n < 0 || n > 1<<60 {
		return 0
	}
	return n
}

// text returns a field that must be a string; anything else is empty.
func (e *entry) text(i int) string {
	var s string
	if i >= len(e.Fields) || json.Unmarshal(e.Fields[i], &s) != nil {
		return ""
	}
	return s
}
