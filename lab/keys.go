package lab

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyPair is an ed25519 SSH key: private in OpenSSH's PEM format, public as one line.
type keyPair struct {
	private []byte
	public  string
}

func newKeyPair(comment string) (keyPair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("generate key: %v", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode private key: %v", err)
	}
	encoded, err := ssh.NewPublicKey(public)
	if err != nil {
		return keyPair{}, fmt.Errorf("encode public key: %v", err)
	}
	return keyPair{
		private: pem.EncodeToMemory(block),
		public:  strings.TrimSpace(string(ssh.MarshalAuthorizedKey(encoded))),
	}, nil
}
