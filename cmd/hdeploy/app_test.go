package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/hosts"
)

// testStreams are streams without a terminal and with an empty environment.
func testStreams(t *testing.T) (s streams, out, errOut *bytes.Buffer) {
	t.Helper()
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	return streams{
		In: strings.NewReader(""), Out: out, ErrOut: errOut,
		Env:   func(string) (string, bool) { return "", false },
		Width: func() int { return 80 },
		Dir:   t.TempDir(),
	}, out, errOut
}

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // the arranged words, or what the error says
		bad  bool
	}{
		{args: "switch web1", want: "switch -- web1"},
		{args: "switch web1 --dry-run", want: "switch --dry-run -- web1"},
		{args: "switch --dry-run web1 web2", want: "switch --dry-run -- web1 web2"},
		{args: "--json switch web1", want: "switch --json -- web1"},
		{args: "-c a.toml switch web1 --output plain", want: "switch --config=a.toml --output=plain -- web1"},
		{args: "switch -c=a.toml web1", want: "switch --config=a.toml -- web1"},
		{args: "switch web1 -- --impure --option cores 2", want: "switch -- web1 -- --impure --option cores 2"},
		{args: "switch web1 --", want: "switch -- web1"},
		{args: "build web1 --json -- -L --", want: "build --json -- web1 -- -L --"},
		{args: "switch web1 -- --dry-run", want: "--dry-run is hdeploy's own", bad: true},
		{args: "switch web1 -- --dry-run=true", want: "--dry-run is hdeploy's own", bad: true},
		{args: "unlock web1 -- -L", want: "unlock evaluates and builds nothing", bad: true},
		{args: "-- switch web1", want: "no command stands before it", bad: true},
		{args: "switch --dry-run=false web1", want: "switch --dry-run=false -- web1"},
		{args: "switch web1 --help", want: "help -- switch"},
		{args: "--version", want: "version --"},
		{args: "--help", want: "help --"},
		{args: "", want: "no command", bad: true},
		{args: "--json", want: "no command", bad: true},
		{args: "swich web1", want: "did you mean switch?", bad: true},
		{args: "switch web1 --dry", want: "did you mean --dry-run?", bad: true},
		{args: "switch web1 -dry-run", want: "did you mean --dry-run?", bad: true},
		{args: "--dry-run switch web1", want: "belongs after its command", bad: true},
		{args: "switch web1 --config --dry-run", want: "needs a value", bad: true},
		{args: "switch web1 --config -- web2", want: "needs a value", bad: true},
		{args: "switch web1 --config", want: "needs a value", bad: true},
		{args: "switch web1 --config=", want: "empty value", bad: true},
		{args: "--json switch --json web1", want: "given twice", bad: true},
		{args: "-c a switch --config b web1", want: "given twice", bad: true},
		{args: "switch --zzzzqqqq", want: "unknown option", bad: true},
	} {
		t.Run(c.args, func(t *testing.T) {
			s, _, _ := testStreams(t)
			got, err := arrange(newApp(s), strings.Fields(c.args))
			if (err != nil) != c.bad {
				t.Fatalf("got %q, %v", got, err)
			}
			text := strings.Join(got, " ")
			if c.bad {
				text = err.Error()
			}
			if !c.bad && text != c.want || !strings.Contains(text, c.want) {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// Every command must explain itself with an example that the program takes, in
// lines that fit an ordinary terminal.
func TestHelpOfEveryCommand(t *testing.T) {
	s, out, _ := testStreams(t)
	app := newApp(s)
	if len(app.Commands) < 5 {
		t.Fatalf("only %d commands", len(app.Commands))
	}
	if code := Main(context.Background(), []string{"help"}, s); code != 0 {
		t.Errorf("help: code %d", code)
	}
	requireFits(t, out.String())
	for _, c := range app.Commands {
		t.Run(c.Name, func(t *testing.T) {
			for _, args := range [][]string{{c.Name, "--help"}, {"--help", c.Name}, {"help", c.Name}} {
				s, out, errOut := testStreams(t)
				if code := Main(context.Background(), args, s); code != 0 || errOut.Len() > 0 {
					t.Fatalf("%q: code %d, standard error %q", args, code, errOut)
				}
				checkHelp(t, c, out.String())
				requireFits(t, out.String())
			}
			if c.OnUsageError == nil {
				t.Error("usage errors would go to standard output")
			}
		})
	}
}

func checkHelp(t *testing.T, c *cli.Command, help string) {
	t.Helper()
	_, after, found := strings.Cut(help, "Example:\n\n    ")
	if !found || strings.Count(help, "Example:") != 1 {
		t.Fatalf("not exactly one example in:\n%s", help)
	}
	example, _, _ := strings.Cut(after, "\n")
	words := strings.Fields(strings.Trim(strings.TrimPrefix(example, "source <("), ")"))
	if len(words) < 2 || words[0] != "hdeploy" {
		t.Fatalf("the example is no call of hdeploy: %q", example)
	}
	s, _, _ := testStreams(t)
	arranged, err := arrange(newApp(s), words[1:])
	if err != nil || arranged[0] != c.Name {
		t.Errorf("the example %q does not call %s: %q, %v", example, c.Name, arranged, err)
	}
	for _, f := range c.VisibleFlags() {
		if !strings.Contains(help, "--"+f.Names()[0]) {
			t.Errorf("the help does not name --%s", f.Names()[0])
		}
	}
	for line := range strings.Lines(help) {
		if strings.TrimRight(line, " \n") != strings.TrimRight(line, "\n") {
			t.Errorf("a line ends in a space: %q", line)
		}
	}
}

func TestSecondSignalLeavesAtOnce(t *testing.T) {
	s, _, errOut := testStreams(t)
	asked := make(chan struct{})
	stuck := make(chan struct{})
	defer close(stuck)
	go func() {
		<-asked
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	code := interruptible(context.Background(), s, func(ctx context.Context) int {
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT) // whoever listens does so by now
		<-ctx.Done()
		close(asked)
		<-stuck
		return 0
	})
	if code != 10 || !strings.Contains(errOut.String(), "interrupted again") {
		t.Errorf("code %d, %q", code, errOut)
	}
}

func TestFirstSignalWaits(t *testing.T) {
	s, _, _ := testStreams(t)
	code := interruptible(context.Background(), s, func(ctx context.Context) int {
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {
		case <-ctx.Done():
			return 7
		case <-time.After(10 * time.Second):
			return 1
		}
	})
	if code != 7 {
		t.Errorf("code %d, want the one of the run", code)
	}
}

func TestComplete(t *testing.T) {
	s, _, _ := testStreams(t)
	toml := "[hosts.web1]\ntags = [\"web\"]\n[hosts.web2]\ntags = [\"web\"]\n[hosts.db]\n"
	if err := os.WriteFile(filepath.Join(s.Dir, "deploy.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "other.toml"), []byte("[hosts.elsewhere]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ line, want string }{
		{"", "switch boot test dry-activate build push reboot effect rollback attach confirm abort status probe check generations history log lock unlock hosts config init trust version completion help"},
		{"sw", "switch"},
		{"dry-activate w", "web1 web2"},
		{"push @", "@web"},
		{"boot --", "--help --flake --closure --expectations --rev --branch --force-identity --strict --dry-run --force --confirm-timeout --reboot --no-fallback --address --ssh-user --config --output --json --no-color --log-level --log-file"},
		{"build --d", ""},
		{"test --no-r", "--no-rollback"},
		{"switch ", "web1 web2 db @web"},
		{"switch w", "web1 web2"},
		{"rollback ", "web1 web2 db"},
		{"rollback web1 ", ""},
		{"rollback web1 --y", "--yes"},
		{"attach d", "db"},
		{"confirm ", "web1 web2 db"},
		{"abort ", "web1 web2 db"},
		{"switch web1 ", "web2 db @web"},
		{"switch -c other.toml ", "elsewhere"},
		{"-c other.toml switch ", "elsewhere"},
		{"switch --config=other.toml ", "elsewhere"},
		{"switch --config=missing.toml ", ""},
		{"switch --dry", "--dry-run"},
		{"switch --output ", "auto terminal plain json quiet"},
		{"switch --output=p", "--output=plain"},
		{"--log-level w", "warn"},
		{"switch --config ", ":files"},
		{"switch --flake=./x", ":files"},
		{"switch -- --", ""},
		{"help sw", "switch"},
		{"completion ", "bash zsh fish"},
		{"nonsense", ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			var got []string
			for _, found := range complete(s, strings.Split(c.line, " ")) {
				got = append(got, found.word)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What the library calls an argument would be a deployment.
func TestTrailingOptionsArrive(t *testing.T) {
	line := "--no-color switch web1 --dry-run @eu --confirm-timeout 90s --activation-timeout=2m --json -c d.toml"
	s, _, _ := testStreams(t)
	var got switchOptions
	app := newApp(s)
	app.Command("switch").Action = func(c *cli.Context) (err error) {
		got, err = readSwitch(c, s)
		return err
	}
	arranged, err := arrange(app, strings.Fields(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(append([]string{"hdeploy"}, arranged...)); err != nil {
		t.Fatal(err)
	}
	want := switchOptions{
		commonOptions: commonOptions{config: "d.toml", output: display.JSON, logLevel: zerolog.Disabled},
		hosts:         []string{"web1", "@eu"}, dryRun: true,
		overrides: overrides{confirm: 90 * time.Second, activation: 2 * time.Minute, origins: hosts.Origins{
			"timeouts.confirm":    {{Level: hosts.LevelOption, File: "--confirm-timeout"}},
			"timeouts.activation": {{Level: hosts.LevelOption, File: "--activation-timeout"}},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReadFlake(t *testing.T) {
	s, _, _ := testStreams(t)
	for in, want := range map[string]string{
		".": s.Dir, "./sub": s.Dir + "/sub", "path:./sub?ref=x": "path:" + s.Dir + "/sub?ref=x",
		"github:owner/repo": "github:owner/repo", "/abs": "/abs", ".#web1": "",
	} {
		app := newApp(s)
		var got string
		var err error
		app.Command("switch").Action = func(c *cli.Context) error { got, err = readFlake(c, s); return nil }
		if runErr := app.Run([]string{"hdeploy", "switch", "--flake=" + in}); runErr != nil {
			t.Fatal(runErr)
		}
		if got != want || (err != nil) != (want == "") {
			t.Errorf("--flake %s: got %q, %v; want %q", in, got, err, want)
		}
	}
}

// Whatever an argument contains, it cannot reach the terminal as it is.
func TestHostileArguments(t *testing.T) {
	const evil = "\x1b]0;owned\x07\u009b2J\u202e"
	for _, args := range [][]string{
		{evil}, {"--" + evil}, {"switch", evil}, {"switch", "--config", evil, "web1"}, {"switch", "--config=" + evil + "\x00", "web1"},
		{"switch", "--output", evil, "web1"}, {"switch", "--log-level", evil, "web1"}, {"switch", "--confirm-timeout", evil, "web1"},
		{"switch", "--flake", "." + "#" + evil, "web1"}, {"completion", evil}, {"help", evil}, {"version", evil},
		{"switch", "--dry-run=" + evil, "web1"}, {"hosts", evil, "--json"},
		{"status", evil}, {"generations", evil}, {"history", "--limit", evil, "web1"}, {"log", "web1", evil}, {"log", evil},
		{"lock", "web1", "-m", evil}, {"lock", evil, "-m", "why"}, {"unlock", evil}, {"switch", "--log-file", "/" + evil + "/x", "web1"},
	} {
		s, out, errOut := testStreams(t)
		if code := Main(context.Background(), args, s); code != 2 {
			t.Errorf("%q: code %d, want 2", args, code)
		}
		for _, text := range []string{out.String(), errOut.String()} {
			if strings.ContainsAny(text, "\x1b\x07\u009b\u202e") {
				t.Errorf("%q reaches the terminal: %q", args, text)
			}
		}
		if errOut.Len() == 0 {
			t.Errorf("%q: no error was printed", args)
		}
	}
}

// failingWriter is a reader of standard output that left.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLostAnswer(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"completion", "bash"}} {
		s, _, errOut := testStreams(t)
		s.Out = failingWriter{}
		if code := Main(context.Background(), args, s); code != 1 || !strings.Contains(errOut.String(), "standard output") {
			t.Errorf("%q: code %d, %q", args, code, errOut)
		}
	}
}
