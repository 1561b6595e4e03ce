package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const patience = 30 * time.Second

// actAsAgent is the agent's side of the tests, in a process of its own.
func actAsAgent(behaviour string) int {
	own := protocol.Hello{Protocol: protocol.Version, Program: "agent"}
	switch behaviour {
	case "dies":
		fmt.Fprintln(os.Stderr, "\x1b[31msegmentation fault")
		return 3
	case "newer":
		own.Protocol = 99
	case "hangs":
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	case "chatters":
		for range 10_000 {
			fmt.Fprintln(os.Stderr, "a line that nobody asked for")
		}
	}
	err := protocol.Serve(context.Background(), os.Stdin, os.Stdout, own, answer)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func answer(_ context.Context, method string, params json.RawMessage, emit func(any) error) (any, error) {
	switch method {
	case protocol.MethodNixSettings:
		return protocol.NixSettings{Settings: map[string]string{
			"cores": "4", "substituters": "https://cache.example.org", "builders": "", "plugin-files": "/tmp/evil.so", "netrc-file": "/home/ann/.netrc",
			"max-jobs": "1\nplugin-files = /tmp/evil.so", "trusted-public-keys": strings.Repeat("x", settingLimit+1),
		}}, nil
	case protocol.MethodFacts:
		var ask protocol.FactsRequest
		if err := json.Unmarshal(params, &ask); err != nil {
			return nil, err
		}
		if os.Getenv("HDEPLOY_TEST_BEHAVIOUR") == "refuses" {
			return nil, &protocol.Error{Code: protocol.CodeRefused, Message: "no"}
		}
		return protocol.Facts{Hostname: ask.Profile}, nil
	case protocol.MethodMissing:
		var ask protocol.MissingRequest
		err := json.Unmarshal(params, &ask)
		return protocol.MissingResult(ask), err
	case protocol.MethodLog:
		return protocol.LogResult{Lines: []string{"last line"}}, nil
	case protocol.MethodProbe:
		return []probe.Result{{Name: "web", Verdict: probe.Pass}}, nil
	case protocol.MethodJournal:
		return protocol.JournalResult{Journal: []transaction.UnitLog{{Unit: "web.service"}}}, nil
	case protocol.MethodWatch, protocol.MethodConfirm:
		if err := emit(protocol.WatchEvent{Line: "activating"}); err != nil {
			return nil, err
		}
	}
	return protocol.Status{ID: method}, nil
}

// host is an SSH server whose commands see the private directories.
type host struct {
	place
	target remote.Target
	server *remotetest.Server
}

func newHost(t *testing.T, behaviour string, options remotetest.Options) host {
	t.Helper()
	p := newPlace(t)
	t.Chdir(t.TempDir()) // the home of the login user
	t.Setenv("HDEPLOY_TEST_AGENT", os.Args[0])
	t.Setenv("HDEPLOY_TEST_BEHAVIOUR", behaviour)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	options.Shell = filepath.Join(p.bin, "login-shell")
	p.program("login-shell", fmt.Sprintf(`PATH=/usr/bin:/bin
printf '%%s\n' "$2" >> %s
line=$(printf %%s "$2" | sed -e "s#/var/lib/hdeploy#%s#g" -e "s#PATH=/run/current#PATH=%s:/run/current#g")
exec /bin/sh -c "$line"`, p.ran(), p.lib, p.bin))
	key, public := remotetest.NewIdentity(t)
	options.Authorized = []ssh.PublicKey{public}
	s := remotetest.Start(t, options)
	return host{place: p, server: s, target: remote.Target{
		Host: "web1", Address: s.Address(), Port: s.Port(), User: "root", HostKeys: s.HostKeyLines(), IdentityFiles: []string{key}, AgentSocket: "none",
	}}
}

// ran is a file of the lines that the login shell was given.
func (p place) ran() string { return filepath.Join(p.bin, "ran") }

func (h host) start(ctx context.Context) (*Agent, protocol.Facts, error) {
	h.t.Helper()
	conn, err := remote.Dial(ctx, h.target)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	var facts protocol.Facts
	a, err := Start(ctx, conn, "", AskFacts(protocol.FactsRequest{Profile: "asked"}, &facts))
	return a, facts, err
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestStartUploadsTheAgentOnce(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{Noise: "Welcome to web1\n"})
	a, facts, err := h.start(within(t))
	if err != nil || facts.Hostname != "asked" {
		t.Fatalf("got %+v, %v", facts, err)
	}
	a.Close()
	h.holdsOnlyTheAgent()
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("the upload was left behind: %v, %v", left, err)
	}
	before := h.server.Channels.Load()
	a, _, err = h.start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if used := h.server.Channels.Load() - before; used != 1 {
		t.Errorf("a start with the agent in place took %d channels, want 1", used)
	}
}

