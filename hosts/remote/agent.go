package remote

import (
	"context"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentSocket is the socket of the agent to ask, or empty for none: IdentityAgent of
// ssh_config, in the forms that ssh_config(5) lists, comes before the environment.
func (t Target) agentSocket() string {
	name := t.SSH.IdentityAgent
	variable, isVariable := strings.CutPrefix(name, "$")
	switch {
	case t.AgentSocket != "":
		return t.AgentSocket
	case name == "none":
		return ""
	case name == "" || name == "SSH_AUTH_SOCK":
		return os.Getenv("SSH_AUTH_SOCK")
	case isVariable:
		return os.Getenv(strings.Trim(variable, "{}"))
	}
	return name
}

// agentKey is a key or a certificate that the agent holds.
type agentKey struct {
	signer  ssh.AlgorithmSigner
	comment string
	// key is the plain key, also where the agent offers its certificate.
	key ssh.PublicKey
	// certified says that it is a certificate.
	certified bool
}

func (k *keyring) askAgent(ctx context.Context, socket string) {
	if socket == "" {
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		k.agentFault = err
		return
	}
	k.agentConn = conn
	context.AfterFunc(ctx, func() { conn.Close() })
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		k.agentFault = err
		return
	}
	for _, signer := range signers {
		k.agent = append(k.agent, k.agentKey(signer.(ssh.AlgorithmSigner)))
	}
}

func (k *keyring) agentKey(signer ssh.AlgorithmSigner) agentKey {
	public := signer.PublicKey()
	held := agentKey{comment: ssh.FingerprintSHA256(public), key: public}
	if named, ok := public.(*agent.Key); ok && named.Comment != "" {
		held.comment = printable(named.Comment)
	}
	if parsed, err := ssh.ParsePublicKey(public.Marshal()); err == nil {
		held.key = parsed
	}
	if certificate, ok := held.key.(*ssh.Certificate); ok {
		held.key, held.certified = certificate.Key, true
		held.comment += " certificate" + validity(certificate)
	}
	held.signer = &askingSigner{AlgorithmSigner: signer, keyring: k, name: "agent: " + held.comment}
	return held
}

// askingSigner signs while the time of the dial stands still: an agent may ask its
// user first, and a FIDO key wants to be touched.
type askingSigner struct {
	ssh.AlgorithmSigner
	keyring *keyring
	name    string
}

// Sign signs with the algorithm of the key's type.
func (s *askingSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

// SignWithAlgorithm waits for the agent, but no longer than a person may take.
func (s *askingSigner) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (signature *ssh.Signature, err error) {
	s.keyring.budget.aside(func() {
		limited, cancel := context.WithTimeout(s.keyring.ctx, questionLimit)
		defer cancel()
		defer context.AfterFunc(limited, func() { s.keyring.agentConn.Close() })()
		signature, err = s.AlgorithmSigner.SignWithAlgorithm(random, data, algorithm)
	})
	s.keyring.failed(s.name, err)
	return signature, err
}

// heldByAgent are the agent's certificates for a key, and then the key.
func (k *keyring) heldByAgent(public ssh.PublicKey) []agentKey {
	var held []agentKey
	for _, certified := range []bool{true, false} {
		for _, key := range k.agent {
			if key.certified == certified && sameKey(key.key, public) {
				held = append(held, key)
			}
		}
	}
	return held
}
