package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The streams of a program that is started on a terminal go through two FIFOs in a
// folder of the login user. Both scripts open them in the same order, since each
// waits for the other there. The first is on the terminal; the second, in a session
// without one, removes the folder as soon as nobody has to find it any more, and
// carries the bytes. Its own output ends with the program's, and not with its input.
const (
	onTerminal = `umask 077; mkdir "$1" && mkfifo "$1/i" "$1/o" || exit 1; echo "$0"; d=$1; shift; exec "$@" <"$d/i" >"$d/o"`
	beside     = `exec 3>"$1/i" 4<"$1/o"; rm -r "$1"; cat <&4 3>&- & exec >&- 4<&-; cat >&3; exec 3>&-; wait`
)

// startOnTerminal starts argv on a terminal of its own, which carries its standard
// error and what it reads from /dev/tty.
func (c *Conn) startOnTerminal(ctx context.Context, argv []string, d *dialogue) (*Process, error) {
	folder := path.Join(cmp.Or(c.target.TempDir, "/tmp"), ".hdeploy-"+strings.ToLower(rand.Text()[:12]))
	made := newDialogue("", d)
	lives := context.WithoutCancel(ctx)
	tty, err := c.start(lives, append([]string{"/bin/sh", "-c", onTerminal, made.ready, folder}, argv...), nil, true)
	if err != nil {
		return nil, err
	}
	tty.read = make(chan struct{})
	go func() {
		defer close(tty.read)
		_, _ = io.Copy(&uncoded{to: made}, tty) // a lost connection is told by Wait
		<-tty.finished
		made.over()
		d.over()
	}()
	limited, cancel := context.WithTimeout(ctx, askedLimit)
	defer cancel()
	select {
	case <-made.running:
	case <-tty.read:
		return nil, c.noTerminal(tty, lastLineOf(made.text()))
	case <-limited.Done():
		tty.Kill()
		if ctx.Err() != nil {
			return nil, c.canceled(ctx)
		}
		return nil, c.target.fail(NoElevation, "see why with\n    "+c.target.sshCommand(), "open a terminal for the password: nothing happens there: %s", printable(lastLineOf(made.text())))
	case <-c.done:
		return nil, c.ended()
	}
	p, err := c.Start(lives, []string{"/bin/sh", "-c", beside, "hdeploy", folder}, nil)
	if err != nil {
		tty.Kill()
		return nil, err
	}
	p.tty = tty
	return p, nil
}

// noTerminal says why the program was not even started.
func (c *Conn) noTerminal(tty *Process, said string) error {
	if _, err := tty.Wait(); err != nil && !tty.refused {
		return err
	}
	if tty.refused {
		return c.target.fail(CommandRefused, "allow it on the host: services.openssh.settings.PermitTTY = true, and no \"no-pty\" or \"restrict\" before the key; or let the account become root without a password",
			"open a terminal for the password: the host refuses")
	}
	return c.target.fail(NoElevation, "name a folder of the account in which it may write, as temp_dir of "+c.target.table()+" in deploy.toml",
		"make a folder for the program's streams on the host: %s", printable(said))
}

// over is closed when the program has ended and all that it said was passed on.
func (p *Process) over() <-chan struct{} {
	switch {
	case p.tty != nil:
		return p.tty.read
	case p.read != nil:
		return p.read
	}
	return p.finished
}

// waitForTerminal waits for the program, and ends what carries its streams.
func (p *Process) waitForTerminal() (Exit, error) {
	select {
	case <-p.tty.read:
	case <-p.conn.done:
		return Exit{}, p.conn.ended()
	}
	exit, err := p.tty.Wait()
	p.channel.Close()
	<-p.finished
	return exit, err
}

// terminal is where a password is typed.
func (p *Process) terminal() io.Writer {
	if p.tty != nil {
		return p.tty
	}
	return p
}

// requestTerminal asks for a terminal that changes nothing of what is typed or
// printed, and shows nothing that is typed.
func requestTerminal(channel ssh.Channel) error {
	const ttyOpEcho, ttyOpOPost, ttyOpONLCR, end = 53, 70, 72, 0
	var modes []byte
	for _, op := range []byte{ttyOpEcho, ttyOpOPost, ttyOpONLCR} {
		modes = append(modes, op, 0, 0, 0, 0)
	}
	ok, err := channel.SendRequest("pty-req", true, ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"dumb", 200, 24, 0, 0, string(append(modes, end))}))
	if err == nil && !ok {
		err = errors.New("the host refuses")
	}
	return err
}

// uncoded drops what acts on a terminal: run0 colours it, if only to end that.
type uncoded struct {
	to io.Writer
	// within is the byte that began a code: escape, bracket for CSI and OSC.
	within byte
}

func (u *uncoded) Write(p []byte) (int, error) {
	text := make([]byte, 0, len(p))
	for _, b := range p {
		switch {
		case u.within == 0 && b == escape:
			u.within = escape
		case u.within == 0 && b != '\r':
			text = append(text, b)
		case u.within == escape && (b == '[' || b == ']'):
			u.within = b
		case u.within == '[' && (b < '@' || b > '~'):
		case u.within == ']' && b != bell && b != escape:
		case u.within == ']' && b == escape:
			u.within = escape // the end of it is a code of its own
		default:
			u.within = 0
		}
	}
	_, err := u.to.Write(text)
	return len(p), err
}

const (
	escape = 0x1b
	bell   = 0x07
)