// The agent comes over SFTP where the host has it and a folder for it, and otherwise
// without; the channels tell which way it went.
func TestWaysOfTheUpload(t *testing.T) {
	readOnly := func(t *testing.T, h *host) { h.target.TempDir = filepath.Join(t.TempDir(), "absent") }
	odd := func(t *testing.T, h *host) {
		h.target.TempDir = filepath.Join(t.TempDir(), "a 'folder'")
		if err := os.Mkdir(h.target.TempDir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		options remotetest.Options
		arrange func(*testing.T, *host)
		copies  bool
	}{
		"sftp":                    {copies: true},
		"no sftp":                 {options: remotetest.Options{NoSFTP: true}},
		"no folder":               {arrange: readOnly},
		"a folder that is quoted": {arrange: odd},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "serves", c.options)
			if c.arrange != nil {
				c.arrange(t, &h)
			}
			a, _, err := h.start(within(t))
			if err != nil {
				t.Fatal(err)
			}
			a.Close()
			h.holdsOnlyTheAgent()
			ran, err := os.ReadFile(h.ran())
			if copied := strings.Contains(string(ran), "/agent > "); err != nil || copied != c.copies {
				t.Errorf("copied from an upload: %v, want %v, %v", copied, c.copies, err)
			}
			for _, folder := range []string{".", h.target.TempDir} {
				if left, _ := os.ReadDir(folder); len(left) != 0 {
					t.Errorf("the upload was left behind: %v", left)
				}
			}
		})
	}
}

func TestCalls(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{})
	a, _, err := h.start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx := within(t)
	if got, err := a.Missing(ctx, []string{"a", "b"}); err != nil || len(got) != 2 {
		t.Errorf("missing: %v, %v", got, err)
	}
	if got, err := a.Log(ctx, "abcd1234", 3); err != nil || len(got) != 1 || got[0] != "last line" {
		t.Errorf("log: %v, %v", got, err)
	}
	home := a.About(&Profile{Program: transaction.Program{Profile: "home"}})
	if got, err := home.Probe(ctx, nil, nil); err != nil || len(got) != 1 || got[0].Name != "web" {
		t.Errorf("probes of a profile: %+v, %v", got, err) // it is the host that is judged
	}
	if got, err := home.Journal(ctx, nil); err != nil || len(got) != 1 || got[0].Unit != "web.service" {
		t.Errorf("what units said, for a profile: %+v, %v", got, err)
	}
	if got, err := a.Probe(ctx, nil, nil); err != nil || len(got) != 1 || got[0].Name != "web" {
		t.Errorf("probe: %v, %v", got, err)
	}
	line := ""
	if got, err := a.Watch(ctx, protocol.WatchRequest{}, func(e protocol.WatchEvent) { line = e.Line }); err != nil || got.ID != protocol.MethodWatch || line != "activating" {
		t.Errorf("watch: %v, %q, %v", got, line, err)
	}
	for method, call := range map[string]func() (*protocol.Status, error){
		protocol.MethodStart: func() (*protocol.Status, error) { return a.Begin(ctx, protocol.StartRequest{}) },
		protocol.MethodAbort: func() (*protocol.Status, error) { return a.Abort(ctx, protocol.DecideRequest{}) },
	} {
		if got, err := call(); err != nil || got.ID != method {
			t.Errorf("%s: %v, %v", method, got, err)
		}
	}
	a.Close()
	if _, err := a.Log(ctx, "abcd1234", 3); err == nil {
		t.Error("a call after the end")
	}
}

