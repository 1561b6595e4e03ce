package remote

import (
	"encoding/pem"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// addFile offers a private key file and its certificates. Its absence matters only
// if somebody named it.
func (k *keyring) addFile(path string, named bool) {
	content, err := readKeyFile(path)
	if err != nil {
		// OpenSSH, too, finds a key of the agent by the public file alone.
		public, beside := readPublicKey(path + ".pub")
		if beside == nil && k.addHeld(path, public) {
			return
		}
		if named || !errors.Is(err, os.ErrNotExist) {
			k.skip(path, fileFault(err))
		}
		return
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(content); err == nil {
		if !k.addHeld(path, public) {
			k.skip(path, "a public key, and the agent does not hold its private one")
		}
		return
	}
	signer, err := ssh.ParsePrivateKey(content)
	if err == nil {
		k.addSigner(signer, path, path)
		return
	}
	public := publicPart(path, content, err)
	if public != nil && k.addHeld(path, public) {
		return
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		k.addLocked(path, content, public, named)
	case public != nil && strings.HasPrefix(public.Type(), "sk-"):
		k.skip(path, "a FIDO key, which works through the agent only: ssh-add "+path)
	default:
		k.skip(path, plain(err))
	}
}

// addSigner offers the certificates of a key, then the key.
func (k *keyring) addSigner(signer ssh.Signer, path, name string) {
	k.addCertified(signer, path)
	k.add(signer, name)
}

// addHeld offers a key file through the agent, if that holds the key.
func (k *keyring) addHeld(path string, public ssh.PublicKey) bool {
	held := k.heldByAgent(public)
	for _, key := range held {
		if key.certified {
			k.add(key.signer, "agent: "+key.comment)
			continue
		}
		k.addSigner(key.signer, strings.TrimSuffix(path, ".pub"), path+" through the agent")
	}
	return len(held) > 0
}

// addLocked offers a key whose passphrase is asked for once the host accepts it.
func (k *keyring) addLocked(path string, content []byte, public ssh.PublicKey, named bool) {
	k.locked = append(k.locked, path)
	open := func() (signer ssh.AlgorithmSigner, err error) {
		k.budget.aside(func() { signer, err = k.passphrases.open(k.ctx, path, content) })
		k.failed(path, err)
		return signer, err
	}
	switch {
	case k.passphrases == nil:
		k.skip(path, "protected by a passphrase and not in the agent")
	case public != nil:
		k.addSigner(&lockedSigner{public: public, open: open}, path, path)
	case !named:
		k.skip(path, "protected by a passphrase, without its public key in a file beside it")
	default:
		// An old format hides the public key too: nothing can be offered before.
		signer, err := open()
		if err != nil {
			k.skip(path, plain(err))
			return
		}
		k.addSigner(signer, path, path)
	}
}

// publicPart finds the public key of a private key that cannot be read: in the file
// itself, or in the one beside it.
func publicPart(path string, content []byte, fault error) ssh.PublicKey {
	var locked *ssh.PassphraseMissingError
	if errors.As(fault, &locked) && locked.PublicKey != nil {
		return locked.PublicKey
	}
	if public := publicPartOfContainer(content); public != nil {
		return public
	}
	public, err := readPublicKey(path + ".pub")
	if err != nil {
		return nil
	}
	return public
}

// publicPartOfContainer reads the public key in front of OpenSSH's own format, whose
// source is PROTOCOL.key of OpenSSH. It tells the keys that this library cannot use.
func publicPartOfContainer(content []byte) ssh.PublicKey {
	const magic = "openssh-key-v1\x00"
	block, _ := pem.Decode(content)
	if block == nil || !strings.HasPrefix(string(block.Bytes), magic) {
		return nil
	}
	var container struct {
		Cipher, KDF, Options string
		Count                uint32
		Public               []byte
		Rest                 []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(block.Bytes[len(magic):], &container) != nil {
		return nil
	}
	public, err := ssh.ParsePublicKey(container.Public)
	if err != nil {
		return nil
	}
	return public
}

func readKeyFile(path string) ([]byte, error) {
	const longest = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, longest))
}

// readPublicKey reads a file with one public key or certificate.
func readPublicKey(path string) (ssh.PublicKey, error) {
	content, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(content)
	return public, err
}

// fileFault leaves out the path, which stands beside it already.
func fileFault(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return plain(err)
}
