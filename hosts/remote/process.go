package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Process is a command that runs on the host. Its Stream is the command's
// standard input (Write, CloseWrite) and standard output (Read).
type Process struct {
	*Stream
	ctx      context.Context
	finished chan struct{}
	stderr   *gate
	release  func() bool
	kill     func()
	// tty is the process on a terminal whose streams these are, and whose end counts;
	// read is closed when all that it printed there was read.
	tty  *Process
	read chan struct{}

	// Written before finished is closed, read after.
	exit    Exit
	exited  bool
	refused bool
}

// Exit is how a command ended.
type Exit struct {
	// Code is its exit code; a command killed by a signal has 128 plus the
	// signal's number, as in a shell, or 255 for a signal without one.
	Code int
	// Signal is the name of that signal without SIG, or empty.
	Signal string
}

// Start starts argv on the host, without waiting for the host's word that it
// did: input may be written at once, and a refusal shows in Wait. stderr
// receives the standard error, or nobody if it is nil; it is not written to
// after Wait returned. The caller reads standard output until its end, then
// calls Wait.
//
// When ctx ends the stream is closed and the host asked to kill the command.
// OpenSSH ignores that wish for the account root: a command that must not
// outlive its connection watches its standard input.
func (c *Conn) Start(ctx context.Context, argv []string, stderr io.Writer) (*Process, error) {
	return c.start(ctx, argv, stderr, false)
}

func (c *Conn) start(ctx context.Context, argv []string, stderr io.Writer, terminal bool) (*Process, error) {
	if stderr == nil {
		stderr = io.Discard
	}
	if c.local != nil {
		return c.startLocal(ctx, argv, stderr)
	}
	line, err := Quote(argv)
	if err != nil {
		return nil, err
	}
	channel, requests, err := c.openSession(ctx)
	if err != nil {
		return nil, err
	}
	ordered := &ordered{Channel: channel, asked: make(chan struct{}), answered: make(chan struct{})}
	p := &Process{
		Stream:   &Stream{channel: ordered, conn: c, name: argv[0]},
		ctx:      ctx,
		finished: make(chan struct{}),
		stderr:   &gate{to: stderr},
	}
	p.kill = func() {
		_, _ = channel.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"}))
		channel.Close()
	}
	p.release = context.AfterFunc(ctx, p.Kill)
	go p.run(line, terminal, ordered, requests)
	return p, nil
}

// ordered is a channel whose input follows the request that starts the command: sshd
// drops what comes before, and forgets an end of input, for which the command then
// waits for ever.
type ordered struct {
	ssh.Channel
	// asked is closed when the request goes out, answered when the host's word came.
	asked, answered chan struct{}
	once            sync.Once
}

// goingOut is far longer than the library takes from the call to the wire.
const goingOut = time.Millisecond

// Write does not wait for the host's word, which would be a round trip.
func (o *ordered) Write(data []byte) (int, error) {
	o.once.Do(func() {
		select {
		case <-o.asked:
		case <-o.answered:
			return
		}
		select {
		case <-o.answered:
		case <-time.After(goingOut):
		}
	})
	return o.Channel.Write(data)
}

// CloseWrite is in no hurry.
func (o *ordered) CloseWrite() error {
	<-o.answered
	return o.Channel.CloseWrite()
}

func (c *Conn) openSession(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	channel, requests, err := c.openChannel(ctx, "session", nil)
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		err = c.target.fail(CommandRefused, "see MaxSessions and the account's restrictions on the host:\n    sshd -T | grep -i maxsessions",
			"open a session: %s", printable(refused.Message))
	}
	return channel, requests, err
}

// run owns the goroutines of a process, until its channel is closed.
func (p *Process) run(line string, terminal bool, channel *ordered, requests <-chan *ssh.Request) {
	defer close(p.finished)
	defer p.release()
	var owned sync.WaitGroup
	owned.Go(func() {
		_, _ = io.Copy(p.stderr, channel.Stderr()) // a lost connection is told by Wait
	})
	refused := false
	owned.Go(func() {
		defer close(channel.answered)
		if terminal && requestTerminal(channel) != nil {
			refused = true
			channel.Close()
			return
		}
		close(channel.asked)
		ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Line string }{line}))
		if err == nil && !ok {
			refused = true
			channel.Close()
		}
	})
	for request := range requests {
		p.note(request)
	}
	owned.Wait()
	p.refused = refused
	if d, ok := p.stderr.to.(*dialogue); ok {
		d.over()
	}
}

