package display

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// screenBuffer is a terminal that many write to.
type screenBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *screenBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(data)
}

func (b *screenBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *screenBuffer) await(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(b.String(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q never came: %q", what, b.String())
		}
	}
}

// While a question is asked nothing else is written, and the view comes back below it.
func TestPausedTerminalIsSilent(t *testing.T) {
	screen := &screenBuffer{}
	d, err := New(Terminal, Settings{Out: io.Discard, ErrOut: screen, ErrTTY: true, Hosts: []string{"web1", "web2"}})
	if err != nil {
		t.Fatal(err)
	}
	events := running().events
	for _, e := range events {
		d.Event(e)
	}
	screen.await(t, "starting unit 4")
	d.(Pauser).Pause()
	before := screen.String()
	if !strings.HasSuffix(before, ShowCursor) && !strings.Contains(before[strings.LastIndex(before, "starting unit 4"):], ShowCursor) {
		t.Errorf("the cursor is not shown for the question: %q", before)
	}
	for _, e := range events {
		d.Event(e)
	}
	time.Sleep(3 * time.Second / framesPerSecond) // frames that must not come
	if after := screen.String(); after != before {
		t.Errorf("written during the question: %q", after[len(before):])
	}
	io.WriteString(screen, "Passphrase?\r\n")
	d.(Pauser).Resume()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(after(screen.String(), "Passphrase?"), "starting unit 4"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the view never came back")
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func after(text, word string) string {
	_, rest, _ := strings.Cut(text, word)
	return rest
}
