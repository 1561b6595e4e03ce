package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/crypto/ssh"
)

// connect opens what the SSH connection rides on: through the hop before, through
// the ProxyCommand of the first hop, or by TCP from here.
func (a *attempt) connect(ctx context.Context) (net.Conn, error) {
	switch {
	case len(a.before) > 0:
		return a.connectThroughJump(ctx)
	case a.target.proxyCommand() != "":
		return a.connectThroughProxy(ctx)
	}
	dialer, err := a.dialer(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.DialContext(ctx, a.target.network("tcp"), a.target.endpoint())
	if err != nil {
		return nil, a.unreachable(ctx, err)
	}
	return conn, nil
}

// network adds the address family that ssh_config wants to a kind of network.
func (t Target) network(kind string) string {
	switch t.SSH.AddressFamily {
	case "inet":
		return kind + "4"
	case "inet6":
		return kind + "6"
	}
	return kind
}

// dialer connects from the BindAddress, if there is one.
func (a *attempt) dialer(ctx context.Context) (*net.Dialer, error) {
	bind := a.target.SSH.BindAddress
	if bind == "" {
		return &net.Dialer{}, nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, a.target.network("ip"), bind)
	if err != nil || len(addresses) == 0 {
		return nil, a.target.fail(Unreachable, "correct BindAddress for "+a.target.Host+" in ssh_config; this machine's addresses are\n    ip -brief address",
			"connect from BindAddress %s: it is no address of this machine", printable(bind))
	}
	return &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addresses[0], 0))}, nil
}

func (a *attempt) connectThroughJump(ctx context.Context) (net.Conn, error) {
	conn, err := a.before[len(a.before)-1].client.DialContext(ctx, "tcp", a.target.endpoint())
	if err == nil {
		return conn, nil
	}
	jump := a.final.Jump[len(a.before)-1].withDefaults()
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return nil, a.unreachable(ctx, err)
	}
	if refused.Reason == ssh.ConnectionFailed {
		fault := a.target.fail(Unreachable, "see that it runs and that the jump host may reach it:\n    "+jump.sshCommand(),
			"connect to %s from jump host %s: %s", a.target.endpoint(), jump.Host, printable(refused.Message))
		fault.Transient = true
		return nil, fault
	}
	return nil, jump.fail(ForwardingOff, "allow it in the configuration of "+jump.Host+": services.openssh.settings.AllowTcpForwarding = true",
		"connect to %s: jump host refuses to forward: %s", a.target.endpoint(), printable(refused.Message))
}

func (a *attempt) connectThroughProxy(ctx context.Context) (net.Conn, error) {
	proxy, err := startProxy(ctx, a.target.proxyCommand())
	if err != nil {
		return nil, a.target.fail(Unreachable, a.proxyHint(), "start ProxyCommand: %s", plain(err))
	}
	a.proxy = proxy
	return proxy, nil
}

// proxyCommand is empty where the connection is made from here.
func (t Target) proxyCommand() string {
	if t.SSH.ProxyCommand == "none" {
		return ""
	}
	return t.SSH.ProxyCommand
}

func (a *attempt) proxyHint() string {
	return "see what it prints when it runs alone:\n    " + printable(a.target.proxyCommand())
}
