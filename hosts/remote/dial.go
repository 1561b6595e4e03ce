package remote

import (
	"context"
	"errors"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
)

// ciphers starts with the fastest of those that OpenSSH allows: one
// connection carries whole closures.
var ciphers = []string{
	ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
	ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR,
}

// Dial connects and logs in, through all jump hosts, before ctx ends and
// within the target's ConnectTimeout, in which the time that a person needs to
// answer does not count. Its errors are of type [*Error]. The connection lives
// until it is closed or lost; ctx does not end it.
func Dial(ctx context.Context, t Target) (*Conn, error) {
	conn, asked, err := dialOnce(ctx, t)
	if e := new(Error); asked && errors.As(err, &e) && e.Kind == Unreachable && ctx.Err() == nil {
		// The host hung up while somebody was thinking. What was answered is known now.
		conn, _, err = dialOnce(ctx, t)
	}
	return conn, err
}

// dialOnce also reports whether a person was asked something.
func dialOnce(ctx context.Context, t Target) (conn *Conn, asked bool, err error) {
	t = t.withDefaults()
	if t.Local {
		return dialLocal(t), false, nil
	}
	ctx, budget, cancel := withBudget(ctx, t.ConnectTimeout)
	defer cancel()
	var hops []*hop
	for i, next := range append(slices.Clone(t.Jump), t) {
		next.hop, next.destination = i < len(t.Jump), t.Host
		next.accept, next.replace = t.accept, t.replace
		a := &attempt{target: next.withDefaults(), final: t, before: hops, budget: budget}
		h, err := a.dial(ctx)
		if err != nil {
			closeHops(hops)
			return nil, budget.asked, err
		}
		hops = append(hops, h)
	}
	return newConn(t, hops), budget.asked, nil
}

// hop is one login on the way; the last one is the host itself.
type hop struct {
	client *ssh.Client
	wire   *wire
	// proxy is the program that the connection runs through, or nil.
	proxy *proxy
	// key is the one that the host has shown.
	key ssh.PublicKey
}

// HostKey is the key that the host has shown, in the format of authorized_keys, and its
// fingerprint. Of a certificate it is the certified key.
func (c *Conn) HostKey() (line, fingerprint string) {
	if len(c.hops) == 0 {
		return "", ""
	}
	key := c.hops[len(c.hops)-1].key
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	return keyLine(key), ssh.FingerprintSHA256(key)
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
	before        []*hop
	budget        *budget
	policy        *hostKeyPolicy
	keys          *keyring
	proxy         *proxy
	key           ssh.PublicKey // that the host has shown
	keyFault      error         // why it was refused
	offered       bool          // the host let us offer keys
}

func (a *attempt) dial(ctx context.Context) (*hop, error) {
	policy, err := newHostKeyPolicy(ctx, a.target, a.budget)
	if err != nil {
		return nil, err
	}
	keys, err := openKeyring(ctx, a.target, a.budget)
	if err != nil {
		return nil, err
	}
	defer keys.close()
	a.policy, a.keys = policy, keys
	conn, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	return a.login(ctx, &wire{Conn: conn})
}

// login does the handshake. Closing the wire is what ends it early: not every
// hop's connection knows deadlines.
func (a *attempt) login(ctx context.Context, w *wire) (*hop, error) {
	stop := context.AfterFunc(ctx, func() { w.Close() })
	conn, channels, requests, err := ssh.NewClientConn(w, a.target.endpoint(), a.config(ctx))
	if !stop() && err == nil {
		conn.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		err = a.explain(ctx, err)
		w.Close()
		return nil, err
	}
	return &hop{ssh.NewClient(conn, channels, requests), w, a.proxy, a.key}, nil
}

func (a *attempt) config(ctx context.Context) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: ciphers},
		User:              a.target.User,
		HostKeyAlgorithms: a.policy.algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			a.key, a.keyFault = key, a.policy.judge(ctx, key)
			return a.keyFault
		},
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			a.offered = true
			return a.keys.signers, nil
		})},
	}
}
