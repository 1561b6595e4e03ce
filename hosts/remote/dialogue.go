package remote

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"sync"
)

// dialogue reads the standard error of an elevation until the program runs, and
// passes the rest on. What was said before is passed on when it is over: a question is
// only known by its end.
type dialogue struct {
	// ready is the line of the program that runs, question the prompt that sudo is
	// asked to use.
	ready, question string
	// asked has one element for each question, running is closed when the program runs.
	asked   chan struct{}
	running chan struct{}

	mu     sync.Mutex
	to     io.Writer
	said   []byte
	began  bool
	secret string
}

// dialogueLimit is how much may be said before the program runs.
const dialogueLimit = 64 << 10

func newDialogue(ready string, to io.Writer) *dialogue {
	if to == nil {
		to = io.Discard
	}
	d := &dialogue{ready: ready, question: newMark() + ":", to: to, asked: make(chan struct{}, 8), running: make(chan struct{})}
	if ready == "" {
		d.ready = newMark()
	}
	return d
}

// begins says that the program is not waited for.
func (d *dialogue) begins() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin(nil)
}

func (d *dialogue) begin(rest []byte) {
	d.began = true
	close(d.running)
	_, _ = d.to.Write(d.shown())
	_, _ = d.to.Write(rest)
}

func (d *dialogue) runs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began
}

// text is what was said before the program ran.
func (d *dialogue) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.shown())
}

// shown is what was said without the password. It is taken out no earlier: one that is a
// part of the program's line would hide that it runs.
func (d *dialogue) shown() []byte {
	if d.secret == "" {
		return d.said
	}
	return bytes.ReplaceAll(d.said, []byte(d.secret), nil)
}

// hide keeps the password out of what is passed on, where a terminal echoes it.
func (d *dialogue) hide(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secret = password
}

// Write never fails; what is too much is swallowed.
func (d *dialogue) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.began {
		_, _ = d.to.Write(p)
		return len(p), nil
	}
	d.said = append(d.said, p[:min(len(p), dialogueLimit-len(d.said))]...)
	for at := bytes.Index(d.said, []byte(d.question)); at >= 0; at = bytes.Index(d.said, []byte(d.question)) {
		d.said = slices.Replace(d.said, at, at+len(d.question), '\n')
		d.ask()
	}
	if before, rest, found := d.cutReady(); found {
		d.said = before
		d.begin(rest)
		return len(p), nil
	}
	if line := bytes.LastIndexByte(d.said, '\n') + 1; prompt.Match(d.said[line:]) {
		d.said = append(d.said[:line], '\n')
		d.ask()
	}
	return len(p), nil
}

func (d *dialogue) ask() {
	select {
	case d.asked <- struct{}{}:
	default: // nobody answers so many
	}
}

// over passes on what was said where the program never ran.
func (d *dialogue) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.began {
		_, _ = d.to.Write(d.shown())
		d.to = io.Discard
	}
}

// cutReady looks for the whole line, which a shell that traces its commands may quote
// within another one.
func (d *dialogue) cutReady() (before, rest []byte, found bool) {
	for from := 0; ; {
		at := bytes.Index(d.said[from:], []byte(d.ready))
		if at < 0 {
			return nil, nil, false
		}
		at += from
		end := at + len(d.ready)
		after := bytes.TrimPrefix(d.said[end:], []byte("\r"))
		if (at == 0 || d.said[at-1] == '\n') && bytes.HasPrefix(after, []byte("\n")) {
			return d.said[:at], bytes.Clone(after[1:]), true
		}
		from = end
	}
}

// prompt is a question of a program that cannot be told how to ask: the last line,
// which is not ended.
var prompt = regexp.MustCompile(`(?i)\b(password|passwort|passphrase|mot de passe|contraseña|wachtwoord|hasło)[^\n:]*[:：]\s?$`)
