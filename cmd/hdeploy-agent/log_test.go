package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const id = "abcd1234"

func TestPrintable(t *testing.T) {
	for line, want := range map[string]string{
		"starting the following units: nginx.service": "starting the following units: nginx.service",
		"a\tb":                    "a b",
		"\x1b[31mred\x1b[0m":      "[31mred[0m",
		"\x1b]0;title\x07":        "]0;title",
		"over\rwritten\b\x00\x7f": "overwritten",
		"c1\u009b31m":             "c131m",
		"bad\xff\xfeutf8":         "badutf8",
		"größer →":                "größer →",
		"safe\u202egnp.exe":       "safegnp.exe",
		"":                        "",
	} {
		if got := printable(line); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
	long := printable(strings.Repeat("é", lineLimit))
	if len(long) > lineLimit || len(long) < lineLimit-4 || !utf8.ValidString(long) {
		t.Errorf("a long line became %d bytes, valid %v", len(long), utf8.ValidString(long))
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestLogReaderReturnsWholeLinesOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	var l logReader
	for _, step := range []struct{ text, want string }{
		{"", "[]"},
		{"one\ntwo\nhal", "[one two]"},
		{"", "[]"},
		{"f\n", "[half]"},
		{"\x1b[1mthree\n\n", "[[1mthree ]"},
	} {
		if step.text != "" {
			appendTo(t, name, step.text)
		}
		if got := fmt.Sprint(l.read(name)); got != step.want {
			t.Errorf("after %q: %s, want %s", step.text, got, step.want)
		}
	}
}

func TestLogReaderOfALineWithoutAnEnd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	appendTo(t, name, strings.Repeat("x", 5*logTail)+"\nnext\n")
	var l logReader
	var got []string
	for range 10 {
		got = append(got, l.read(name)...)
		if len(l.rest) > 2*logTail {
			t.Fatalf("it keeps %d bytes", len(l.rest))
		}
	}
	if len(got) == 0 || got[len(got)-1] != "next" || len(got[0]) > lineLimit {
		t.Errorf("got %d lines", len(got))
	}
}

// lines receives what a followed log sends.
func lines(t *testing.T, name string, skip int) (got <-chan string, stop func()) {
	t.Helper()
	c := make(chan string, 100)
	_, stop = followLog(context.Background(), name, skip, func(event any) error {
		c <- event.(protocol.WatchEvent).Line
		return nil
	})
	t.Cleanup(stop)
	return c, stop
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case line := <-c:
		return line
	case <-time.After(5 * time.Second):
		t.Fatal("no line")
		return ""
	}
}

func TestFollowLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	got, stop := lines(t, name, 0)
	appendTo(t, name, "one\n")
	if line := next(t, got); line != "one" {
		t.Errorf("got %q", line)
	}
	appendTo(t, name, "two\n")
	if line := next(t, got); line != "two" {
		t.Errorf("got %q", line)
	}
	// The end of a switch and its last line come at the same instant.
	appendTo(t, name, "last\n")
	stop()
	select {
	case line := <-got:
		if line != "last" {
			t.Errorf("got %q", line)
		}
	default:
		t.Error("the last line is lost")
	}
}

func TestFollowLogSkipsWhatWasTold(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	appendTo(t, name, "one\ntwo\nthree\n")
	got, _ := lines(t, name, 2)
	if line := next(t, got); line != "three" {
		t.Errorf("got %q", line)
	}
}

func TestFollowLogEndsWithItsPeer(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	appendTo(t, name, "one\ntwo\n")
	calls := 0
	told := make(chan struct{}, 10)
	_, stop := followLog(context.Background(), name, 0, func(any) error { calls++; told <- struct{}{}; return os.ErrClosed })
	<-told
	stop()
	if calls != 1 {
		t.Errorf("it spoke %d times to a peer that is gone", calls)
	}
}

func testAgent(t *testing.T) agent {
	t.Helper()
	return agent{engine: transaction.Engine{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: nixos.Clock{}}}
}

func TestLog(t *testing.T) {
	a := testAgent(t)
	name := a.engine.Store.LogFile(id)
	ask := func(n int) []string {
		t.Helper()
		got, err := a.log(protocol.LogRequest{ID: id, Lines: n})
		if err != nil {
			t.Fatal(err)
		}
		return got.(protocol.LogResult).Lines
	}
	if got := ask(5); len(got) != 0 {
		t.Errorf("without a log: %q", got)
	}
	kept := filepath.Join(a.engine.Store.Dir, "history", id+".log")
	for _, file := range []string{name, kept} {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, kept, "of an earlier boot\n")
	if got := ask(5); len(got) != 1 || got[0] != "of an earlier boot" {
		t.Errorf("the log that the disk keeps: %q", got)
	}
	appendTo(t, name, "\n")
	if got := ask(5); len(got) != 0 {
		t.Errorf("an empty log: %q", got)
	}
	for i := range 1000 {
		appendTo(t, name, fmt.Sprintf("\x1b[1mline %d %s\n", i, strings.Repeat("x", 100)))
	}
	if got := ask(2); len(got) != 2 || !strings.HasPrefix(got[0], "[1mline 998 ") || !strings.HasPrefix(got[1], "[1mline 999 ") {
		t.Errorf("got %q", got)
	}
	for asked, want := range map[int]int{0: 1, -1: 1, 1 << 30: logLines} {
		if got := ask(asked); len(got) != want {
			t.Errorf("asked for %d, got %d", asked, len(got))
		}
	}
}
