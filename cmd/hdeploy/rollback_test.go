package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

func TestYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "yes": true, "n\n": false, "\n": false, "": false, "yes please\n": false} {
		s, _, _ := testStreams(t)
		s.In = strings.NewReader(answer)
		if err := yes(context.Background(), s); (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

func TestAnInterruptAnswersTheQuestion(t *testing.T) {
	s, _, _ := testStreams(t)
	in, out := io.Pipe()
	defer out.Close()
	s.In = in
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := yes(ctx, s); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
}

// A person sees the plan once, a program gets it with everything else.
func TestThePlanIsShownOnceBeforeTheStory(t *testing.T) {
	for _, c := range []struct {
		output display.Kind
		answer string
		plans  int
	}{
		{display.Plain, "y\n", 1}, {display.Plain, "n\n", 1}, {display.JSON, "y\n", 2},
	} {
		s, out, errOut := testStreams(t)
		s.In = strings.NewReader(c.answer)
		o := rollbackOptions{oneHostOptions: oneHostOptions{host: hosts.Host{Name: "web1"}, commonOptions: commonOptions{output: c.output}}}
		g := &stage{log: func(event.Event) {}, display: func() (display.Display, error) {
			return display.New(c.output, o.display(s, nil))
		}}
		plan := event.Plan{From: "/new", To: "/old", Verdict: "unproven"}
		g.event(event.Event{Type: "note", Host: "web1", Note: &event.Note{Level: "info", Text: "before"}})
		g.event(event.Event{Type: "plan", Host: "web1", Plan: &plan})
		if err := ask(context.Background(), s, o, g, plan); (err == nil) != (c.answer == "y\n") {
			t.Errorf("answer %q: %v", c.answer, err)
		}
		g.event(event.Event{Type: "note", Host: "web1", Note: &event.Note{Level: "info", Text: "after"}})
		if err := g.close(); err != nil {
			t.Fatal(err)
		}
		all := errOut.String() + out.String()
		if got := strings.Count(all, "/old"); got != c.plans {
			t.Errorf("%s: the plan was shown %d times:\n%s", c.output, got, all)
		}
		question, before, after := strings.Index(all, "Go back? [y/N]"), strings.Index(all, "before"), strings.Index(all, "after")
		if question < 0 || before < question || after < before {
			t.Errorf("%s: not in order:\n%s", c.output, all)
		}
	}
}

func TestAutomatic(t *testing.T) {
	env := func(name, value string) func(string) (string, bool) {
		return func(asked string) (string, bool) { return value, asked == name && value != "" }
	}
	for _, c := range []struct {
		name string
		s    streams
		want bool
	}{
		{"a person", streams{Env: env("", ""), InTTY: true, OutTTY: true, ErrTTY: true}, false},
		{"a person who keeps the output", streams{Env: env("", ""), InTTY: true}, false},
		{"nobody", streams{Env: env("", "")}, true},
		{"CI with a terminal", streams{Env: env("CI", "true"), InTTY: true, OutTTY: true, ErrTTY: true}, true},
		{"an effect", streams{Env: env("IN_HERCULES_CI_EFFECT", "true"), OutTTY: true}, true},
		{"not CI", streams{Env: env("CI", "false"), InTTY: true}, false},
	} {
		if got := automatic(c.s); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestRollbackAsksOnlyOnATerminal(t *testing.T) {
	s, _, errOut := testStreams(t)
	s.InTTY, s.ErrTTY = true, false
	if err := os.WriteFile(s.Dir+"/deploy.toml", []byte("[hosts.web1]\naddress = \"127.0.0.1\"\nport = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := Main(context.Background(), []string{"rollback", "web1"}, s); code != 2 || !strings.Contains(errOut.String(), "--yes") {
		t.Errorf("code %d: %s", code, errOut)
	}
	var out bytes.Buffer
	s.ErrTTY, s.Out, s.ErrOut = true, &out, &out
	// It gets as far as the host, which is before the question.
	if code := Main(context.Background(), []string{"rollback", "web1", "--output", "plain"}, s); code == 2 || strings.Contains(out.String(), "Go back?") {
		t.Errorf("code %d: %s", code, out.String())
	}
}
