package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// proxy is a running ProxyCommand: its standard streams are the connection, and it
// ends with it, together with every process of its session.
type proxy struct {
	in, out *os.File
	stderr  *lastWords
	pid     int
	once    sync.Once
	ended   chan struct{}
	err     error // how it ended, once ended is closed
}

var _ net.Conn = (*proxy)(nil)

// proxyGrace is how long a ProxyCommand may take to end by itself.
const proxyGrace = time.Second

// startProxy starts a line in the user's shell, as OpenSSH does. It has no terminal:
// where it wants to ask something there it fails at once, instead of waiting for an
// answer that the run's display would hide.
func startProxy(ctx context.Context, line string) (*proxy, error) {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer stdout.Close()
	p := &proxy{in: in, out: out, stderr: &lastWords{}, ended: make(chan struct{})}
	// The dial's end is not the proxy's: it lives as long as the connection.
	command := exec.CommandContext(context.WithoutCancel(ctx), shell, "-c", "exec "+line)
	command.Stdin, command.Stdout, command.Stderr = stdin, stdout, p.stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.WaitDelay = proxyGrace
	if err := command.Start(); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	p.pid = command.Process.Pid
	go p.await(command)
	return p, nil
}

// await kills what the proxy has left before its process id may belong to somebody
// else, which it cannot before it is waited for.
func (p *proxy) await(command *exec.Cmd) {
	defer close(p.ended)
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.err = command.Wait()
}

func (p *proxy) Read(buffer []byte) (int, error)    { return p.out.Read(buffer) }
func (p *proxy) Write(data []byte) (int, error)     { return p.in.Write(data) }
func (p *proxy) LocalAddr() net.Addr                { return streamAddr("local") }
func (p *proxy) RemoteAddr() net.Addr               { return streamAddr("ProxyCommand") }
func (p *proxy) SetReadDeadline(t time.Time) error  { return p.out.SetReadDeadline(t) }
func (p *proxy) SetWriteDeadline(t time.Time) error { return p.in.SetWriteDeadline(t) }

func (p *proxy) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// Close ends the program: first its streams, then by the signal that OpenSSH sends,
// then by force. It waits until the program is gone.
func (p *proxy) Close() error {
	p.once.Do(func() {
		p.in.Close()
		p.out.Close()
		p.signal(syscall.SIGHUP)
	})
	select {
	case <-p.ended:
	case <-time.After(proxyGrace):
		p.signal(syscall.SIGKILL)
		<-p.ended
	}
	return nil
}

func (p *proxy) signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.pid, s)
	}
}

// ending tells how the program ended, once it has closed its end of the connection.
func (p *proxy) ending() string {
	select {
	case <-p.ended:
	case <-time.After(proxyGrace):
		p.Close()
	}
	how := "it closed the connection"
	if exit := new(exec.ExitError); errors.As(p.err, &exit) && exit.Exited() {
		how = fmt.Sprintf("it ended with code %d", exit.ExitCode())
	}
	return how + p.said(": ")
}

// said returns the last lines of the program's standard error after a lead, or
// nothing where there are none.
func (p *proxy) said(lead string) string {
	if words := p.stderr.String(); words != "" {
		return lead + words
	}
	return ""
}

// lastWords keeps the end of what is written to it.
type lastWords struct {
	mu   sync.Mutex
	kept []byte
}

var _ io.Writer = (*lastWords)(nil)

func (w *lastWords) Write(data []byte) (int, error) {
	const most = 4 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, data...)
	if len(w.kept) > most {
		w.kept = append([]byte(nil), w.kept[len(w.kept)-most:]...)
	}
	return len(data), nil
}

// String is the last lines in one, fit for a terminal.
func (w *lastWords) String() string {
	const lines = 3
	w.mu.Lock()
	defer w.mu.Unlock()
	said := strings.FieldsFunc(string(w.kept), func(r rune) bool { return r == '\n' || r == '\r' })
	return printable(strings.Join(said[max(0, len(said)-lines):], "; "))
}
