package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialLocal is the connection to this machine itself: commands are children of this
// process, and sockets are dialled directly. Nothing is proven by it.
func dialLocal(t Target) *Conn {
	ctx, end := context.WithCancel(context.Background())
	return &Conn{target: t, local: ctx, endLocal: end, done: make(chan struct{})}
}

// closeLocal ends every command, and returns when they are gone, or were asked long
// enough.
func (c *Conn) closeLocal() {
	c.mu.Lock()
	first := c.cause == nil
	c.cause = net.ErrClosed
	c.mu.Unlock()
	c.endLocal()
	gone := make(chan struct{})
	go func() { c.owned.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(2 * leaveGrace): // root's, and deaf
	}
	if first {
		close(c.done)
	}
}

// localPath is where programs are looked for, as after a login: this process may have
// been started with less.
const localPath = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin"

// kept are the variables that a login would set too, and what elevation needs to ask.
var kept = []string{"HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "SUDO_ASKPASS", "SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY"}

// shielded starts a command that an interruption from the terminal does not reach:
// what runs on the host is told to go back, and is not to die before it heard that.
const shielded = `trap "" INT QUIT HUP TSTP; exec "$@"`

// leaveGrace is how long a command may take to end whose standard input is closed.
const leaveGrace = 2 * time.Second

// startLocal is Start on this machine.
func (c *Conn) startLocal(ctx context.Context, argv []string, stderr io.Writer) (*Process, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("start command: it is empty")
	}
	program, err := lookLocal(argv[0])
	if err != nil {
		return nil, c.target.fail(CommandRefused, "see that it is installed and may be executed", "start %s: %v", printable(argv[0]), err)
	}
	command := exec.Command("/bin/sh", append([]string{"-c", shielded, "sh", program}, argv[1:]...)...) //nolint:noctx // it ends with its input, then by Kill
	command.Dir = "/"
	command.Env = localEnvironment()
	ends, err := newPipes()
	if err != nil {
		return nil, c.target.fail(CommandRefused, "", "start %s: %v", printable(argv[0]), err)
	}
	command.Stdin, command.Stdout, command.Stderr = ends.stdin, ends.stdout, ends.stderr
	err = command.Start()
	ends.close()
	if err != nil {
		ends.here.Close()
		ends.errors.Close()
		return nil, c.target.fail(CommandRefused, "", "start %s: %v", printable(argv[0]), err)
	}
	p := &Process{
		Stream: &Stream{channel: ends.here, conn: c, name: argv[0]}, ctx: ctx, finished: make(chan struct{}), stderr: &gate{to: stderr},
	}
	p.kill = func() { p.endLocal(command.Process) }
	stopped := context.AfterFunc(ctx, p.Kill)
	closed := context.AfterFunc(c.local, p.Kill)
	p.release = func() bool { return stopped() && closed() }
	c.owned.Add(1)
	go func() {
		defer c.owned.Done()
		p.runLocal(command, ends.errors)
	}()
	return p, nil
}

// endLocal closes the streams of a command, which ends an agent, and kills what does
// not end by that.
func (p *Process) endLocal(process *os.Process) {
	p.channel.Close()
	select {
	case <-p.finished:
	case <-time.After(leaveGrace):
		_ = process.Kill() // what runs as root may not be killed, and has lost its input
	}
}

// runLocal waits for the end of a command.
func (p *Process) runLocal(command *exec.Cmd, stderr *os.File) {
	defer close(p.finished)
	defer p.release()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(p.stderr, stderr)
	}()
	_ = command.Wait()
	// A child that it left behind may hold its standard error open.
	closing := time.AfterFunc(leaveGrace, func() { stderr.Close() })
	<-copied
	closing.Stop()
	stderr.Close()
	p.exit, p.exited = exitOf(command.ProcessState), true
	if d, ok := p.stderr.to.(*dialogue); ok {
		d.over()
	}
}

func exitOf(state *os.ProcessState) Exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return Exit{Code: state.ExitCode()}
	}
	return Exit{Code: 128 + int(status.Signal()), Signal: strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")}
}

// pipes are the standard streams of a command: its own ends, and those here.
type pipes struct {
	stdin, stdout, stderr *os.File
	here                  *pipePair
	errors                *os.File
}

func newPipes() (*pipes, error) {
	var files [6]*os.File
	for i := 0; i < len(files); i += 2 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range files[:i] {
				f.Close()
			}
			return nil, fmt.Errorf("make a pipe: %v", err)
		}
		files[i], files[i+1] = r, w
	}
	return &pipes{stdin: files[0], stdout: files[3], stderr: files[5], here: &pipePair{in: files[2], out: files[1]}, errors: files[4]}, nil
}

// close closes the command's own ends, which it has by now.
func (p *pipes) close() {
	p.stdin.Close()
	p.stdout.Close()
	p.stderr.Close()
}

// pipePair is a stream over two pipes.
type pipePair struct{ in, out *os.File }

func (p *pipePair) Read(buffer []byte) (int, error) {
	n, err := p.in.Read(buffer)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (p *pipePair) Write(data []byte) (int, error) {
	n, err := p.out.Write(data)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		err = io.EOF // the command closed it
	}
	return n, err
}

func (p *pipePair) CloseWrite() error { return ignoreClosed(p.out.Close()) }

func (p *pipePair) Close() error {
	return errors.Join(ignoreClosed(p.out.Close()), ignoreClosed(p.in.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func localEnvironment() []string {
	environment := []string{"PATH=" + localPath}
	for _, name := range kept {
		if value, ok := os.LookupEnv(name); ok {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// lookLocal finds a program as a login would.
func lookLocal(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(localPath) {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return exec.LookPath(name)
}

// dialLocalUnix is DialUnix on this machine.
func (c *Conn) dialLocalUnix(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, c.canceled(ctx)
	}
	return nil, &Error{
		Host: c.target.Host, Kind: ForwardingOff,
		Cause: fmt.Errorf("connect to %s: %w: %s", printable(path), ErrForwardingOff, networkCause(err)),
		Hint:  "see that something listens there:\n    systemctl status nix-daemon.socket",
	}
}
