package remote_test

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

var quoteSamples = [][]string{
	{"plain", "--option=value", "a,b:c@d/e+f"},
	{"", " ", "\t", "\n", "two\nlines"},
	{"it's", "''", "'", `"double"`, "back\\slash", `\\two`, `\'mixed\'`, `end\`},
	{"$HOME", "$(id)", "`id`", "${x}", "!history", "a;b", "a&b", "a|b", "<in", ">out", "#comment", "~", "~root", "*", "?", "[a-z]", "{a,b}", "(sub)", "%self", "^caret"},
	{"A=b", "=x", "-n", "--", "\x01\x7f", "ünïcödé ✓", "\xff\xfe"},
}

func TestQuoteAgainstRealShells(t *testing.T) {
	for _, shell := range []string{"sh", "bash", "zsh", "fish", "nu", "tcsh"} {
		t.Run(shell, func(t *testing.T) {
			program, err := exec.LookPath(shell)
			if err != nil && shell != "sh" {
				t.Logf("%s is not installed: nothing to compare with", shell)
				return
			}
			for _, sample := range quoteSamples {
				if isPlain(shell) {
					sample = slices.DeleteFunc(slices.Clone(sample), func(word string) bool {
						return strings.ContainsAny(word, "'\\!\n") || !utf8.ValidString(word)
					})
				}
				compareQuoting(t, program, sample)
			}
		})
	}
}

// isPlain says whether a shell takes only words that are the same in every shell.
func isPlain(shell string) bool { return path.Base(shell) == "nu" || path.Base(shell) == "tcsh" }

// compareQuoting has a shell print the arguments, each ended by a zero byte.
func compareQuoting(t *testing.T, shell string, arguments []string) {
	t.Helper()
	printf, err := exec.LookPath("printf")
	if err != nil {
		t.Fatal(err)
	}
	command := []string{printf, `%s\0`}
	if isPlain(shell) {
		command = []string{"/bin/sh", "-c", `for a; do printf %s "$a"; head -c 1 /dev/zero; done`, "sh"}
	}
	line, err := remote.Quote(append(command, arguments...))
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command(shell, "-c", line).Output()
	if err != nil {
		t.Fatalf("%s -c %q: %v", shell, line, err)
	}
	if want := strings.Join(arguments, "\x00") + "\x00"; string(got) != want {
		t.Errorf("%s read %q as %q, want %q", shell, line, got, want)
	}
}

func TestQuoteRefuses(t *testing.T) {
	for name, argv := range map[string][]string{"nothing": nil, "no command": {""}, "zero byte": {"echo", "a\x00b"}} {
		if line, err := remote.Quote(argv); err == nil {
			t.Errorf("%s: got %q", name, line)
		}
	}
}

func TestQuoteReadsWell(t *testing.T) {
	line, err := remote.Quote([]string{"/bin/sh", "-c", "it's", `a\b`, ""})
	if want := `/bin/sh -c 'it'\''s' 'a'\\'b' ''`; err != nil || line != want {
		t.Errorf("got %s, %v, want %s", line, err, want)
	}
}

// FuzzQuote compares with sh, the one shell every host has.
func FuzzQuote(f *testing.F) {
	for _, sample := range quoteSamples {
		for _, word := range sample {
			f.Add(word)
		}
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) || len(word) > 4096 {
			return
		}
		compareQuoting(t, "sh", []string{word})
	})
}
