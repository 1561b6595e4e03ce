package remote

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Identity is a private key that is in memory alone.
type Identity struct {
	// Name says where it came from, in messages.
	Name   string
	signer ssh.Signer
}

// ParseIdentity reads a private key in any format of OpenSSH. A public key, or a
// certificate, may come with it, and must be that of the key. Neither an error nor what
// the identity prints has anything of the key or the passphrase in it.
func ParseIdentity(name string, private, public, passphrase []byte) (Identity, error) {
	signer, err := parsePrivate(private, passphrase)
	if err != nil {
		return Identity{}, err
	}
	if len(bytes.TrimSpace(public)) > 0 {
		key, _, _, _, err := ssh.ParseAuthorizedKey(public)
		if err != nil {
			return Identity{}, errors.New("its public key cannot be read: write it as in a .pub file")
		}
		if signer, err = certified(signer, key); err != nil {
			return Identity{}, err
		}
	}
	return Identity{Name: name, signer: signer}, nil
}

// ErrLocked says that a key was given without the passphrase that it is protected by.
var ErrLocked = errors.New("it is protected by a passphrase, and none is given")

// Fingerprint is that of the public key.
func (i Identity) Fingerprint() string { return ssh.FingerprintSHA256(i.signer.PublicKey()) }

func parsePrivate(private, passphrase []byte) (ssh.Signer, error) {
	// What a text field of a form made of a file: its last newline is gone.
	private = append(bytes.TrimSpace(bytes.ReplaceAll(private, []byte("\r\n"), []byte("\n"))), '\n')
	signer, err := ssh.ParsePrivateKey(private)
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return signer, nil
	case errors.As(err, &locked) && len(passphrase) == 0:
		return nil, ErrLocked
	case errors.As(err, &locked):
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(private, passphrase); err == nil {
			return signer, nil
		}
		return nil, errors.New("its passphrase is not the right one")
	case publicPartOfContainer(private) != nil && strings.HasPrefix(publicPartOfContainer(private).Type(), "sk-"):
		return nil, errors.New("it is a FIDO key, which somebody has to touch")
	case bytes.HasPrefix(private, []byte("ssh-")) || bytes.HasPrefix(private, []byte("ecdsa-")):
		return nil, errors.New("it is a public key")
	}
	return nil, errors.New("it is no private key in a format of OpenSSH")
}

// certified is a signer with the certificate that goes with its key; a plain public key
// is only compared.
func certified(signer ssh.Signer, key ssh.PublicKey) (ssh.Signer, error) {
	certificate, ok := key.(*ssh.Certificate)
	plainKey := key
	if ok {
		plainKey = certificate.Key
	}
	if !sameKey(plainKey, signer.PublicKey()) {
		return nil, fmt.Errorf("its public key is another one: %s, and not %s", ssh.FingerprintSHA256(plainKey), ssh.FingerprintSHA256(signer.PublicKey()))
	}
	if !ok {
		return signer, nil
	}
	return ssh.NewCertSigner(certificate, signer)
}

// knownInMemory names the known hosts that stand in no file.
const knownInMemory = "the known hosts that were given"

// readKnown reads what is known of a name: in memory, and in files.
func (t Target) readKnown(name string) (knownHost, error) {
	all, err := readKnownHosts(bytes.NewReader(t.KnownHosts), knownInMemory, name)
	if err != nil {
		return all, err
	}
	files, err := readKnownFiles(t.KnownHostsFiles, name)
	all.add(files)
	return all, err
}
