package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// ciphers starts with the fastest of those that OpenSSH allows: one
// connection carries whole closures.
var ciphers = []string{
	ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
	ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
}

// Dial connects and logs in, through all jump hosts, before ctx ends and
// within the target's ConnectTimeout. Its errors are of type [*Error]. The
// connection lives until it is closed or lost; ctx does not end it.
func Dial(ctx context.Context, t Target) (*Conn, error) {
	t = t.withDefaults()
	if t.Local {
		return dialLocal(t), nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.ConnectTimeout)
	defer cancel()
	var hops []*hop
	for i, next := range append(slices.Clone(t.Jump), t) {
		next.hop = i < len(t.Jump)
		h, err := dialHop(ctx, next.withDefaults(), t, hops)
		if err != nil {
			closeHops(hops)
			return nil, err
		}
		hops = append(hops, h)
	}
	return newConn(t, hops), nil
}

// hop is one login on the way; the last one is the host itself.
type hop struct {
	client *ssh.Client
	wire   *wire
}

// closeHops starts with the hop that owns the TCP connection: closing a later
// one first would send a message, which waits for ever on a stalled peer.
func closeHops(hops []*hop) {
	for _, h := range hops {
		h.client.Close()
	}
}

// attempt is what became known while one hop was dialed; it explains an error
// of the handshake better than the error itself.
type attempt struct {
	target, final Target
	policy        *hostKeyPolicy
	keys          *keyring
	keyFault      error // the host key was refused
	offered       bool  // the host let us offer keys
}

func dialHop(ctx context.Context, t, final Target, before []*hop) (*hop, error) {
	policy, err := newHostKeyPolicy(t)
	if err != nil {
		return nil, err
	}
	keys, err := openKeyring(ctx, t)
	if err != nil {
		return nil, err
	}
	defer keys.close()
	a := &attempt{target: t, final: final, policy: policy, keys: keys}
	conn, err := a.connect(ctx, before)
	if err != nil {
		return nil, err
	}
	return a.login(ctx, &wire{Conn: conn})
}

// connect opens the TCP connection, from here or from the hop before.
func (a *attempt) connect(ctx context.Context, before []*hop) (net.Conn, error) {
	if len(before) == 0 {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", a.target.endpoint())
		if err != nil {
			return nil, a.unreachable(ctx, err)
		}
		return conn, nil
	}
	conn, err := before[len(before)-1].client.DialContext(ctx, "tcp", a.target.endpoint())
	if err == nil {
		return conn, nil
	}
	jump := a.final.Jump[len(before)-1].withDefaults()
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return nil, a.unreachable(ctx, err)
	}
	if refused.Reason == ssh.ConnectionFailed {
		return nil, a.target.fail(Unreachable, "see that it runs and that the jump host may reach it:\n    "+jump.sshCommand(),
			"connect to %s from jump host %s: %s", a.target.endpoint(), jump.Host, printable(refused.Message))
	}
	return nil, jump.fail(ForwardingOff, "allow it in the configuration of "+jump.Host+": services.openssh.settings.AllowTcpForwarding = true",
		"connect to %s: jump host refuses to forward: %s", a.target.endpoint(), printable(refused.Message))
}

// login does the handshake. Closing the wire is what ends it early: not every
// hop's connection knows deadlines.
func (a *attempt) login(ctx context.Context, w *wire) (*hop, error) {
	stop := context.AfterFunc(ctx, func() { w.Close() })
	conn, channels, requests, err := ssh.NewClientConn(w, a.target.endpoint(), a.config())
	if !stop() && err == nil {
		conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return &hop{ssh.NewClient(conn, channels, requests), w}, nil
}

func (a *attempt) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers},
		User:              a.target.User,
		HostKeyAlgorithms: a.policy.algorithms,
		HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
			a.keyFault = a.policy.judge(address, remote, key)
			return a.keyFault
		},
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			a.offered = true
			return a.keys.signers, nil
		})},
	}
}

// explain turns a failed handshake into an error a person can act on.
func (a *attempt) explain(ctx context.Context, err error) error {
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case a.keyFault != nil:
		return a.keyFault
	case ctx.Err() != nil:
		return a.unreachable(ctx, ctx.Err())
	case errors.As(err, &negotiation) && negotiation.What == "host key":
		return a.policy.noCommonKey(negotiation.RequestedAlgorithms)
	case errors.As(err, &negotiation):
		return a.target.fail(Unreachable, "see what its sshd offers with\n    "+a.target.sshCommand()+" -v",
			"agree on a way to encrypt: %s", plain(err))
	case cutOff(err) && a.offered:
		return a.target.fail(Unreachable, "ask the host why:\n    journalctl -u sshd -n 20", "log in as %s: the host closed the connection", a.target.User)
	case cutOff(err):
		return a.target.fail(Unreachable,
			"its sshd may be starting, overloaded (MaxStartups) or refusing this address for a while (PerSourcePenalties); see with\n    "+a.target.sshCommand()+" -v",
			"greet %s: it closed the connection before the handshake", a.target.endpoint())
	case a.offered:
		return a.keys.refused(a.target, err)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return a.target.fail(LoginRefused, "allow them on the host: services.openssh.settings.PubkeyAuthentication = true",
			"log in as %s: the host accepts no public keys", a.target.User)
	}
	return a.target.fail(Unreachable, "check address and port in deploy.toml; see what answers there with\n    "+a.target.sshCommand()+" -v",
		"greet %s: what answers is no SSH server that can be understood: %s", a.target.endpoint(), plain(err))
}

// cutOff reports whether the connection ended, rather than said something.
func cutOff(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &network) || errors.Is(err, syscall.ECONNRESET)
}

// unreachable explains why there is no connection.
func (a *attempt) unreachable(ctx context.Context, err error) error {
	t := a.target
	var dns *net.DNSError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return t.fail(Canceled, "", "connect to %s: %w", t.endpoint(), context.Canceled)
	case ctx.Err() != nil || isTimeout(err):
		return t.fail(Unreachable, "see that it runs and that no firewall drops port "+port(t)+":\n    "+t.sshCommand(),
			"connect to %s: no answer within %s", t.endpoint(), a.final.ConnectTimeout)
	case errors.As(err, &dns):
		return t.fail(Unreachable, "correct address in "+t.table()+" of deploy.toml, or see what the name resolves to with\n    getent hosts "+t.Address,
			"resolve %s: %s", printable(t.Address), printable(dns.Err))
	case errors.Is(err, syscall.ECONNREFUSED):
		return t.fail(Unreachable, "see on the host's console that sshd runs and listens on port "+port(t)+":\n    systemctl status sshd",
			"connect to %s: connection refused", t.endpoint())
	}
	return t.fail(Unreachable, "see that it runs and is reachable:\n    "+t.sshCommand(), "connect to %s: %s", t.endpoint(), networkCause(err))
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// networkCause leaves out the addresses that net repeats.
func networkCause(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return plain(err)
}

func port(t Target) string {
	_, port, _ := net.SplitHostPort(t.endpoint())
	return port
}
