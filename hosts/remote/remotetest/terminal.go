package remotetest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// openTerminal opens a new pseudo terminal: the side of the server, and that of the
// command, which echoes nothing and changes no line ends.
func openTerminal() (server, command *os.File, err error) {
	server, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(server.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	modes, err := unix.IoctlGetTermios(int(command.Fd()), unix.TCGETS)
	if err == nil {
		modes.Lflag &^= unix.ECHO
		modes.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(command.Fd()), unix.TCSETS, modes)
	}
	if err != nil {
		return nil, nil, errors.Join(err, server.Close(), command.Close())
	}
	return server, command, nil
}

// runOnTerminal runs a command line on a terminal of its own, as sshd does, and hangs
// up when the client is gone.
func (s *Server) runOnTerminal(stream ssh.Channel, requests <-chan *ssh.Request, line string) {
	server, tty, err := openTerminal()
	if err != nil {
		exitStatus(stream, 255)
		return
	}
	command := exec.Command(s.options.Shell, "-c", line)
	command.Stdin, command.Stdout, command.Stderr = tty, tty, tty
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = command.Start()
	tty.Close()
	if err != nil {
		server.Close()
		exitStatus(stream, 127)
		return
	}
	go func() {
		_, _ = io.Copy(server, stream)
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(stream, server) // ends with an error when the last process has left
	}()
	ended := make(chan struct{})
	go func() {
		for range requests {
			killGroup(command, ended)
		}
		killGroup(command, ended)
	}()
	command.Wait()
	<-read
	close(ended)
	server.Close()
	exitStatus(stream, uint32(command.ProcessState.ExitCode()))
}
