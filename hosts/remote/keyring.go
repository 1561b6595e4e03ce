package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// mostKeys is how many keys are offered: OpenSSH hangs up after MaxAuthTries, six
// where nobody says otherwise, and punishes the address for it.
const mostKeys = 5

// keyring collects the keys for one login, in the order in which they are
// offered: those named by the user, those of the agent, those with a usual name.
// The certificate of a key comes before the key.
type keyring struct {
	signers []ssh.Signer
	// names describes each signer, skipped each key that could not be used.
	names   []string
	skipped []string
	// locked are key files that nobody opened.
	locked []string
	agent  []agentKey
	// agentFault is why there is an agent that could not be asked.
	agentFault error
	agentConn  net.Conn
	// certificates are those of CertificateFile that wait for their key.
	certificates []certificateFile
	passphrases  *Passphrases
	leastRSA     int // RequiredRSASize
	budget       *budget
	ctx          context.Context // of the login, for who is asked during it
	// fault is why a key could not sign that the host would have accepted.
	fault error
	// faulty names that key.
	faulty string
}

// openKeyring reads the keys. The caller closes it after the login, because
// the agent signs during it.
func openKeyring(ctx context.Context, t Target, b *budget) (*keyring, error) {
	k := &keyring{ctx: ctx, budget: b, passphrases: t.Passphrases, leastRSA: t.SSH.RequiredRSASize}
	if len(t.Identities) > 0 {
		for _, identity := range t.Identities {
			k.add(identity.signer, identity.Name)
		}
		if len(k.signers) == 0 {
			return nil, k.empty(t)
		}
		return k, nil
	}
	k.askAgent(ctx, t.agentSocket())
	for _, path := range t.SSH.CertificateFiles {
		k.readCertificate(path)
	}
	for _, path := range t.IdentityFiles {
		k.addFile(path, true)
	}
	k.addCertificatesOfAgent()
	if !t.SSH.IdentitiesOnly {
		for _, key := range k.agent {
			k.add(key.signer, "agent: "+key.comment)
		}
	}
	if none := t.SSH.IdentityFiles != nil; len(t.IdentityFiles) == 0 && !none {
		for _, path := range t.DefaultIdentityFiles {
			k.addFile(path, false)
		}
	}
	for _, c := range k.certificates {
		if !c.used {
			k.skip(c.path, "its key is neither in the agent nor among the identity files")
		}
	}
	if len(k.signers) == 0 {
		k.close()
		return nil, k.empty(t)
	}
	return k, nil
}

func (k *keyring) close() {
	if k.agentConn != nil {
		k.agentConn.Close()
	}
}

// add offers a key, unless it is already offered or there are enough.
func (k *keyring) add(signer ssh.Signer, name string) {
	blob := signer.PublicKey().Marshal()
	if slices.ContainsFunc(k.signers, func(present ssh.Signer) bool { return bytes.Equal(present.PublicKey().Marshal(), blob) }) {
		return
	}
	if bits := rsaSize(signer.PublicKey()); bits > 0 && bits < k.leastRSA {
		k.skip(name, fmt.Sprintf("an RSA key of %d bits, and RequiredRSASize is %d", bits, k.leastRSA))
		return
	}
	if len(k.signers) == mostKeys {
		k.skip(name, fmt.Sprintf("only %d keys are offered", mostKeys))
		return
	}
	k.signers = append(k.signers, onceOnly(signer))
	k.names = append(k.names, name)
}

// onceOnly keeps the library from offering a refused RSA certificate a second time, with
// SHA-1: together with the others that could be more than the host's MaxAuthTries.
func onceOnly(signer ssh.Signer) ssh.Signer {
	able, ok := signer.(ssh.AlgorithmSigner)
	if !ok || signer.PublicKey().Type() != ssh.CertAlgoRSAv01 {
		return signer
	}
	if once, err := ssh.NewSignerWithAlgorithms(able, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}); err == nil {
		return once
	}
	return signer
}

