package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// explain turns a failed handshake into an error a person can act on.
func (a *attempt) explain(ctx context.Context, err error) error {
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case a.keyFault != nil:
		return a.keyFault
	case ctx.Err() != nil:
		return a.unreachable(ctx, err)
	case a.keys.fault != nil:
		return a.keys.unusable(a.target)
	case errors.As(err, &negotiation) && negotiation.What == "host key":
		return a.policy.noCommonKey(negotiation.RequestedAlgorithms)
	case errors.As(err, &negotiation):
		return a.target.fail(Unreachable, "see what its sshd offers with\n    "+a.target.sshCommand()+" -v",
			"agree on a way to encrypt: %s", plain(err))
	case a.offered && tooManyFailures(err):
		return a.keys.tooMany(a.target)
	case cutOff(err) && a.proxy != nil:
		fault := a.target.fail(Unreachable, a.proxyHint(), "connect through ProxyCommand: %s", a.proxy.ending())
		fault.Transient = true
		return fault
	case cutOff(err) && a.offered:
		return a.target.fail(Unreachable, "ask the host why:\n    journalctl -u sshd -n 20", "log in as %s: the host closed the connection", a.target.User)
	case cutOff(err):
		fault := a.target.fail(Unreachable,
			"its sshd may be starting, overloaded (MaxStartups) or refusing this address for a while (PerSourcePenalties); see with\n    "+a.target.sshCommand()+" -v",
			"greet %s: it closed the connection before the handshake", a.target.endpoint())
		fault.Transient = true
		return fault
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
	return errors.Is(err, io.EOF) || errors.As(err, &network) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tooManyFailures recognises how OpenSSH hangs up after MaxAuthTries: reason 2 of
// RFC 4253, section 11.1, with a text of its own. The library's type is private.
func tooManyFailures(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "disconnect, reason 2:") && strings.Contains(text, "too many authentication failures")
}

// unreachable explains why there is no connection.
func (a *attempt) unreachable(ctx context.Context, err error) error {
	t := a.target
	fault := func(transient bool, hint, format string, args ...any) error {
		e := t.fail(Unreachable, hint, format, args...)
		e.Transient = transient
		return e
	}
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil && !spent(ctx):
		return t.fail(Canceled, "", "connect to %s: %w", t.endpoint(), context.Canceled)
	case ctx.Err() != nil && a.proxy != nil:
		return fault(true, a.proxyHint(), "connect through ProxyCommand: no answer within %s%s", a.final.ConnectTimeout, a.proxy.said(": it printed "))
	case ctx.Err() != nil || isTimeout(err):
		return fault(true, "see that it runs and that no firewall drops port "+port(t)+":\n    "+t.sshCommand(),
			"connect to %s: no answer within %s", t.endpoint(), a.final.ConnectTimeout)
	case errors.As(err, &dns):
		return fault(dns.IsTemporary, "correct address in "+t.table()+" of deploy.toml, or see what the name resolves to with\n    getent hosts "+t.Address,
			"resolve %s: %s", printable(t.Address), printable(dns.Err))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault(true, "see on the host's console that sshd runs and listens on port "+port(t)+":\n    systemctl status sshd",
			"connect to %s: connection refused", t.endpoint())
	}
	return fault(true, "see that it runs and is reachable:\n    "+t.sshCommand(), "connect to %s: %s", t.endpoint(), networkCause(err))
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