// What a host says of its Nix is given to the Nix here.
func TestAHostCannotSetWhatNixLoadsHere(t *testing.T) {
	a, _, err := newHost(t, "serves", remotetest.Options{}).start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	settings, err := a.NixSettings(within(t))
	want := map[string]string{"cores": "4", "substituters": "https://cache.example.org", "builders": ""}
	if err != nil || !maps.Equal(settings, want) {
		t.Errorf("got %q, %v", settings, err)
	}
}

func TestStartReplacesAnAlteredAgent(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{})
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.agentFile()), 0o700), os.WriteFile(h.agentFile(), []byte("#!/bin/sh\nexit 0\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	a, _, err := h.start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if now, err := os.ReadFile(h.agentFile()); err != nil || string(now) != string(h.goodAgent()) {
		t.Errorf("it is %q, %v", now, err)
	}
}

// What is said over an agent that was started about a profile is about that profile: an
// interruption must not look for its transaction among the system's.
func TestAnAgentIsAboutWhatItWasStartedFor(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{})
	conn, err := remote.Dial(within(t), h.target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for profile, want := range map[*Profile]string{nil: protocol.MethodAbort, {Program: transaction.Program{Profile: "home"}}: protocol.MethodProfile} {
		var facts protocol.Facts
		a, err := Start(within(t), conn, "", AskFacts(protocol.FactsRequest{}, &facts).About(profile))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := a.Abort(within(t), protocol.DecideRequest{ID: "abcd1234"}); err != nil || s.ID != want {
			t.Errorf("%+v: %+v, %v", profile, s, err)
		}
		a.Close()
	}
}

func TestStartThatFails(t *testing.T) {
	for _, c := range []struct {
		name, behaviour string
		options         remotetest.Options
		change          func(*host)
		kind            Kind
		said            string
	}{
		{name: "it dies", behaviour: "dies", kind: Silent, said: "exit code 3): [31msegmentation fault"},
		{name: "another version", behaviour: "newer", kind: Versions, said: "protocol 99"},
		{name: "another processor", change: func(h *host) { h.program("uname", `[ "$1" = -s ] && echo Linux || echo armv7l`) }, kind: Platform, said: "Linux armv7l"},
		{name: "may not become root", change: func(h *host) {
			h.program("asks", "echo 'sudo: a password is required' >&2; exit 1")
			h.target.Elevation = []string{filepath.Join(h.bin, "asks")}
		}, kind: Elevation, said: "sudo: a password is required"},
		{name: "damaged on the way", change: func(h *host) { h.program("cat", "echo damaged") }, kind: Upload, said: "damaged"},
		{name: "a forced command", change: func(h *host) {
			h.program("login-shell", "echo this account runs backups only; exit 3")
		}, kind: Disobeyed, said: "backups only"},
		{name: "full disk", change: func(h *host) {
			h.program("mktemp", "echo 'mktemp: failed to create file: No space left on device' >&2; exit 1")
		}, kind: Upload, said: "disk is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			behaviour := c.behaviour
			if behaviour == "" {
				behaviour = "serves"
			}
			h := newHost(t, behaviour, c.options)
			if c.change != nil {
				c.change(&h)
			}
			a, _, err := h.start(within(t))
			var failed *Error
			if a != nil || !errors.As(err, &failed) || failed.Kind != c.kind || !strings.Contains(err.Error(), c.said) {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
				t.Errorf("the upload was left behind: %v, %v", left, err)
			}
		})
	}
}

func TestTheAgentsOwnFailurePassesThrough(t *testing.T) {
	h := newHost(t, "refuses", remotetest.Options{})
	a, _, err := h.start(within(t))
	var own *protocol.Error
	if !errors.As(err, &own) || own.Code != protocol.CodeRefused {
		t.Fatalf("got %v", err)
	}
	// It answered, so it can be asked further.
	defer a.Close()
	if got, err := a.Log(within(t), "abcd1234", 3); err != nil || len(got) != 1 {
		t.Errorf("log: %v, %v", got, err)
	}
}

