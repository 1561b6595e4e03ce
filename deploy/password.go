package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

// passwords are those of one run: hosts whose deploy.toml says the same share one.
type passwords struct {
	// ask is nil where nobody can be asked.
	ask Ask
	mu  sync.Mutex
	all map[string]*password
}

func newPasswords(ask Ask) *passwords {
	return &passwords{ask: ask, all: map[string]*password{}}
}

// of returns the password of a host, nil where none is configured.
func (p *passwords) of(h hosts.Host) *password {
	from := h.Password
	if !from.Ask && from.File == "" && len(from.Command) == 0 {
		return nil
	}
	key := fmt.Sprintf("%t %q %q", from.Ask, from.File, from.Command)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[key] == nil {
		p.all[key] = &password{from: from, ask: p.ask, turn: make(chan struct{}, 1), wrong: map[string]bool{}}
	}
	return p.all[key]
}

// password hands the host's password to who needs it, nil where none is configured. A
// person is asked only before anything was changed.
func (h *hostRun) password() func(context.Context, func(string) error) error {
	p := h.run.passwords().of(h.Host)
	if p == nil {
		return nil
	}
	return func(ctx context.Context, use func(string) error) error {
		return p.give(ctx, h.Name, h.status == nil, use)
	}
}

// forgivePassword lets the system that a rollback brought back be given the password
// that the new one did not accept.
func (h *hostRun) forgivePassword() {
	if p := h.run.passwords().of(h.Host); p != nil {
		p.forgive(h.Name)
	}
}

// passwords are those of the whole command, or, where nobody can be asked, of the run.
func (r *run) passwords() *passwords {
	if r.Secrets != nil {
		return r.Secrets.passwords
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unasked == nil {
		r.unasked = newPasswords(nil)
	}
	return r.unasked
}

// password is asked for when the first host wants it, and once. Its first use is
// alone: a wrong one is then tried on one host, and not on all at the same time, which
// could lock an account. After that each host is told a wrong password once.
type password struct {
	from hosts.Password
	ask  Ask
	turn chan struct{} // one token

	known bool
	text  string
	// fault is why there is none, or that it was wrong on the first host.
	fault error
	// right says that some host has accepted it, wrong which have not.
	right bool
	wrong map[string]bool
}

// give lets use answer a host's question. mayAsk is false where no person is asked any
// more.
func (p *password) give(ctx context.Context, host string, mayAsk bool, use func(string) error) error {
	text, alone, err := p.get(ctx, host, mayAsk)
	if err != nil {
		return err
	}
	if alone {
		defer func() { <-p.turn }()
		return p.judge(host, use(text))
	}
	err = use(text)
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	return p.judge(host, err)
}

// get returns the password. Where it is the first use, alone is true, and the turn is
// the caller's.
func (p *password) get(ctx context.Context, host string, mayAsk bool) (text string, alone bool, err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return "", false, context.Cause(ctx)
	}
	if !p.known && p.from.Ask && !mayAsk {
		<-p.turn
		return "", false, errors.New("the host asks for a password, which it did not before the change; nobody is asked for it in the middle of one")
	}
	if !p.known {
		text, err := p.find(ctx, host)
		if err != nil && ctx.Err() != nil {
			<-p.turn
			return "", false, err // the run ends, and nobody said no
		}
		p.known, p.text, p.fault = true, text, err
	}
	fault := p.fault
	if fault == nil && p.wrong[host] {
		fault = fmt.Errorf("%s was not accepted by %s before, and is not tried again", p.name(), host)
	}
	if fault != nil {
		<-p.turn
		return "", false, fault
	}
	if p.right {
		<-p.turn
		return p.text, false, nil
	}
	return p.text, true, nil
}

// judge keeps what a host said of the password.
func (p *password) judge(host string, err error) error {
	switch {
	case err == nil:
		p.right = true
	case errors.Is(err, remote.ErrPassword):
		p.wrong[host] = true
		err = fmt.Errorf("%s was not accepted by %s; it is not tried again", p.name(), host)
		if !p.right {
			p.fault = fmt.Errorf("%s was not accepted by %s, and is tried on no other host", p.name(), host)
		}
	}
	return err
}

