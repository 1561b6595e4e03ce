package agent

import (
	"strings"
	"sync"
)

// captureLimit is how much of a remote program's standard error is kept.
const captureLimit = 16 << 10

// Capture keeps the beginning of what a remote program prints on standard error.
type Capture struct {
	mu   sync.Mutex
	text []byte
}

// Write never fails; what is too much is swallowed.
func (c *Capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := captureLimit - len(c.text); room > 0 {
		c.text = append(c.text, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String is what was kept, without what could act on a terminal.
func (c *Capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return -1
		}
		return r
	}, string(c.text))
}

// LastLine is the last line of what was kept.
func (c *Capture) LastLine() string { return lastLine(c.String()) }

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
