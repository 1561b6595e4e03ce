package main

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A library of the live display asks the terminal for its background before main,
// unless it is kept from that.
func TestNothingIsAskedOfTheTerminal(t *testing.T) {
	program, err := exec.LookPath("hdeploy")
	if err != nil {
		t.Fatal(err)
	}
	person, terminal := openTerminal(t)
	command := exec.Command(program, "version")
	command.Env = []string{"TERM=xterm-256color"}
	command.Stdin, command.Stdout, command.Stderr = terminal, terminal, terminal
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	if err := person.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := person.Read(buffer)
	said := string(buffer[:n])
	if err != nil || !strings.HasPrefix(said, "hdeploy") || strings.Contains(said, "\x1b") {
		t.Errorf("it wrote %q, %v", said, err)
	}
}
