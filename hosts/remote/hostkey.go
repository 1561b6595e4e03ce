package remote

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyPolicy decides about the key that a host shows.
type hostKeyPolicy struct {
	target Target
	// algorithms are what to ask the host for: a host has several keys, and
	// would otherwise show one that is not the known one.
	algorithms []string
	// judge returns nil for the right key.
	judge func(address string, remote net.Addr, key ssh.PublicKey) error
	// known describes where the expected keys stand.
	known string
}

// preferredHostKeys is the order in which a host without a known key is asked.
var preferredHostKeys = []string{
	ssh.KeyAlgoED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

func newHostKeyPolicy(t Target) (*hostKeyPolicy, error) {
	if len(t.HostKeys) > 0 {
		return pinnedPolicy(t)
	}
	return knownHostsPolicy(t)
}

// pinnedPolicy accepts the keys of the target and no others.
func pinnedPolicy(t Target) (*hostKeyPolicy, error) {
	p := &hostKeyPolicy{target: t, known: "host_keys in deploy.toml"}
	var pinned []ssh.PublicKey
	for _, line := range t.HostKeys {
		if keyType, ok := placeholder(line); ok {
			p.algorithms = append(p.algorithms, algorithmsOf(keyType)...)
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, t.fail(KnownHostsUnreadable, "write the key as ssh-keyscan prints it, without the name in front",
				"read host key %q: %s", printable(line), plain(err))
		}
		pinned = append(pinned, key)
		p.algorithms = append(p.algorithms, algorithmsOf(key.Type())...)
	}
	p.judge = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		for _, want := range pinned {
			if bytes.Equal(want.Marshal(), key.Marshal()) {
				return nil
			}
		}
		if len(pinned) == 0 {
			return p.unknown(key)
		}
		return p.changed(key, fingerprints(pinned), "")
	}
	return p, nil
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
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// knownHostsPolicy accepts what the user's SSH would accept without asking.
func knownHostsPolicy(t Target) (*hostKeyPolicy, error) {
	p := &hostKeyPolicy{target: t, algorithms: preferredHostKeys}
	files := slices.DeleteFunc(slices.Clone(t.KnownHostsFiles), func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	})
	p.known = strings.Join(files, " and ")
	db, err := knownhosts.NewDB(files...)
	if err != nil {
		return nil, t.fail(KnownHostsUnreadable, "correct or remove that line, or pin the key: host_keys in deploy.toml",
			"read known hosts: %s", plain(err))
	}
	if known := db.HostKeyAlgorithms(t.endpoint()); len(known) > 0 {
		// Not ssh-rsa itself: it stands for SHA-1 signatures.
		p.algorithms = slices.DeleteFunc(known, func(a string) bool { return a == ssh.KeyAlgoRSA })
	}
	check := db.HostKeyCallback()
	p.judge = func(address string, remote net.Addr, key ssh.PublicKey) error {
		err := check(address, remote, key)
		if err == nil {
			return nil
		}
		return p.refuse(err, key)
	}
	return p, nil
}

func (p *hostKeyPolicy) refuse(err error, key ssh.PublicKey) error {
	var revoked *xknownhosts.RevokedError
	if errors.As(err, &revoked) {
		place := fmt.Sprintf("%s:%d", revoked.Revoked.Filename, revoked.Revoked.Line)
		return p.target.fail(HostKeyChanged, "do not log in; the key was revoked on purpose",
			"check host key: %s is revoked in %s", ssh.FingerprintSHA256(key), place)
	}
	var mismatch *xknownhosts.KeyError
	if !errors.As(err, &mismatch) {
		// A certificate by an authority that does not vouch for this host.
		return p.target.fail(HostKeyUnknown, p.pinHint(key), "check host key %s: %s", ssh.FingerprintSHA256(key), plain(err))
	}
	if len(mismatch.Want) == 0 {
		return p.unknown(key)
	}
	var want []ssh.PublicKey
	for _, entry := range mismatch.Want {
		want = append(want, entry.Key)
	}
	first := mismatch.Want[0]
	return p.changed(key, fingerprints(want), fmt.Sprintf("%s:%d", first.Filename, first.Line))
}

// unknown refuses a key that nothing is known about.
func (p *hostKeyPolicy) unknown(key ssh.PublicKey) error {
	return p.target.fail(HostKeyUnknown, p.pinHint(key),
		"check host key: the key of %s is not known; it shows %s %s", p.target.endpoint(), key.Type(), ssh.FingerprintSHA256(key))
}

// changed refuses a key that is not the known one. place is where the known
// one stands, or empty when it is pinned.
func (p *hostKeyPolicy) changed(key ssh.PublicKey, want, place string) error {
	hint := "If the host was installed anew, compare the fingerprint on its console:\n    " + consoleCommand(key) + "\nand only then replace the key"
	if place == "" {
		place = p.known
		hint += " of " + p.target.table() + " in deploy.toml:\n    " + pinLine(key)
	} else {
		name := knownhosts.Normalize(p.target.endpoint())
		file := place[:strings.LastIndexByte(place, ':')]
		command, err := Quote([]string{"ssh-keygen", "-R", name, "-f", file})
		if err == nil {
			hint += ": remove the old one with\n    " + command + "\nand pin the new one in " + p.target.table() + " of deploy.toml:\n    " + pinLine(key)
		}
	}
	return p.target.fail(HostKeyChanged, hint,
		"check host key: THE KEY OF %s IS NOT THE KNOWN ONE; somebody may stand in between: it shows %s %s, %s says %s",
		p.target.endpoint(), key.Type(), ssh.FingerprintSHA256(key), place, want)
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
	return fmt.Sprintf("Compare the fingerprint on the host's console:\n    %s\nIf it is the same, add this to %s in deploy.toml:\n    %s",
		consoleCommand(key), p.target.table(), pinLine(key))
}

func pinLine(key ssh.PublicKey) string {
	return fmt.Sprintf("host_keys = [%q]", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
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

func fingerprints(keys []ssh.PublicKey) string {
	list := make([]string, 0, len(keys))
	for _, key := range keys {
		list = append(list, ssh.FingerprintSHA256(key))
	}
	return strings.Join(list, ", ")
}