func (k *keyring) skip(name, why string) {
	k.skipped = append(k.skipped, name+" ("+why+")")
}

// failed remembers why a key could not sign: the library goes on to the next way to
// log in and forgets it.
func (k *keyring) failed(name string, err error) {
	if err != nil && k.fault == nil {
		k.fault, k.faulty = err, name
	}
}

// empty explains why there is no key to offer.
func (k *keyring) empty(t Target) error {
	if len(k.locked) > 0 {
		return t.fail(KeyUnreadable, unlockCommand(k.locked[0], t.agentSocket()), "read keys: %s", strings.Join(k.skipped, "; "))
	}
	if len(k.skipped) > 0 {
		return t.fail(KeyUnreadable, "name a readable private key: identity_files in deploy.toml", "read keys: %s", strings.Join(k.skipped, "; "))
	}
	socket, why := t.agentSocket(), "no SSH agent runs"
	switch {
	case k.agentFault != nil:
		why = "the SSH agent does not answer: " + plain(k.agentFault)
	case t.SSH.IdentityAgent == "none":
		why = "ssh_config says IdentityAgent none"
	case socket != "" && t.SSH.IdentitiesOnly:
		why = "ssh_config says IdentitiesOnly"
	case socket != "":
		why = "the SSH agent holds no key"
	}
	return t.fail(NoKeys, "add a key to the agent with ssh-add, name one with identity_files in deploy.toml, or make one with\n    ssh-keygen -t ed25519",
		"read keys: there is no key to log in with: %s, and none of these exist: %s", why, strings.Join(t.DefaultIdentityFiles, ", "))
}

func unlockCommand(path, socket string) string {
	command, err := Quote([]string{"ssh-add", path})
	if err != nil {
		return ""
	}
	if socket == "" {
		command = `eval "$(ssh-agent)" && ` + command
	}
	return command
}

// refused explains a host that accepted none of the keys.
func (k *keyring) refused(t Target, cause error) error {
	hint := "add a public key to users.users." + t.User + ".openssh.authorizedKeys.keys on the host, or see why with\n    " + t.sshCommand()
	return t.fail(LoginRefused, hint, "log in as %s: the host accepts none of these keys: %s (%s)", t.User, k.tried(), plain(cause))
}

// tooMany explains a host that hung up before it had seen all keys. Another
// connection with the rest of them would look like an attack, and be punished.
func (k *keyring) tooMany(t Target) error {
	return t.fail(LoginRefused, "name the right key, and only that: identity_files for "+t.Host+" in deploy.toml, or IdentityFile with IdentitiesOnly in ssh_config",
		"log in as %s: the host hung up after its MaxAuthTries, before it had seen all of these keys: %s", t.User, k.tried())
}

func (k *keyring) tried() string {
	tried := make([]string, len(k.signers))
	for i, signer := range k.signers {
		tried[i] = k.names[i] + " " + ssh.FingerprintSHA256(signer.PublicKey())
	}
	text := strings.Join(tried, "; ")
	if len(k.skipped) > 0 {
		text += "; not tried: " + strings.Join(k.skipped, "; ")
	}
	if k.agentFault != nil {
		text += "; the SSH agent does not answer: " + plain(k.agentFault)
	}
	return text
}

// unusable explains a key that the host accepts and that did not sign.
func (k *keyring) unusable(t Target) error {
	if errors.Is(k.fault, context.Canceled) {
		return t.fail(Canceled, "", "log in as %s: %w", t.User, context.Canceled)
	}
	hint := "see that the agent signs with it, and that a key that wants to be touched was:\n    ssh-add -T KEY.pub"
	if slices.Contains(k.locked, k.faulty) {
		hint = unlockCommand(k.faulty, t.agentSocket())
	}
	return t.fail(KeyUnreadable, hint, "log in as %s: the host accepts %s, which cannot be used: %s", t.User, k.faulty, plain(k.fault))
}
