package display

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

func storyOf(s *script, hosts ...string) *story {
	told := newStory(hosts)
	for _, e := range s.events {
		told.apply(e)
	}
	return told
}

func answerOf(s *script, hosts ...string) *answer {
	a := newAnswer(hosts)
	for _, e := range s.events {
		a.add(e)
	}
	return &a
}

func TestViews(t *testing.T) {
	hosts := []string{"web1", "web2", "web3"}
	for _, width := range []int{80, 60} {
		for _, color := range []bool{false, true} {
			name := fmt.Sprintf("%d-%s", width, map[bool]string{false: "plain", true: "colour"}[color])
			t.Run(name, func(t *testing.T) {
				run := running()
				sc := screen{now: run.now, width: width, st: style{color}}
				golden(t, "running-"+name, storyOf(run, hosts...).live(sc))
				end := ended()
				sc.now = end.now
				golden(t, "epilogue-"+name, storyOf(end, hosts[:2]...).epilogue(sc))
				golden(t, "answer-"+name, answerOf(end, hosts[:2]...).text(width, sc.st))
			})
		}
	}
}

// Colour may only repeat what the words say.
func TestColourAddsNothing(t *testing.T) {
	for name, s := range map[string]*script{"running": running(), "ended": ended()} {
		story := storyOf(s, "web1", "web2")
		for _, width := range []int{80, 60} {
			bare := screen{now: s.now, width: width}
			painted := screen{now: s.now, width: width, st: style{true}}
			if got, want := ansi.Strip(story.live(painted)), story.live(bare); got != want {
				t.Errorf("%s: colour changes the words:\n%s\n%s", name, got, want)
			}
			a := answerOf(s, "web1", "web2")
			if got, want := ansi.Strip(a.text(width, style{true})), a.text(width, style{}); got != want {
				t.Errorf("%s: colour changes the answer:\n%s\n%s", name, got, want)
			}
		}
	}
}

func TestLiveFitsTheScreen(t *testing.T) {
	s := newScript()
	var hosts []string
	for i := range 60 {
		host := fmt.Sprintf("host%02d", i)
		hosts = append(hosts, host)
		s.step(host, event.Copy, event.Started, "", 0).bytes(host, 1, 2).line(host, event.Copy, "nix", "copying")
		if i < 40 {
			s.outcome(host, event.Outcome{Outcome: "committed"})
		}
	}
	story := storyOf(s, hosts...)
	for _, height := range []int{1, 2, 5, 24, 70, 300} {
		view := story.live(screen{now: s.now, width: 80, height: height})
		if lines := strings.Count(view, "\n"); lines > max(height-1, 1) {
			t.Errorf("height %d: the view has %d lines", height, lines)
		}
	}
	if view := story.live(screen{now: s.now, width: 80, height: 24}); !strings.Contains(view, "40 more hosts are waiting or done") {
		t.Errorf("a low screen does not say what it leaves out:\n%s", view)
	}
}

// check fails where text would do anything to a terminal but show characters.
func check(t *testing.T, what, text string, width int) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if width > 0 && ansi.StringWidth(line) > width && !strings.Contains(line, "/nix/store/") {
			t.Errorf("%s: a line is %d columns wide: %.100q", what, ansi.StringWidth(line), line)
			return
		}
		for _, r := range line {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
				t.Errorf("%s: %U reaches the terminal: %.100q", what, r, line)
				return
			}
		}
	}
}

