package probe

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNotesAreFewAndClean(t *testing.T) {
	f := pass("a", "b")
	for range 2 * mostNotes {
		f = f.note("bad\x1b[2J " + strings.Repeat("x", 2*longestText))
	}
	r := f.result(Spec{OnFail: Rollback})
	if len(r.Notes) != mostNotes || strings.Contains(r.Notes[0], "\x1b") || utf8.RuneCountInString(r.Notes[0]) > longestText {
		t.Errorf("%d notes, the first of %d bytes", len(r.Notes), len(r.Notes[0]))
	}
	if r.Verdict != Pass || Judge(InTrial, []Result{r}) != Committed {
		t.Errorf("a pass with notes is %s", r.Verdict)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"a\nb\tc":                 "a b c",
		"\x1b[31mred\x1b[0m\x07":  "[31mred[0m",
		"bad \xff byte":           "bad ? byte",
		"right\u202eto left":      "rightto left",
		"zero\u200bwidth\u2028 x": "zerowidth  x",
		"  trimmed \r\n":          "trimmed",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[0m")
	f.Add(strings.Repeat("ü\xff", 4000))
	f.Fuzz(func(t *testing.T, in string) {
		got := clean(in)
		if n := utf8.RuneCountInString(got); n > longestText {
			t.Errorf("%d runes", n)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
	})
}
