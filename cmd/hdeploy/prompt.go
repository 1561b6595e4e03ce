package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
)

// prompter asks a person for secrets, one question at a time: on the terminal of
// the process, which redirected streams do not hide, or through an askpass program.
type prompter struct {
	s streams
	// alone runs a question while nobody else writes to the terminal.
	alone func(func())
	turn  chan struct{}
}

func newPrompter(s streams, alone func(func())) *prompter {
	return &prompter{s: s, alone: alone, turn: make(chan struct{}, 1)}
}

// secrets are what one run may ask for. alone is nil where nothing is displayed
// meanwhile.
func secrets(s streams, alone func(func())) *deploy.Secrets {
	if alone == nil {
		alone = func(question func()) { question() }
	}
	p := newPrompter(s, alone)
	password := p.with("SUDO_ASKPASS", "SSH_ASKPASS")
	if _, err := p.by([]string{"SSH_ASKPASS"}); err != nil {
		// A key that nobody can open is not offered: another one may be accepted.
		return deploy.NewSecrets(nil, password)
	}
	return deploy.NewSecrets(p.with("SSH_ASKPASS"), password)
}

// with returns the question for the kind of secret that the variables name askpass
// programs for.
func (p *prompter) with(programs ...string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, question string) (string, error) {
		select {
		case p.turn <- struct{}{}:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		defer func() { <-p.turn }()
		return p.ask(ctx, question, programs)
	}
}

// errNobody is why a question is not asked.
var errNobody = errors.New("there is no terminal, and no askpass program, to ask on")

// by tells how a question would be asked: by a program, or, where that is empty, on
// the terminal. Its error says why nobody can be asked.
func (p *prompter) by(programs []string) (program string, err error) {
	if inCI(p.s) {
		return "", errors.New("nobody is asked in CI")
	}
	program, when := p.program(programs), p.s.env("SSH_ASKPASS_REQUIRE")
	if program != "" && (when == "force" || when == "prefer") {
		return program, nil
	}
	if !automatic(p.s) {
		if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
			return "", tty.Close()
		}
	}
	if program != "" && when != "never" && (p.s.env("DISPLAY") != "" || p.s.env("WAYLAND_DISPLAY") != "") {
		return program, nil
	}
	return "", errNobody
}

func (p *prompter) ask(ctx context.Context, question string, programs []string) (answer string, err error) {
	program, err := p.by(programs)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("nobody answered within %s", askLimit))
	defer cancel()
	p.alone(func() {
		if program != "" {
			answer, err = askProgram(ctx, program, question)
			return
		}
		var tty *os.File
		if tty, err = os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
			defer tty.Close()
			answer, err = askTerminal(ctx, tty, question)
		}
	})
	return answer, err
}

func (p *prompter) program(names []string) string {
	for _, name := range names {
		if program := p.s.env(name); program != "" {
			return program
		}
	}
	return ""
}

// askLimit is how long a person may think.
const askLimit = 5 * time.Minute

// askTerminal reads a line that is not echoed, until ctx ends.
func askTerminal(ctx context.Context, tty *os.File, question string) (answer string, err error) {
	restore, err := hideInput(tty)
	if err != nil {
		return "", errNobody
	}
	defer func() { err = errors.Join(err, restore()) }()
	fmt.Fprintf(tty, "\r%s ", display.Clean(question))
	defer fmt.Fprintln(tty)
	defer context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(io.LimitReader(tty, longestAnswer)).ReadString('\n')
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", context.Cause(ctx)
	case ctx.Err() != nil:
		return "", errors.New("interrupted at the question")
	case err != nil:
		return "", errors.New("no answer was given")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// longestAnswer is more than a terminal takes in one line.
const longestAnswer = 64 << 10

// hideInput stops the echo of a terminal until restore is called. It goes through the
// file's own handle: one that is taken out of it could not be read with a deadline.
func hideInput(tty *os.File) (restore func() error, err error) {
	handle, err := tty.SyscallConn()
	if err != nil {
		return nil, err
	}
	control := func(call func(fd int) error) error {
		var called error
		err := handle.Control(func(fd uintptr) { called = call(int(fd)) })
		return errors.Join(err, called)
	}
	var before *unix.Termios
	if err := control(func(fd int) (err error) { before, err = unix.IoctlGetTermios(fd, unix.TCGETS); return err }); err != nil {
		return nil, err
	}
	set := func(state *unix.Termios) error {
		return control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, state) })
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	return func() error { return set(before) }, set(&hidden)
}

// askProgram asks as ssh and sudo do: the question is the argument, the answer the
// first line of the output, and a code other than zero a no.
func askProgram(ctx context.Context, program, question string) (string, error) {
	command := exec.CommandContext(ctx, program, display.Clean(question))
	command.WaitDelay = time.Second
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("ask through %s: %v", display.Clean(program), err)
	}
	answer, _, _ := bytes.Cut(out, []byte("\n"))
	return strings.TrimRight(string(answer), "\r"), nil
}
