package remote

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKeyPolicy decides about the key that a host shows.
type hostKeyPolicy struct {
	target Target
	budget *budget
	// algorithms are what to ask the host for: a host has several keys, and
	// would otherwise show one that is not the known one.
	algorithms []string
	// host is what is known, loose what is known of the bare name of a host with a
	// port of its own.
	host, loose knownHost
	names       hostNames
	// pinned says that the target has the keys, and that no file is asked.
	pinned bool
	// known describes where the expected keys stand.
	known string
}

// preferredHostKeys is the order in which a host without a known key is asked.
var preferredHostKeys = []string{
	ssh.KeyAlgoED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// hostCertificates are the algorithms of certificates, whose authority may have a
// key of another type.
var hostCertificates = []string{
	ssh.CertAlgoED25519v01,
	ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

func newHostKeyPolicy(ctx context.Context, t Target, b *budget) (*hostKeyPolicy, error) {
	p := &hostKeyPolicy{target: t, budget: b, names: namesOf(t)}
	learn := p.learnFiles
	if len(t.HostKeys) > 0 {
		learn = p.learnPinned
	}
	if err := learn(ctx); err != nil {
		return nil, err
	}
	return p, p.allow(t.SSH.HostKeyAlgorithms)
}

// learnPinned accepts the keys of the target and no others.
func (p *hostKeyPolicy) learnPinned(context.Context) error {
	p.pinned, p.known = true, "host_keys in deploy.toml"
	for _, line := range p.target.HostKeys {
		if keyType, ok := placeholder(line); ok {
			p.algorithms = append(p.algorithms, algorithmsOf(keyType)...)
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return p.target.fail(KnownHostsUnreadable, "write the key as ssh-keyscan prints it, without the name in front",
				"read host key %q: %s", printable(line), plain(err))
		}
		p.host.keys = append(p.host.keys, knownKey{PublicKey: key, file: p.known})
		p.algorithms = append(p.algorithms, algorithmsOf(key.Type())...)
	}
	return nil
}

// placeholder recognises a key that is still to be filled in: "ssh-ed25519
// AAAA...". It matches nothing, and the refusal shows the real key.
func placeholder(line string) (keyType string, ok bool) {
	keyType, rest, found := strings.Cut(line, " ")
	return keyType, found && (rest == "AAAA..." || rest == "AAAA…")
}

// algorithmsOf returns the signature algorithms of a type of key.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		// Not ssh-rsa itself: it stands for SHA-1 signatures.
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// learnFiles accepts what the user's SSH would accept without asking.
func (p *hostKeyPolicy) learnFiles(ctx context.Context) error {
	unreadable := func(err error) error {
		return p.target.fail(KnownHostsUnreadable, "correct or remove that line, or pin the key: host_keys in deploy.toml", "read known hosts: %s", plain(err))
	}
	var err error
	if p.host, err = p.target.readKnown(p.names.exact); err != nil {
		return unreadable(err)
	}
	if p.names.bare != "" {
		if p.loose, err = p.target.readKnown(p.names.bare); err != nil {
			return unreadable(err)
		}
	}
	if err := p.askCommand(ctx, "ORDER", nil); err != nil {
		return err
	}
	p.known = strings.Join(slices.DeleteFunc(slices.Clone(p.target.KnownHostsFiles), func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	}), " and ")
	if p.target.KnownHosts != nil {
		p.known = strings.TrimSuffix(knownInMemory+" and "+p.known, " and ")
	}
	p.algorithms = p.wanted()
	return nil
}

// wanted is what to ask a host for, of which files may know something.
func (p *hostKeyPolicy) wanted() []string {
	var algorithms []string
	for _, key := range append(slices.Clone(p.host.keys), p.loose.keys...) {
		algorithms = append(algorithms, algorithmsOf(key.Type())...)
	}
	if len(algorithms) == 0 || p.target.accept != nil {
		algorithms = append(algorithms, preferredHostKeys...)
	}
	if len(p.host.authorities)+len(p.loose.authorities) > 0 {
		algorithms = append(slices.Clone(hostCertificates), algorithms...)
	}
	return algorithms
}

// allow keeps of the algorithms what HostKeyAlgorithms of ssh_config allows, and what
// can be verified here.
func (p *hostKeyPolicy) allow(configured []string) error {
	usable := ssh.SupportedAlgorithms().HostKeys
	wanted := p.algorithms
	p.algorithms = nil
	for _, algorithm := range wanted {
		allowed := len(configured) == 0 || slices.Contains(configured, algorithm)
		if allowed && slices.Contains(usable, algorithm) && !slices.Contains(p.algorithms, algorithm) {
			p.algorithms = append(p.algorithms, algorithm)
		}
	}
	if len(p.algorithms) > 0 {
		return nil
	}
	return p.target.fail(HostKeyUnknown, "allow one of them in HostKeyAlgorithms of ssh_config, or make another key of the host known",
		"check host key: the keys known in %s are of the types %s, and none of these may be used", p.known, strings.Join(wanted, ", "))
}

// judge returns nil for the right key.
func (p *hostKeyPolicy) judge(ctx context.Context, key ssh.PublicKey) error {
	if err := p.askCommand(ctx, "HOSTNAME", key); err != nil {
		return err
	}
	plainKey := key
	certificate, certified := key.(*ssh.Certificate)
	if certified {
		plainKey = certificate.Key
		if err := p.revoked(certificate.SignatureKey); err != nil {
			return err
		}
	}
	if err := p.revoked(plainKey); err != nil {
		return err
	}
	if bits, least := rsaSize(plainKey), p.target.SSH.RequiredRSASize; bits > 0 && bits < least {
		return p.target.fail(HostKeyUnknown, "make a larger key on the host, or one of another type, or allow it with RequiredRSASize in ssh_config",
			"check host key: it is an RSA key of %d bits, and RequiredRSASize is %d", bits, least)
	}
	if certified && p.certifies(certificate.SignatureKey) {
		return p.judgeCertificate(certificate)
	}
	if _, ok := has(p.host.keys, plainKey); ok {
		return nil
	}
	if _, ok := has(p.loose.keys, plainKey); ok && len(p.host.keys) == 0 {
		return nil
	}
	if p.target.accept != nil && (len(p.host.keys) == 0 || p.target.replace && !p.pinned) {
		return p.ask(ctx, plainKey)
	}
	if len(p.host.keys) == 0 {
		return p.unknown(plainKey)
	}
	return p.changed(plainKey)
}

func (p *hostKeyPolicy) revoked(key ssh.PublicKey) error {
	revoked, ok := has(append(slices.Clone(p.host.revoked), p.loose.revoked...), key)
	if !ok {
		return nil
	}
	return p.target.fail(HostKeyChanged, "do not log in; the key was revoked on purpose",
		"check host key: %s is revoked in %s", ssh.FingerprintSHA256(key), revoked.place())
}

func (p *hostKeyPolicy) certifies(authority ssh.PublicKey) bool {
	_, exact := has(p.host.authorities, authority)
	_, loose := has(p.loose.authorities, authority)
	return exact || loose
}

// judgeCertificate checks a certificate by an authority that may certify the host.
// As for OpenSSH, a principal may be a pattern, and none at all is every host.
func (p *hostKeyPolicy) judgeCertificate(c *ssh.Certificate) error {
	name := strings.ToLower(p.target.Address)
	if alias := p.target.SSH.HostKeyAlias; alias != "" {
		name = strings.ToLower(withoutPort(alias))
	}
	principal := name
	for _, pattern := range c.ValidPrincipals {
		if wildcard(strings.ToLower(pattern), name) {
			principal = pattern
		}
	}
	var err error
	switch {
	case c.CertType != ssh.HostCert:
		err = fmt.Errorf("it is the certificate of a user, not of a host")
	case c.Signature == nil || c.Signature.Format == ssh.KeyAlgoRSA:
		err = fmt.Errorf("it is signed with SHA-1")
	case len(p.target.SSH.CASignatureAlgorithms) > 0 && !slices.Contains(p.target.SSH.CASignatureAlgorithms, c.Signature.Format):
		err = fmt.Errorf("it is signed with %s, which is not among CASignatureAlgorithms", c.Signature.Format)
	default:
		err = new(ssh.CertChecker).CheckCert(principal, c)
	}
	if err == nil {
		return nil
	}
	return p.target.fail(HostKeyUnknown, "renew the host's certificate; see what it says on the host:\n    for f in /etc/ssh/*-cert.pub; do ssh-keygen -Lf $f; done",
		"check host key: the certificate of %s, by %s, is not valid%s: %s", p.target.endpoint(), ssh.FingerprintSHA256(c.SignatureKey), validity(c), plain(err))
}

// withoutPort is the host's name in [NAME]:PORT, as known_hosts has it: certificates
// know no ports.
func withoutPort(name string) string {
	if host, _, err := net.SplitHostPort(name); err == nil && strings.HasPrefix(name, "[") {
		return host
	}
	return name
}

// unknown refuses a key that nothing is known about.
func (p *hostKeyPolicy) unknown(key ssh.PublicKey) error {
	instead := ""
	if len(p.host.authorities) > 0 {
		instead = ", without a certificate by " + p.host.authorities[0].place()
	}
	return p.target.fail(HostKeyUnknown, p.pinHint(key),
		"check host key: the key of %s is not known; it shows %s %s%s", p.target.endpoint(), key.Type(), ssh.FingerprintSHA256(key), instead)
}

// changed refuses a key that is not the known one.
func (p *hostKeyPolicy) changed(key ssh.PublicKey) error {
	hint := "If the host was installed anew, compare the fingerprint on its console:\n    " + consoleCommand(key) + "\nand only then replace the key"
	place := p.host.keys[0].place()
	switch {
	case p.pinned:
		hint += " of " + p.target.table() + " in deploy.toml:\n    " + pinLine(key)
	case p.target.KnownHosts != nil:
		hint += ", or pin the new one in " + p.target.table() + " of deploy.toml:\n    " + pinLine(key)
	default:
		hint += " with\n    " + p.trustCommand("--replace") + "\nor pin the new one in " + p.target.table() + " of deploy.toml:\n    " + pinLine(key)
	}
	return p.target.fail(HostKeyChanged, hint,
		"check host key: THE KEY OF %s IS NOT THE KNOWN ONE; somebody may stand in between: it shows %s %s, %s says %s",
		p.target.endpoint(), key.Type(), ssh.FingerprintSHA256(key), place, fingerprints(p.host.keys))
}

// noCommonKey explains a host that has no key of the known types.
func (p *hostKeyPolicy) noCommonKey(offered []string) error {
	list := printable(strings.Join(offered, ", "))
	return p.target.fail(HostKeyChanged,
		"see which keys the host has, compare them on its console, and add one to host_keys in deploy.toml:\n    ssh-keyscan -p "+fmt.Sprint(p.target.Port)+" "+p.target.Address,
		"check host key: %s has no key of the types in %s (%s); it has %s", p.target.endpoint(), p.known, strings.Join(p.algorithms, ", "), list)
}

// pinHint tells how to make an unknown key known.
func (p *hostKeyPolicy) pinHint(key ssh.PublicKey) string {
	trust := "add this to "
	if !p.pinned && p.target.KnownHosts == nil {
		trust = "add it to known_hosts with\n    " + p.trustCommand("") + "\nor this to "
	}
	return fmt.Sprintf("Compare the fingerprint on the host's console:\n    %s\nIf it is the same, %s%s in deploy.toml:\n    %s",
		consoleCommand(key), trust, p.target.table(), pinLine(key))
}

func (p *hostKeyPolicy) trustCommand(option string) string {
	argv := []string{"hdeploy", "trust", p.target.destination}
	if option != "" {
		argv = append(argv, option)
	}
	line, err := Quote(argv)
	if err != nil {
		return "hdeploy help trust"
	}
	return line
}

func pinLine(key ssh.PublicKey) string { return fmt.Sprintf("host_keys = [%q]", keyLine(key)) }

func keyLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// consoleCommand prints the fingerprint on the host itself.
func consoleCommand(key ssh.PublicKey) string {
	file := "rsa"
	switch {
	case key.Type() == ssh.KeyAlgoED25519:
		file = "ed25519"
	case strings.HasPrefix(key.Type(), "ecdsa-"):
		file = "ecdsa"
	}
	return "ssh-keygen -lf /etc/ssh/ssh_host_" + file + "_key.pub"
}

func fingerprints(keys []knownKey) string {
	list := make([]string, 0, len(keys))
	for _, key := range keys {
		list = append(list, ssh.FingerprintSHA256(key))
	}
	return strings.Join(list, ", ")
}
