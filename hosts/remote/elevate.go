package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrPassword is what a password is answered with that the host did not accept.
var ErrPassword = errors.New("the password was not accepted")

// Command is a program that is started as root.
type Command struct {
	Argv []string
	// Ready is a line that the program itself prints on its standard error as soon as
	// it runs; the caller does not see it. Where it is empty the program is started by
	// /bin/sh, which says so: a rule that allows the program alone does not allow that.
	Ready string
}

// Elevated returns argv as it must be started to run as root where no password is
// needed. It never changes argv.
func (c *Conn) Elevated(argv []string) []string {
	return slices.Concat(c.target.Elevation, argv)
}

// StartElevated starts a program as root. Where the target has a password, and the
// host asks for it, that is answered first, and the result is a program that runs,
// or has ended: nothing that is written to it can be taken for a password. ctx
// covers that only; the program lives until it is closed. The rest is as in
// [Conn.Start].
//
// sudo is given the password on its standard input, and only after it has asked for
// it there: a cached timestamp, or NOPASSWD, leaves no stray line behind, and a wrong
// password is not followed by bytes that sudo would take for the next one. Others read
// a terminal. They get one that carries nothing else, while the program's own streams
// go another way, since a terminal changes what passes through it.
func (c *Conn) StartElevated(ctx context.Context, command Command, stderr io.Writer) (*Process, error) {
	d := newDialogue(command.Ready, stderr)
	lives := context.WithoutCancel(ctx)
	if c.target.Password == nil || len(c.target.Elevation) == 0 {
		if command.Ready == "" {
			d.begins()
		}
		return c.Start(lives, c.Elevated(command.Argv), d)
	}
	if command.Ready == "" {
		command.Argv = append([]string{"/bin/sh", "-c", `echo "$0" >&2; exec "$@"`, d.ready}, command.Argv...)
	}
	var p *Process
	var err error
	program, options := path.Base(c.target.Elevation[0]), c.target.Elevation[1:]
	switch program {
	case "sudo", "sudo-rs":
		prefix := slices.Concat(c.target.Elevation[:1], []string{"-S", "-p", d.question}, asking(options))
		p, err = c.Start(lives, slices.Concat(prefix, command.Argv), d)
	default:
		if c.local != nil { // it asks on the terminal of this process, if there is one
			return c.Start(lives, slices.Concat(c.target.Elevation[:1], asking(options), command.Argv), d)
		}
		prefix := slices.Concat(c.target.Elevation[:1], asking(options))
		p, err = c.startOnTerminal(ctx, slices.Concat(prefix, command.Argv), d)
	}
	if err != nil {
		return nil, err
	}
	return p, c.converse(ctx, p, d)
}

// RunElevated is [Conn.Run] for a program that is started as root.
func (c *Conn) RunElevated(ctx context.Context, command Command, stdin io.Reader) (Result, error) {
	stderr := &capped{most: mostStderr}
	p, err := c.StartElevated(ctx, command, stderr)
	if err != nil {
		return Result{}, err
	}
	stop := context.AfterFunc(ctx, p.Kill)
	result, err := p.finish(ctx, stdin, stderr)
	if !stop() { // a host that is quick says that it was killed, as if it had ended
		return Result{}, c.canceled(ctx)
	}
	return result, err
}

// asking removes the options by which sudo, doas and run0 ask nobody.
func asking(options []string) []string {
	return slices.DeleteFunc(slices.Clone(options), func(option string) bool {
		return option == "-n" || option == "--non-interactive" || option == "--no-ask-password"
	})
}

// Each of these bounds a wait for the host's side of an elevation. sudo and PAM take
// some seconds over a wrong password, on purpose.
const (
	askedLimit    = 60 * time.Second
	answeredLimit = 60 * time.Second
)

// beforeTyping is how long a question on a terminal stands before it is answered: the
// agent of polkit asks first, and then throws away what was typed. Nothing tells when it
// has done that.
const beforeTyping = time.Second

// converse answers the question for a password, until the program runs or has ended.
func (c *Conn) converse(ctx context.Context, p *Process, d *dialogue) error {
	asked, err := c.await(ctx, p, d, askedLimit)
	if err == nil && asked {
		err = c.target.Password(ctx, func(password string) error {
			d.hide(password)
			return c.answer(ctx, p, d, password)
		})
	}
	if err == nil {
		return nil
	}
	p.Kill()
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	return c.target.fail(NoElevation, "", "become root by %s: %w", printable(c.target.Elevation[0]), err)
}

// answer types the password. A second question means that it was wrong; so does an
// end with one of the words for that.
func (c *Conn) answer(ctx context.Context, p *Process, d *dialogue, password string) error {
	if p.tty != nil {
		select {
		case <-time.After(beforeTyping):
		case <-ctx.Done():
			return c.canceled(ctx)
		}
	}
	if _, err := p.terminal().Write([]byte(password + "\n")); err != nil {
		if lost := c.lostError(); lost != nil {
			return lost
		}
		return nil // it has ended meanwhile, which says more
	}
	again, err := c.await(ctx, p, d, answeredLimit)
	switch {
	case err != nil:
		return err
	case again || !d.runs() && wrongPassword.MatchString(d.text()):
		return ErrPassword
	}
	return nil
}

// wrongPassword is what sudo, sudo-rs, doas and the agent of polkit say.
var wrongPassword = regexp.MustCompile(`(?i)incorrect (password|authentication) attempt|incorrect password|authentication (failed|failure)|sorry, try again|try again`)

// await waits for the next question, or for the program or its end.
func (c *Conn) await(ctx context.Context, p *Process, d *dialogue, limit time.Duration) (asked bool, err error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-d.running:
		return false, nil
	case <-d.asked:
		return true, nil
	case <-p.over():
		return false, nil
	case <-ctx.Done():
		return false, c.canceled(ctx)
	case <-c.done:
		return false, c.ended()
	case <-timer.C:
		said := printable(lastLineOf(d.text()))
		if said == "" {
			return false, errors.New("it neither runs the program nor asks for a password")
		}
		return false, errors.New("it says this, which has no answer here: " + said)
	}
}

func lastLineOf(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// newMark is a word that nobody else prints.
func newMark() string { return "hdeploy-" + strings.ToLower(rand.Text()) }