func TestAConfirmationCanBeTheFirstWord(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{})
	conn, err := remote.Dial(within(t), h.target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var end protocol.Status
	line := ""
	a, err := Start(within(t), conn, "", SayConfirm(protocol.DecideRequest{ID: "abcd1234"}, patience, &end, func(e protocol.WatchEvent) { line = e.Line }))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if end.ID != protocol.MethodConfirm || line != "activating" {
		t.Errorf("got %+v, heard %q", end, line)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	h := newHost(t, "hangs", remotetest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	began := time.Now()
	if _, _, err := h.start(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > patience {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestAChatteringAgentIsListenedToOnlySoFar(t *testing.T) {
	h := newHost(t, "chatters", remotetest.Options{})
	a, _, err := h.start(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := len(a.stderr.String()); got > captureLimit {
		t.Errorf("kept %d bytes", got)
	}
}

func TestCapture(t *testing.T) {
	var c Capture
	for _, text := range []string{"one\n", "\x1b[31mtwo\x07\u009b\xff\n", strings.Repeat("x", 2*captureLimit)} {
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
	got := c.String()
	if !strings.HasPrefix(got, "one\n[31mtwo\nxxx") || len(got) > captureLimit {
		t.Errorf("kept %d bytes: %.30q", len(got), got)
	}
	for text, want := range map[string]string{"": "", "a": "a", "a\nb\n\n": "b", "\n a \n": "a"} {
		if got := lastLine(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// What programs of hosts were seen to print.
func TestExplain(t *testing.T) {
	const dirty = "/var/lib/hdeploy/agent/hdeploy-agent-0a1b"
	for _, c := range []struct {
		code int
		said string
		kind Kind
	}{
		{1, "sudo: a password is required", Elevation},
		{1, "sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required", Elevation},
		{1, "ann is not in the sudoers file.\nThis incident has been reported to the administrator.", Elevation},
		{1, "Sorry, user ann is not allowed to execute '/bin/sh -c PATH=...' as root on web1.", Elevation},
		{127, "sh: line 1: sudo: command not found", Elevation},
		{1, "doas: Operation not permitted", Elevation},
		{1, "doas: Authentication required", Elevation},
		{1, "mkdir: cannot create directory ‘/var/lib/hdeploy’: Permission denied", Elevation},
		{1, "mkdir: cannot create directory ‘/var/lib/hdeploy/agent’: Permission denied", Elevation},
		{1, "mktemp: failed to create file via template ‘/var/lib/hdeploy/agent/.upload-XXXXXXXX’: Permission denied", Elevation},
		{1, "chmod: changing permissions of '/var/lib/hdeploy': Operation not permitted", Elevation},
		{126, "/bin/sh: 4: exec: " + dirty + ": Permission denied", NotExecutable},
		{126, "/bin/sh: line 4: " + dirty + ": Permission denied\n/bin/sh: line 4: exec: " + dirty + ": cannot execute: Permission denied", NotExecutable},
		{126, "/bin/sh: line 4: " + dirty + ": cannot execute binary file: Exec format error", NotExecutable},
		{1, "cat: write error: No space left on device", Upload},
		{1, "mktemp: failed to create file via template ‘/var/lib/hdeploy/agent/.upload-XXXXXXXX’: No space left on device", Upload},
		{1, "mkdir: cannot create directory ‘/var/lib/hdeploy’: No space left on device", Upload},
		{exitAltered, "", Upload},
		{exitPlatform, "Darwin arm64", Platform},
		{exitAbsent, "x86_64", Silent},
		{1, "mkdir: cannot create directory ‘/var/lib/hdeploy’: Read-only file system", Silent},
		{0, "", Silent},
		{2, "panic: runtime error", Silent},
	} {
		err := explain(&exitError{code: c.code, said: c.said})
		var got *Error
		if !errors.As(err, &got) || got.Kind != c.kind {
			t.Errorf("%d %q: got %v of kind %q, want %s", c.code, c.said, err, kindOf(got), c.kind)
			continue
		}
		if c.said != "" && c.kind != Upload && !strings.Contains(err.Error(), lastLine(c.said)) {
			t.Errorf("%d %q: what was said is lost: %v", c.code, c.said, err)
		}
	}
	if explain(nil) != nil {
		t.Error("no failure was explained")
	}
	if err := explain(io.EOF); err != io.EOF { //nolint:errorlint // it itself, not wrapped
		t.Errorf("got %v", err)
	}
}

func kindOf(e *Error) Kind {
	if e == nil {
		return ""
	}
	return e.Kind
}
