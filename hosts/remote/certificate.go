package remote

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
)

// certificateFile is a certificate that ssh_config names, whose key is looked for.
type certificateFile struct {
	path        string
	certificate *ssh.Certificate
	used        bool
}

func (k *keyring) readCertificate(path string) {
	certificate, err := userCertificate(path)
	if err != nil {
		k.skip(path, fileFault(err))
		return
	}
	k.certificates = append(k.certificates, certificateFile{path: path, certificate: certificate})
}

// userCertificate reads a certificate for logging in.
func userCertificate(path string) (*ssh.Certificate, error) {
	public, err := readPublicKey(path)
	if err != nil {
		return nil, err
	}
	certificate, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("it is no certificate")
	}
	if certificate.CertType != ssh.UserCert {
		return nil, errors.New("it is a certificate of a host, not of a user")
	}
	return certificate, nil
}

// addCertified offers the certificates of a key: those of CertificateFile, then the
// one in the file beside the key, as OpenSSH finds it.
func (k *keyring) addCertified(signer ssh.Signer, path string) {
	for i, c := range k.certificates {
		if sameKey(c.certificate.Key, signer.PublicKey()) {
			k.certificates[i].used = true
			k.addCertificate(c.certificate, signer, c.path)
		}
	}
	if path == "" {
		return
	}
	beside := path + "-cert.pub"
	certificate, err := userCertificate(beside)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		k.skip(beside, fileFault(err))
	case !sameKey(certificate.Key, signer.PublicKey()):
		k.skip(beside, "it is the certificate of another key")
	default:
		k.addCertificate(certificate, signer, beside)
	}
}

func (k *keyring) addCertificate(certificate *ssh.Certificate, signer ssh.Signer, path string) {
	certified, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		k.skip(path, plain(err))
		return
	}
	k.add(certified, path+validity(certificate))
}

// addCertificatesOfAgent offers those of CertificateFile whose key the agent holds.
func (k *keyring) addCertificatesOfAgent() {
	for _, key := range k.agent {
		if !key.certified {
			k.addCertified(key.signer, "")
		}
	}
}

// validity tells of a certificate that is not valid now. It is offered all the same:
// the host's clock decides.
func validity(c *ssh.Certificate) string {
	now := uint64(time.Now().Unix())
	switch {
	case c.ValidBefore != ssh.CertTimeInfinity && now >= c.ValidBefore:
		return " (expired at " + certificateTime(c.ValidBefore) + ")"
	case now < c.ValidAfter:
		return " (valid from " + certificateTime(c.ValidAfter) + ")"
	}
	return ""
}

func certificateTime(seconds uint64) string {
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// sameKey compares keys, whatever type holds them.
func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// rsaSize is the size of an RSA key, or of that in a certificate, in bits; zero for
// every other key.
func rsaSize(key ssh.PublicKey) int {
	parsed, err := ssh.ParsePublicKey(key.Marshal()) // the agent's keys are of a type of its own
	if err != nil {
		return 0
	}
	if certificate, ok := parsed.(*ssh.Certificate); ok {
		parsed = certificate.Key
	}
	held, ok := parsed.(ssh.CryptoPublicKey)
	if !ok {
		return 0
	}
	if public, ok := held.CryptoPublicKey().(*rsa.PublicKey); ok {
		return public.N.BitLen()
	}
	return 0
}
