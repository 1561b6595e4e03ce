package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
)

// openTerminal returns both ends of a new terminal: the person's and the program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	// Not tty.Fd(), after which it could not be read with a deadline any more.
	handle, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var state *unix.Termios
	if controlErr := handle.Control(func(fd uintptr) { state, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return state.Lflag&unix.ECHO != 0
}

// awaitSilence waits until the terminal does not echo any more.
func awaitSilence(t *testing.T, tty *os.File) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); echoes(t, tty); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the terminal still echoes")
		}
	}
}

func TestSecretIsReadFromTheTerminalWithoutEcho(t *testing.T) {
	person, program := openTerminal(t)
	answer := make(chan string, 1)
	go func() {
		text, err := askTerminal(t.Context(), program, "Passphrase for \x1b[2Jkey:")
		answer <- fmt.Sprint(text, err)
	}()
	shown := bufio.NewReader(person)
	asked, err := shown.ReadString(':')
	if err != nil || strings.Contains(asked, "\x1b") {
		t.Fatalf("asked %q, %v", asked, err)
	}
	awaitSilence(t, program)
	fmt.Fprint(person, "open sesame\n")
	if got := <-answer; got != "open sesame<nil>" {
		t.Errorf("got %q", got)
	}
	if !echoes(t, program) {
		t.Error("the terminal stays without an echo")
	}
	rest, err := shown.ReadString('\n')
	if err != nil || strings.Contains(rest, "sesame") {
		t.Errorf("the secret was shown: %q, %v", rest, err)
	}
}

func TestInterruptAtTheQuestionRestoresTheTerminal(t *testing.T) {
	_, program := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := askTerminal(ctx, program, "Password:")
		ended <- err
	}()
	awaitSilence(t, program)
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
	if !echoes(t, program) {
		t.Error("the terminal stays without an echo")
	}
}

func TestAskpassProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$1\" = \"Which one?\" ] || exit 1\nprintf 'the secret\\nand more\\n'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		env        map[string]string
	}{
		{"on a desktop", "the secret", map[string]string{"SSH_ASKPASS": program, "DISPLAY": ":0"}},
		{"where it is forced", "the secret", map[string]string{"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force"}},
		{"the first one wins", "the secret", map[string]string{"SUDO_ASKPASS": program, "SSH_ASKPASS": "/nonexistent", "DISPLAY": ":0"}},
		{"without a desktop", "no terminal", map[string]string{"SSH_ASKPASS": program}},
		{"never", "no terminal", map[string]string{"SSH_ASKPASS": program, "DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "never"}},
		{"in CI", "nobody is asked in CI", map[string]string{"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force", "CI": "true"}},
		{"that says no", "exit status 1", map[string]string{"SSH_ASKPASS": "/bin/false", "DISPLAY": ":0"}},
		{"none", "no terminal", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, _ := testStreams(t)
			s.Env = func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
			got, err := newPrompter(s, func(question func()) { question() }).with("SUDO_ASKPASS", "SSH_ASKPASS")(t.Context(), "Which one?")
			if said := fmt.Sprint(got, err); !strings.Contains(said, c.want) {
				t.Errorf("got %q, want %q", said, c.want)
			}
		})
	}
}

// What happens during a question is told after it.
func TestQuestionIsAlone(t *testing.T) {
	s, _, errOut := testStreams(t)
	g := &stage{log: func(event.Event) {}, display: func() (display.Display, error) {
		return display.New(display.Plain, display.Settings{Out: &bytes.Buffer{}, ErrOut: s.ErrOut, Hosts: []string{"web1"}})
	}}
	if err := g.open(); err != nil {
		t.Fatal(err)
	}
	note := func(text string) {
		g.event(event.Event{Type: "note", Host: "web1", Note: &event.Note{Level: "warning", Text: text}})
	}
	g.alone(func() {
		note("meanwhile")
		if errOut.Len() > 0 {
			t.Errorf("told during the question: %q", errOut)
		}
	})
	note("afterwards")
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	if text := errOut.String(); strings.Count(text, "meanwhile") != 1 || strings.Index(text, "meanwhile") > strings.Index(text, "afterwards") {
		t.Errorf("told:\n%s", text)
	}
}

// A protected key is only offered where somebody can open it.
func TestSecretsOfARunThatNobodyWatches(t *testing.T) {
	s, _, _ := testStreams(t)
	if secrets(s, nil).Keys != nil {
		t.Error("keys would be asked for")
	}
	env := map[string]string{"SSH_ASKPASS": "/bin/true", "DISPLAY": ":0"}
	s.Env = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	if secrets(s, nil).Keys == nil {
		t.Error("an askpass program is not asked")
	}
}
