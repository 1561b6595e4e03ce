package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// mostKeys is how many keys are offered: OpenSSH hangs up after six attempts,
// and the first, without a key, counts.
const mostKeys = 5

// keyring collects the keys for one login, in the order in which they are
// offered: those named by the user, those of the agent, those with a usual name.
type keyring struct {
	signers []ssh.Signer
	// names describes each signer, skipped each key that could not be used.
	names   []string
	skipped []string
	agent   []*agentKey
	// agentFault is why there is an agent that could not be asked.
	agentFault error
	agentConn  net.Conn
}

type agentKey struct {
	ssh.Signer
	comment string
}

// openKeyring reads the keys. The caller closes it after the login, because
// the agent signs during it.
func openKeyring(ctx context.Context, t Target) (*keyring, error) {
	k := &keyring{}
	k.askAgent(ctx, t.AgentSocket)
	for _, path := range t.IdentityFiles {
		k.addFile(path, true)
	}
	for _, key := range k.agent {
		k.add(key.Signer, "agent: "+key.comment)
	}
	for _, path := range t.DefaultIdentityFiles {
		k.addFile(path, false)
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
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			k.agentFault = errors.Join(err, conn.Close())
			return
		}
	}
	k.agentConn = conn
	client := agent.NewClient(conn)
	signers, err := client.Signers()
	if err != nil {
		k.agentFault = err
		return
	}
	for _, signer := range signers {
		key := &agentKey{Signer: signer, comment: ssh.FingerprintSHA256(signer.PublicKey())}
		if named, ok := signer.PublicKey().(*agent.Key); ok && named.Comment != "" {
			key.comment = printable(named.Comment)
		}
		k.agent = append(k.agent, key)
	}
}

// add offers a key, unless it is already offered or there are enough.
func (k *keyring) add(signer ssh.Signer, name string) {
	blob := signer.PublicKey().Marshal()
	for _, present := range k.signers {
		if bytes.Equal(present.PublicKey().Marshal(), blob) {
			return
		}
	}
	if len(k.signers) == mostKeys {
		k.skip(name, fmt.Sprintf("only %d keys are offered", mostKeys))
		return
	}
	k.signers = append(k.signers, signer)
	k.names = append(k.names, name)
}

func (k *keyring) skip(name, why string) {
	k.skipped = append(k.skipped, name+" ("+why+")")
}

// addFile offers a private key file. Its absence matters only if somebody
// named it.
func (k *keyring) addFile(path string, named bool) {
	pem, err := readKeyFile(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return
	}
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		k.skip(path, err.Error())
		return
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err == nil {
		k.add(signer, path)
		return
	}
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		k.skip(path, plain(err))
		return
	}
	if held := k.heldByAgent(path, locked.PublicKey); held != nil {
		k.add(held, path+" through the agent")
		return
	}
	k.skip(path, lockedKey)
}

const lockedKey = "protected by a passphrase and not in the agent"

func readKeyFile(path string) ([]byte, error) {
	const longest = 64 << 10
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, longest))
}

// heldByAgent finds the agent's signer for a locked key file. Old formats hide
// the public key too; it then stands in a file beside.
func (k *keyring) heldByAgent(path string, public ssh.PublicKey) ssh.Signer {
	if public == nil {
		line, err := readKeyFile(path + ".pub")
		if err != nil {
			return nil
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
			return nil
		}
	}
	for _, key := range k.agent {
		if bytes.Equal(key.PublicKey().Marshal(), public.Marshal()) {
			return key.Signer
		}
	}
	return nil
}

// empty explains why there is no key to offer.
func (k *keyring) empty(t Target) error {
	for _, skipped := range k.skipped {
		if path, ok := strings.CutSuffix(skipped, " ("+lockedKey+")"); ok {
			return t.fail(KeyUnreadable, unlockCommand(path, t.AgentSocket), "read keys: %s", strings.Join(k.skipped, "; "))
		}
	}
	if len(k.skipped) > 0 {
		return t.fail(KeyUnreadable, "name a readable private key: identity_files in deploy.toml", "read keys: %s", strings.Join(k.skipped, "; "))
	}
	why := "no SSH agent runs"
	switch {
	case k.agentFault != nil:
		why = "the SSH agent does not answer: " + plain(k.agentFault)
	case t.AgentSocket != "":
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
	tried := make([]string, len(k.signers))
	for i, signer := range k.signers {
		tried[i] = k.names[i] + " " + ssh.FingerprintSHA256(signer.PublicKey())
	}
	message := "log in as " + t.User + ": the host accepts none of these keys: " + strings.Join(tried, "; ")
	if len(k.skipped) > 0 {
		message += "; not tried: " + strings.Join(k.skipped, "; ")
	}
	hint := "add a public key to users.users." + t.User + ".openssh.authorizedKeys.keys on the host, or see why with\n    " + t.sshCommand()
	return t.fail(LoginRefused, hint, "%s (%s)", message, plain(cause))
}
