package remote

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// told feeds a dialogue in pieces of a length, and returns it with what was passed on.
func told(ready, said string, piece int) (*dialogue, string) {
	var passed bytes.Buffer
	d := newDialogue(ready, &passed)
	d.question = "QUESTION:"
	for text := []byte(said); len(text) > 0; {
		n := min(piece, len(text))
		_, _ = d.Write(text[:n])
		text = text[n:]
	}
	d.over()
	return d, passed.String()
}

func TestDialogue(t *testing.T) {
	for _, c := range []struct {
		name, said string
		asked      int
		runs       bool
		passed     string
	}{
		{"nothing", "", 0, false, ""},
		{"it runs", "READY\nrest", 0, true, "rest"},
		{"asked by sudo", "lecture\nQUESTION:\nREADY\nrest", 1, true, "lecture\n\n\nrest"},
		{"asked twice", "QUESTION:\nSorry, try again.\nQUESTION:", 2, false, "\n\nSorry, try again.\n\n"},
		{"asked by another", "Authenticating as: root\nPassword:", 1, false, "Authenticating as: root\n\n"},
		{"asked in German", "Passwort:", 1, false, "\n"},
		{"a sentence about passwords", "sudo: a password is required\n", 0, false, "sudo: a password is required\n"},
		{"a line with the word", "+ echo READY\nREADY now\n READY\n", 0, false, "+ echo READY\nREADY now\n READY\n"},
		{"the end of a terminal's line", "READY\r\nrest", 0, true, "rest"},
		{"questions of the program itself", "READY\nPassword: ", 0, true, "Password: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{1, 3, 1000} {
				d, passed := told("READY", c.said, piece)
				if len(d.asked) != c.asked || d.runs() != c.runs || passed != c.passed {
					t.Errorf("in pieces of %d: asked %d, runs %v, passed %q", piece, len(d.asked), d.runs(), passed)
				}
			}
		})
	}
}

func TestAnEchoedPasswordIsNotPassedOn(t *testing.T) {
	var passed bytes.Buffer
	d := newDialogue("READY", &passed)
	d.hide("se cret")
	for _, piece := range []string{"Password: ", "se c", "ret\nno\n", "READY\n"} {
		_, _ = d.Write([]byte(piece))
	}
	if text := passed.String(); strings.Contains(text, "cret") || !strings.Contains(text, "no\n") {
		t.Errorf("passed on %q", text)
	}
}

// Whatever a host says, in whatever pieces: it is passed on in order, once, without the
// mark, and never more of it than is kept.
func FuzzDialogue(f *testing.F) {
	for _, said := range []string{"READY\nrest", "QUESTION:\nREADY\n", "Password: \x1b[0m", "READY\r\n", "\nREADY\nREADY\n", "Passwort :"} {
		f.Add(said, uint8(3))
	}
	f.Fuzz(func(t *testing.T, said string, piece uint8) {
		d, passed := told("READY", said, int(piece)+1)
		if len(passed) > len(said) {
			t.Errorf("passed on %d bytes of %d", len(passed), len(said))
		}
		if !d.runs() && strings.Contains(passed, "QUESTION:") {
			t.Errorf("the mark is passed on: %q", passed)
		}
		if d.runs() && !strings.Contains(said, "READY") {
			t.Errorf("it runs without having said so: %q", said)
		}
	})
}

func FuzzTerminalCodes(f *testing.F) {
	for _, said := range []string{"\x1b[31mred\x1b[0m\r\n", "\x1b]0;title\aok", "\x1b]0;title\x1b\\ok", "\x1b\x1b[m", "plain"} {
		f.Add(said, uint8(1))
	}
	f.Fuzz(func(t *testing.T, said string, piece uint8) {
		var whole, parts bytes.Buffer
		_, _ = (&uncoded{to: &whole}).Write([]byte(said))
		u := &uncoded{to: &parts}
		for text := []byte(said); len(text) > 0; {
			n := min(int(piece)+1, len(text))
			_, _ = u.Write(text[:n])
			text = text[n:]
		}
		if whole.String() != parts.String() {
			t.Errorf("%q in pieces is %q", whole.String(), parts.String())
		}
		if strings.ContainsAny(whole.String(), "\x1b\r") {
			t.Errorf("codes are left: %q", whole.String())
		}
	})
}

func TestAPasswordWithinTheProgramsLineHidesNothing(t *testing.T) {
	var passed bytes.Buffer
	d := newDialogue("hdeploy-agent: ready", &passed)
	d.hide("ready")
	_, _ = d.Write([]byte("Password: ready\nhdeploy-agent: ready\nrest"))
	if !d.runs() || strings.Contains(passed.String(), "ready") || !strings.HasSuffix(passed.String(), "rest") {
		t.Errorf("runs %v, passed on %q", d.runs(), passed.String())
	}
}

// The last byte may have come right after a request for the next one.
func TestAStallIsNoticedWithin15Seconds(t *testing.T) {
	if longest := (missedKeepalives + 1) * (Target{}).withDefaults().Keepalive; longest > 15*time.Second {
		t.Errorf("it may take %v", longest)
	}
}