// forgive lets a wrong password be tried once more on a host, which runs another system
// now.
func (p *password) forgive(host string) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.right {
		delete(p.wrong, host)
	}
}

// elevationRemedy is what a person can do about a login user who does not become root.
func (h *hostRun) elevationRemedy() string {
	root := "or set user = \"root\" for " + h.Name + " in deploy.toml"
	if len(h.Elevation) == 0 {
		return "set elevation = \"sudo\" for " + h.Name + " in deploy.toml, " + root
	}
	without := "give " + h.User + " NOPASSWD in the host's sudo rules"
	switch filepath.Base(h.Elevation[0]) {
	case "doas":
		without = "give " + h.User + " nopass in the host's doas rules (permit nopass " + h.User + " as root)"
	case "run0":
		without = "let polkit allow org.freedesktop.systemd1.manage-units to " + h.User + " without asking"
	}
	if h.run.passwords().of(h.Host) != nil {
		return without + ", " + root
	}
	return without + ", or say where its password is (elevation_password = \"ask\") for " + h.Name + " in deploy.toml, " + root
}

// name says where the password is from, and never what it is.
func (p *password) name() string {
	switch {
	case p.from.File != "":
		return "the password in " + p.from.File
	case len(p.from.Command) > 0:
		return "the password that " + p.from.Command[0] + " prints"
	}
	return "the password"
}

func (p *password) find(ctx context.Context, host string) (string, error) {
	var text string
	var err error
	switch {
	case p.from.File != "":
		text, err = passwordFile(p.from.File)
	case len(p.from.Command) > 0:
		text, err = passwordCommand(ctx, p.from.Command)
	case p.ask == nil:
		err = errors.New("there is nobody to ask for a password")
	default:
		text, err = p.ask(ctx, "Password to become root on "+host+":")
	}
	if err != nil {
		return "", err
	}
	if text == "" || strings.ContainsAny(text, "\x00\r\n") {
		return "", fmt.Errorf("%s is empty, or no text", p.name())
	}
	return text, nil
}

// passwordLimit caps a password, in bytes, as PAM does, and sourceLimit the file that
// begins with it.
const (
	passwordLimit = 512
	sourceLimit   = 64 << 10
)

// passwordFile reads a password that nobody else could read.
func passwordFile(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read the password: %v", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("read the password: %v", err)
	}
	if err := private(info); err != nil {
		return "", fmt.Errorf("read the password in %s: %v", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, sourceLimit))
	if err != nil {
		return "", fmt.Errorf("read the password: %v", err)
	}
	return firstLine(text)
}

func private(info fs.FileInfo) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others may read or write it (mode %04o); type: chmod 600", info.Mode().Perm())
	case owner != 0 && owner != uint32(os.Geteuid()):
		return fmt.Errorf("it belongs to uid %d", owner)
	}
	return nil
}

// commandLimit is how long a program may take that a password is read from: it may
// ask a person to touch a key.
const commandLimit = 2 * time.Minute

// passwordCommand reads what a program prints. The program's own error is shown, but
// for a line that has the password.
func passwordCommand(ctx context.Context, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.WaitDelay = time.Second
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("run %s for the password: %w", argv[0], ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("run %s for the password: %v%s", argv[0], err, lastWord(said.String(), string(out)))
	}
	return firstLine(out)
}

// lastWord is the last line that a program printed, unless that has the secret in it.
func lastWord(said, secret string) string {
	said = strings.TrimSpace(said)
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, said[strings.LastIndexByte(said, '\n')+1:])
	if line == "" || len(line) > passwordLimit {
		return ""
	}
	for word := range strings.Lines(secret) { // the first one is the password, and the others are as private
		if word = strings.TrimSpace(word); word != "" && strings.Contains(line, word) {
			return ""
		}
	}
	return ": " + line
}

// firstLine is the password, as in the files of pass and in what an askpass program
// prints.
func firstLine(text []byte) (string, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > passwordLimit {
		return "", fmt.Errorf("read the password: it has more than %d bytes", passwordLimit)
	}
	return string(line), nil
}
