package display

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// jsonLines writes every event as one line of JSON to standard output: they
// are the answer and the story in one.
type jsonLines struct {
	mu  sync.Mutex
	out io.Writer
	err error
}

func newJSON(s Settings) *jsonLines { return &jsonLines{out: s.Out} }

// schemaEvent is an event with the version of its contract in front.
type schemaEvent struct {
	Schema int `json:"schema"`
	event.Event
}

// Event writes one line. After the first failed write it stays silent, since
// a reader that lost one line cannot use the next.
func (d *jsonLines) Event(e event.Event) {
	line, err := json.Marshal(schemaEvent{event.Schema, e})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return
	}
	if err != nil {
		d.err = fmt.Errorf("encode an event: %v", err)
		return
	}
	if _, err := d.out.Write(append(EscapeJSON(line), '\n')); err != nil {
		d.err = fmt.Errorf("write to standard output: %v", err)
	}
}

func (d *jsonLines) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