func TestHostileTexts(t *testing.T) {
	for i, text := range hostileTexts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := hostile(text)
			for _, width := range []int{80, 60} {
				sc := screen{now: s.now, width: width}
				story := storyOf(s, "web1")
				check(t, "live", story.live(sc), width)
				check(t, "epilogue", story.epilogue(sc), width)
				check(t, "answer", answerOf(s, "web1").text(width, style{}), width)
				sc.height = 24
				if lines := strings.Count(story.live(sc), "\n"); lines > 23 {
					t.Errorf("live: %d lines on a screen of 24", lines)
				}
			}
			p := newPlainLines([]string{"web1", text})
			for _, e := range s.events {
				line := p.line(e)
				check(t, "plain", line, 0)
				if strings.Count(line, "\n") > 1 {
					t.Errorf("plain: one event makes several lines: %.100q", line)
				}
			}
			var out bytes.Buffer
			d, _ := New(JSON, Settings{Out: &out})
			for _, e := range s.events {
				d.Event(e)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl) {
					t.Errorf("json: a control character reaches the terminal: %.100q", line)
				}
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	for _, text := range hostileTexts {
		f.Add(text[:min(len(text), 200)])
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Clean(text)
		check(t, "clean", got, 0)
		if strings.Contains(got, "\n") || len(got) > 12*textLimit+100 {
			t.Errorf("Clean(%q) = %q", text, got)
		}
		for _, l := range Wrap(got, 30) {
			if !isPath(l) && ansi.StringWidth(l) > 30 {
				t.Errorf("wrap leaves %d columns: %q", ansi.StringWidth(l), l)
			}
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain words":              "plain words",
		"\x1b[1;32mok\x1b[0m":      "ok",
		"a\tb":                     "a    b",
		"bell\x07":                 `bell\x07`,
		"\u009b2J":                 `\u009b2J`,
		"\u202eabc":                `\u202eabc`,
		"bad\xffbyte":              `bad\xffbyte`,
		"Grüße, 日本":                "Grüße, 日本",
		"\x1b]0;title\x07":         `\x1b]0;title\x07`,
		strings.Repeat("y", 10000): strings.Repeat("y", textLimit) + " ... (cut)",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%.40q) = %.80q, want %.80q", in, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	env := func(pairs ...string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1], true
				}
			}
			return "", false
		}
	}
	for _, c := range []struct {
		name string
		kind Kind
		s    Settings
		want Kind // empty where an error is wanted
	}{
		{"terminal", Auto, Settings{ErrTTY: true, Env: env("TERM", "xterm")}, Terminal},
		{"no terminal", Auto, Settings{}, Plain},
		{"dumb", Auto, Settings{ErrTTY: true, Env: env("TERM", "dumb")}, Plain},
		{"CI", Auto, Settings{ErrTTY: true, Env: env("CI", "true")}, Plain},
		{"CI denied", Auto, Settings{ErrTTY: true, Env: env("CI", "false")}, Terminal},
		{"Hercules effect", Auto, Settings{ErrTTY: true, Env: env("IN_HERCULES_CI_EFFECT", "true")}, Plain},
		{"wanted terminal in CI", Terminal, Settings{ErrTTY: true, Env: env("CI", "true")}, Terminal},
		{"wanted terminal without one", Terminal, Settings{}, ""},
		{"json", JSON, Settings{}, JSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.s.Resolve(c.kind)
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	if _, err := New(Terminal, Settings{}); err == nil {
		t.Error("an explicit terminal without a terminal is accepted")
	}
	if _, err := ParseKind("fancy"); err == nil || !strings.Contains(err.Error(), "plain") {
		t.Errorf("the error of an unknown kind does not name the known ones: %v", err)
	}
}

func TestPlain(t *testing.T) {
	var out, errOut bytes.Buffer
	d, err := New(Plain, Settings{Out: &out, ErrOut: &errOut, Hosts: []string{"web1", "web2"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ended().events {
		d.Event(e)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "plain-story", errOut.String())
	golden(t, "plain-answer", out.String())
}

func TestPlainProgressIsRare(t *testing.T) {
	p := newPlainLines([]string{"web1"})
	s := newScript()
	for range 200 {
		s.bytes("web1", 1, 2).bytes("web2", 1, 2).after(0.1)
	}
	said := 0
	for _, e := range s.events {
		if p.line(e) != "" {
			said++
		}
	}
	if said != 8 { // 20 seconds, every 5, for each of two hosts
		t.Errorf("%d lines of progress in 20 seconds, want 8", said)
	}
}

func TestQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		run         *script
		out, errOut []string
	}{
		"good": {newScript().step("web1", event.Copy, event.Started, "", 0).outcome("web1", event.Outcome{Outcome: "committed"}), nil, nil},
		"bad":  {ended(), []string{"web2: rolled-back", "1 of 2 hosts"}, []string{"hdeploy: warning: web2: web2 has 1.1 GiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			d, _ := New(Quiet, Settings{Out: &out, ErrOut: &errOut})
			for _, e := range c.run.events {
				d.Event(e)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			contains(t, out.String(), c.out)
			contains(t, errOut.String(), c.errOut)
		})
	}
}

// contains wants all the parts, and silence where there are none.
func contains(t *testing.T, got string, parts []string) {
	t.Helper()
	if len(parts) == 0 && got != "" {
		t.Errorf("said %q, want silence", got)
	}
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%q is missing in:\n%s", part, got)
		}
	}
}

func TestJSONLines(t *testing.T) {
	var out, errOut bytes.Buffer
	d, _ := New(JSON, Settings{Out: &out, ErrOut: &errOut})
	events := ended().events
	for _, e := range events {
		d.Event(e)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if errOut.Len() > 0 {
		t.Errorf("JSON also tells a story: %s", errOut.String())
	}
	lines := bufio.NewScanner(&out)
	n := 0
	for ; lines.Scan(); n++ {
		var got schemaEvent
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Schema != event.Schema || got.Type != events[n].Type || !got.Time.Equal(events[n].Time) {
			t.Errorf("line %d is %+v, want schema %d and %+v", n, got, event.Schema, events[n])
		}
	}
	if n != len(events) {
		t.Errorf("%d lines for %d events", n, len(events))
	}
}

// brokenPipe is a reader that left.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestLostAnswerIsAnError(t *testing.T) {
	for _, kind := range []Kind{JSON, Plain, Quiet, Terminal} {
		d, err := New(kind, Settings{Out: brokenPipe{}, ErrOut: brokenPipe{}, ErrTTY: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ended().events {
			d.Event(e)
		}
		if err := d.Close(); err == nil || !strings.Contains(err.Error(), "standard output") {
			t.Errorf("%s: Close() = %v, want an error of standard output", kind, err)
		}
	}
}

func TestTerminal(t *testing.T) {
	// A pipe stands for the terminal, so that the first frame can be awaited.
	read, write := io.Pipe()
	var screenText bytes.Buffer
	framed := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		var once sync.Once
		buf := make([]byte, 4096)
		for {
			n, err := read.Read(buf)
			screenText.Write(buf[:n])
			if strings.Contains(screenText.String(), "starting unit 4") {
				once.Do(func() { close(framed) })
			}
			if err != nil {
				return
			}
		}
	}()
	var out bytes.Buffer
	d, err := New(Terminal, Settings{Out: &out, ErrOut: write, ErrTTY: true, Hosts: []string{"web1", "web2"}})
	if err != nil {
		t.Fatal(err)
	}
	half := len(running().events)
	events := ended().events
	var senders sync.WaitGroup
	for _, e := range events[:half] {
		d.Event(e)
	}
	select {
	case <-framed:
	case <-time.After(10 * time.Second):
		t.Fatal("the live view never came")
	}
	senders.Go(func() { // hosts report at the same time
		for range 1000 {
			d.Event(newScript().line("web3", event.Build, "builder", "busy").events[0])
		}
	})
	for _, e := range events[half:] {
		d.Event(e)
	}
	senders.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	<-drained
	got := screenText.String()
	if _, after, found := strings.Cut(got, ShowCursor); !found || !strings.Contains(after, "web1: preflight 0.4 s, copy 3.0 s, commit 0.8 s") {
		t.Errorf("the story does not stay in the scrollback after the live view: %q", after)
	}
	if strings.Contains(got, "\x1b[?1049h") {
		t.Error("the alternate screen was used")
	}
	contains(t, out.String(), []string{"web1: committed", "web2: rolled-back"})
}

func TestAnswerNamesEveryHost(t *testing.T) {
	words := []string{"unchanged", "committed", "degraded", "reboot-required", "tested", "staged", "rebooted", "pushed", "previewed",
		"rolled-back", "rollback-failed", "kept", "refused", "unreachable", "failed", "interrupted", "unknown"}
	seen := map[string]string{}
	for _, word := range words {
		text := meaningOf("web1", event.Outcome{Outcome: word})
		if other, twice := seen[text]; twice {
			t.Errorf("%s and %s mean the same: %s", word, other, text)
		}
		if strings.HasPrefix(text, "exit code") {
			t.Errorf("%s has no meaning in words", word)
		}
		seen[text] = word
	}
	text := answerOf(newScript().outcome("web1", event.Outcome{Outcome: "committed"}), "web1", "web2").text(80, style{})
	contains(t, text, []string{"web2: no outcome", "1 of 2 hosts"})
	one := answerOf(newScript().outcome("web1", event.Outcome{Outcome: "committed", Seconds: 3}), "web1").text(80, style{})
	if !regexp.MustCompile(`^web1: committed: [^\n]+ in 3\.0 s\n$`).MatchString(one) {
		t.Errorf("the simple good case is not one line: %q", one)
	}
}

func TestSameCauseIsToldOnce(t *testing.T) {
	s := newScript()
	f := &event.Failure{Step: "evaluate", Cause: "error: undefined variable 'foo'\n\n       at /flake.nix:3:5", Next: "nix flake check"}
	for _, host := range []string{"web1", "web2"} {
		s.outcome(host, event.Outcome{Outcome: "failed", Code: 3, Failure: f})
	}
	text := answerOf(s, "web1", "web2").text(80, style{})
	if strings.Count(text, "undefined variable") != 1 || !strings.Contains(text, "the same as for web1") {
		t.Errorf("the cause is not told exactly once:\n%s", text)
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0 s", 400 * time.Millisecond: "0.4 s", 65 * time.Second: "65.0 s",
		245 * time.Second: "4 min 05 s", 3 * time.Hour: "3 h 00 min",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{-1: "0 B", 999: "999 B", 1 << 20: "1.0 MiB", 1 << 62: "4096.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}