// note keeps what the host says about the end of the command.
func (p *Process) note(request *ssh.Request) {
	switch request.Type {
	case "exit-status":
		var status struct{ Code uint32 }
		if ssh.Unmarshal(request.Payload, &status) == nil {
			p.exit, p.exited = Exit{Code: int(status.Code)}, true
		}
	case "exit-signal":
		var signal struct {
			Name     string
			Dumped   bool
			Message  string
			Language string
		}
		if ssh.Unmarshal(request.Payload, &signal) == nil {
			p.exit, p.exited = Exit{Code: signalCode(signal.Name), Signal: printable(signal.Name)}, true
		}
	}
	if request.WantReply {
		_ = request.Reply(false, nil)
	}
}

func signalCode(name string) int {
	numbers := map[string]int{
		"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9,
		"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	}
	if number, ok := numbers[name]; ok {
		return 128 + number
	}
	return 255
}

// Kill asks the host to kill the command and closes its stream, as the end of
// the context does; Wait then tells how it ended, if the host still says so.
func (p *Process) Kill() {
	if p.tty != nil {
		p.tty.Kill()
	}
	p.kill()
}

// Wait waits until the command ended, its context ended, or the connection
// was lost. The error is nil if the command ran, whatever its exit code.
func (p *Process) Wait() (Exit, error) {
	if p.tty != nil {
		return p.waitForTerminal()
	}
	defer p.stderr.shut()
	select {
	case <-p.finished:
	case <-p.ctx.Done():
		return Exit{}, p.conn.canceled(p.ctx)
	}
	switch {
	case p.exited && (p.ctx.Err() == nil || p.exit.Signal != "KILL"):
		return p.exit, nil
	case p.ctx.Err() != nil: // that kills
		return Exit{}, p.conn.canceled(p.ctx)
	case p.refused:
		return Exit{}, p.conn.target.fail(CommandRefused, "see why with\n    "+p.conn.target.sshCommand()+" true", "start %s: the host refuses to run commands", printable(p.name))
	}
	if lost := p.conn.lostError(); lost != nil {
		return Exit{}, lost
	}
	return Exit{}, p.conn.lost("run %s: it ended without an exit code", printable(p.name))
}

// Result is what a finished command left.
type Result struct {
	Exit
	Stdout, Stderr []byte
	// Truncated says that the command wrote more than is kept.
	Truncated bool
}

// The most output of one command that Run keeps; the rest is read and dropped.
const (
	mostStdout = 8 << 20
	mostStderr = 256 << 10
)

// Run runs argv to its end and returns its output. stdin may be nil; it must
// end by itself. The error is nil if the command ran, whatever its exit code.
func (c *Conn) Run(ctx context.Context, argv []string, stdin io.Reader) (Result, error) {
	stderr := &capped{most: mostStderr}
	p, err := c.Start(ctx, argv, stderr)
	if err != nil {
		return Result{}, err
	}
	return p.finish(ctx, stdin, stderr)
}

// finish feeds a process and reads it to its end; stderr is where its standard error
// goes.
func (p *Process) finish(ctx context.Context, stdin io.Reader, stderr *capped) (Result, error) {
	stdout := &capped{most: mostStdout}
	out := &gate{to: stdout}
	defer out.shut()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		var feeding sync.WaitGroup
		feeding.Go(func() { p.feed(stdin) })
		_, _ = io.Copy(out, p) // a lost connection is told by Wait
		feeding.Wait()
	}()
	select {
	case <-copied:
	case <-ctx.Done():
	}
	exit, err := p.Wait()
	if err != nil {
		return Result{}, err
	}
	out.shut()
	return Result{
		Exit: exit, Stdout: stdout.kept.Bytes(), Stderr: stderr.kept.Bytes(),
		Truncated: stdout.cut || stderr.cut,
	}, nil
}

// feed copies stdin to the command. A command that does not read all of it is
// no failure.
func (p *Process) feed(stdin io.Reader) {
	if stdin != nil {
		_, _ = io.Copy(onlyWriter{p}, stdin)
	}
	_ = p.CloseWrite()
}

// onlyWriter hides everything but Write.
type onlyWriter struct{ io.Writer }

// gate passes writes on until it is shut, so that a goroutine that is still
// waiting for a stalled host cannot write into what its caller took back.
type gate struct {
	mu   sync.Mutex
	to   io.Writer
	done bool
}

func (g *gate) Write(data []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done {
		return len(data), nil
	}
	return g.to.Write(data)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
}

// capped keeps the first bytes written to it and swallows the rest.
type capped struct {
	kept bytes.Buffer
	most int
	cut  bool
}

func (c *capped) Write(data []byte) (int, error) {
	keep := min(len(data), c.most-c.kept.Len())
	c.kept.Write(data[:keep])
	c.cut = c.cut || keep < len(data)
	return len(data), nil
}
