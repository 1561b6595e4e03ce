package nix

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	cases := map[string]string{
		"plain":                      "plain",
		"\x1b[31;1merror:\x1b[0m x":  "error: x",
		"\x1b]0;title\x07after":      "after",
		"\x1b]8;;http://x\x1b\\link": "link",
		"\x1b(Bx\x1b=y\x1b":          "xy",
		"\x1b[31":                    "",
		"\x1b[3\x07x":                "x",
		"\x1b]never closed\nnext":    "\nnext",
		"10%\r20%\r30%":              "30%",
		"first\n10%\r20%":            "first\n20%",
		"dos\r\nline\r":              "dos\nline",
		"a\tb\x00c\x7fd\u0085e":      "a bcde",
		"bad \xff\xfe":               "bad \ufffd\ufffd",
		"\u202egnp.exe\u2066":        "gnp.exe",
		"\u009b31mC1":                "31mC1",
		"caf\u00e9 \U0001f600":       "caf\u00e9 \U0001f600",
	}
	for text, want := range cases {
		if got := clean(text, 1000); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := clean("ab\u00e9d", 3); got != "ab" {
		t.Errorf("cut inside a character: %q", got)
	}
}

func TestCleanIsLinear(t *testing.T) {
	// A minute for a quadratic one, milliseconds for a linear one.
	text := strings.Repeat("line\n", 1000) + strings.Repeat("a\r", 4<<20)
	if got := clean(text, 1<<20); len(got) > 1<<20 {
		t.Errorf("%d bytes", len(got))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text, 100)
		if len(got) > 100 || !utf8.ValidString(got) {
			t.Errorf("%q gives %q", text, got)
		}
		harmless(t, got)
	})
}

func TestStoreName(t *testing.T) {
	for path, want := range map[string]string{
		"/nix/store/vn5z8p45jpn0xwc7s6h795cqm9i1ib1a-failing-2.0.drv": "failing-2.0",
		"/nix/store/x-y\x1b[2J": "y",
		"":                      "",
		"strange":               "strange",
	} {
		if got := storeName(path); got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}
