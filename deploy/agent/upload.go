package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

// install brings the agent for a machine to root on the host: over SFTP into a private
// directory of the login user, from which root copies it, or, where there is no SFTP or
// no such directory, straight into root's hands. What arrives is hashed there.
func install(ctx context.Context, conn *remote.Conn, machine string) error {
	arch, ok := platforms[machine]
	if !ok {
		return &Error{Kind: Platform, Cause: errors.New("there is no agent for this processor"), Said: machine}
	}
	program, err := unpack(arch)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, uploadLimit)
	defer cancel()
	upload, remove, err := send(ctx, conn, program)
	switch {
	case err == nil:
		defer remove()
		return installFrom(ctx, conn, upload, nil)
	case conn.Err() != nil:
		return conn.Err()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return installFrom(ctx, conn, "", bytes.NewReader(program))
}

func installFrom(ctx context.Context, conn *remote.Conn, upload string, input io.Reader) error {
	script, err := installScript(upload)
	if err != nil {
		return err
	}
	result, err := conn.RunElevated(ctx, remote.Command{Argv: byShell(script)}, input)
	if err != nil {
		return err
	}
	if result.Code == 0 {
		return nil
	}
	said := &Capture{}
	_, _ = said.Write(result.Stderr)
	return &exitError{code: result.Code, said: said.String()}
}

// openLimit bounds the greeting of SFTP: what a login shell prints in its place may
// look like the beginning of a long message.
const openLimit = 10 * time.Second

// plainPath is one that needs no quotes, whichever shell reads it.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`)

// send puts the agent into a private directory of the login user; remove deletes it
// again.
func send(ctx context.Context, conn *remote.Conn, program []byte) (upload string, remove func(), err error) {
	opening, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	files, err := conn.SFTP(opening)
	if err != nil {
		return "", nil, err
	}
	stop := context.AfterFunc(ctx, func() { files.Close() })
	home, err := files.Getwd()
	if err != nil {
		stop()
		return "", nil, errors.Join(err, files.Close())
	}
	private := path.Join(cmp.Or(conn.Target().TempDir, home), ".hdeploy-"+strings.ToLower(rand.Text()[:12]))
	upload = path.Join(private, "agent")
	remove = func() {
		// What stays behind is private, and never run from there.
		_ = files.Remove(upload)
		_ = files.RemoveDirectory(private)
		_ = files.Close()
		stop()
	}
	if !plainPath.MatchString(private) {
		remove()
		return "", nil, errors.New("the path of the upload needs quotes")
	}
	if err := errors.Join(files.Mkdir(private), files.Chmod(private, 0o700)); err != nil {
		remove()
		return "", nil, err
	}
	file, err := files.Create(upload)
	if err == nil {
		_, err = file.ReadFrom(bytes.NewReader(program))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return upload, remove, nil
}
