package remote

import (
	"context"
	"errors"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// SFTP opens a file transfer on the connection. ctx covers the opening only.
// The caller closes the client; it ends with the connection at the latest.
func (c *Conn) SFTP(ctx context.Context) (*sftp.Client, error) {
	if c.target.Local {
		return nil, c.target.fail(SFTPOff, "", "open SFTP: there is none to this machine itself")
	}
	channel, requests, err := c.openSession(ctx)
	if err != nil {
		return nil, err
	}
	stream := &Stream{channel: channel, conn: c, name: "sftp"}
	go ssh.DiscardRequests(requests)
	// Not waiting for the answer saves a round trip: the greeting of SFTP
	// follows the request and is only read if that was granted.
	granted := make(chan error, 1)
	go func() {
		ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		if err == nil && !ok {
			err = errors.New("the host refuses the request")
		}
		granted <- err
		if err != nil {
			channel.Close()
		}
	}()
	return c.greetSFTP(ctx, stream, granted)
}

// greetSFTP exchanges the versions; granted receives the host's answer to the
// request, which explains a failure better than the closed stream after it.
func (c *Conn) greetSFTP(ctx context.Context, stream *Stream, granted <-chan error) (*sftp.Client, error) {
	type greeted struct {
		client *sftp.Client
		err    error
	}
	answer := make(chan greeted)
	go func() {
		client, err := sftp.NewClientPipe(stream, stream, sftp.UseConcurrentWrites(true))
		select {
		case answer <- greeted{client, err}:
		case <-ctx.Done():
			stream.Close()
		}
	}()
	select {
	case g := <-answer:
		if g.err == nil {
			return g.client, nil
		}
		stream.Close()
		if lost := c.lostError(); lost != nil {
			return nil, lost
		}
		select {
		case refusal := <-granted:
			if refusal != nil {
				g.err = refusal
			}
		default:
		}
		return nil, c.target.fail(SFTPOff,
			"allow it on the host: services.openssh.allowSFTP = true; and see that the login shell prints nothing:\n    "+c.target.sshCommand()+" true",
			"open SFTP: %s", plain(g.err))
	case <-ctx.Done():
		stream.Close()
		return nil, c.canceled(ctx)
	}
}
