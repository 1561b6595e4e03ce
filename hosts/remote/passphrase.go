package remote

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"
)

// passphraseTries is how often a passphrase may be wrong.
const passphraseTries = 3

// Passphrases opens private keys that are protected by a passphrase. Each key is
// asked for once, however many hosts want it and whatever came of it: keys that
// were opened stay open in memory until the value is gone. All targets of one run
// share it; it may be used by several goroutines.
type Passphrases struct {
	ask  func(ctx context.Context, question string) (string, error)
	mu   sync.Mutex
	keys map[string]*protectedKey
}

// protectedKey is a key file on its way from asked to answered.
type protectedKey struct {
	turn   chan struct{} // holds one token while somebody is asked
	known  bool
	signer ssh.AlgorithmSigner
	err    error
}

// NewPassphrases returns an empty memory. ask asks a person a question; it may be
// called from several goroutines, and its error says why there is no answer. Where it
// is nil, so is the result: nobody can be asked.
func NewPassphrases(ask func(ctx context.Context, question string) (string, error)) *Passphrases {
	if ask == nil {
		return nil
	}
	return &Passphrases{ask: ask, keys: map[string]*protectedKey{}}
}

// open opens the key file at path, whose content is pem.
func (p *Passphrases) open(ctx context.Context, path string, pem []byte) (ssh.AlgorithmSigner, error) {
	p.mu.Lock()
	key := p.keys[path]
	if key == nil {
		key = &protectedKey{turn: make(chan struct{}, 1)}
		p.keys[path] = key
	}
	p.mu.Unlock()
	select {
	case key.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-key.turn }()
	if key.known {
		return key.signer, key.err
	}
	signer, err := p.unlock(ctx, path, pem)
	if err != nil && ctx.Err() != nil {
		return nil, err // this caller gave up, and nobody said no
	}
	key.known, key.signer, key.err = true, signer, err
	return signer, err
}

func (p *Passphrases) unlock(ctx context.Context, path string, pem []byte) (ssh.AlgorithmSigner, error) {
	question := "Passphrase for " + printable(path) + ":"
	for range passphraseTries {
		answer, err := p.ask(ctx, question)
		if err != nil {
			return nil, err
		}
		signer, err := ssh.ParsePrivateKeyWithPassphrase(pem, []byte(answer))
		if err == nil {
			return signer.(ssh.AlgorithmSigner), nil
		}
		if !wrongPassphrase(pem, err) {
			return nil, errors.New(plain(err))
		}
		question = "That is not it. Passphrase for " + printable(path) + ":"
	}
	return nil, fmt.Errorf("the passphrase was wrong %d times", passphraseTries)
}

// wrongPassphrase tells a wrong passphrase from a key that cannot be used. The old
// format has no checksum: there a wrong one may also decrypt to nonsense.
func wrongPassphrase(pem []byte, err error) bool {
	return errors.Is(err, x509.IncorrectPasswordError) || !bytes.Contains(pem, []byte("BEGIN OPENSSH PRIVATE KEY"))
}

// lockedSigner is a key whose passphrase is asked for only when the host has said
// that it would accept the key.
type lockedSigner struct {
	public ssh.PublicKey
	open   func() (ssh.AlgorithmSigner, error)
}

var _ ssh.AlgorithmSigner = (*lockedSigner)(nil)

func (s *lockedSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *lockedSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func (s *lockedSigner) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := s.open()
	if err != nil {
		return nil, err
	}
	return signer.SignWithAlgorithm(random, data, algorithm)
}
