package display

import (
	"fmt"
	"io"
	"sync"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// quiet says nothing but warnings while it runs, and nothing at all in the
// end about hosts that are where they should be.
type quiet struct {
	mu       sync.Mutex
	settings Settings
	answer   answer
}

func newQuiet(s Settings) *quiet {
	a := newAnswer(s.Hosts)
	a.onlyBad = true
	return &quiet{settings: s, answer: a}
}

func (d *quiet) Event(e event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer.add(e)
	if e.Note != nil && e.Note.Level == "warning" {
		text := join(": ", Clean(e.Host), oneLine(e.Note.Text))
		// A story that cannot be written must not stop a deployment.
		_, _ = io.WriteString(d.settings.ErrOut, fmt.Sprintf("hdeploy: warning: %s\n", text))
	}
}

func (d *quiet) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answer.print(d.settings)
}
