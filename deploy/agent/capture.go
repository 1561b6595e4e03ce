package agent

import (
	"strings"
	"sync"
)

// captureLimit is how much of a remote program's standard error is kept.
const captureLimit = 16 << 10

// capture keeps the beginning of what is written to it.
type capture struct {
	mu   sync.Mutex
	text []byte
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := captureLimit - len(c.text); room > 0 {
		c.text = append(c.text, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String is what was kept, without what could act on a terminal.
func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return -1
		}
		return r
	}, string(c.text))
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
