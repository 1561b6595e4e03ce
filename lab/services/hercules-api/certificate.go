package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// ownCertificate is the one of an earlier run, or a new one. It is made a root of the host: programs read those once, so that it
// must not change from run to run.
func ownCertificate(state, roots string) (tls.Certificate, error) {
	keyFile, certificateFile := filepath.Join(state, "key.pem"), filepath.Join(roots, "lab-hercules.pem")
	if pair, err := tls.LoadX509KeyPair(certificateFile, keyFile); err == nil {
		return pair, nil
	}
	certificate, key, err := newCertificate()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %v", err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return tls.Certificate{}, err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	if err := os.WriteFile(certificateFile, certificate, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

func newCertificate() (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "lab hercules"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour * 365),
		DNSNames: []string{"hercules-ci.com", "agent-socket.hercules-ci.com"},
		IsCA:     true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
