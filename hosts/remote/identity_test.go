package remote_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// asker answers questions for passphrases, the last answer again and again.
type asker struct {
	answers []string
	asked   atomic.Int64
	// thinks is how long the person takes.
	thinks time.Duration
	last   atomic.Value
}

func (a *asker) ask(_ context.Context, question string) (string, error) {
	n := int(a.asked.Add(1))
	a.last.Store(question)
	time.Sleep(a.thinks)
	if len(a.answers) == 0 {
		return "", errors.New("nobody is here")
	}
	return a.answers[min(n, len(a.answers))-1], nil
}

func TestProtectedKeyIsAskedForOnceAndRun(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []string
		public  bool // whether the public file stays beside it
	}{
		{"OpenSSH's format", []string{"-t", "ed25519", "-N", "secret"}, false},
		{"PEM", []string{"-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"}, true},
		{"PEM, without its public file", []string{"-t", "ecdsa", "-m", "PEM", "-N", "secret"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := newKeyPair(t, "id_locked", c.options...)
			server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, key+".pub")}})
			if !c.public {
				if err := os.Remove(key + ".pub"); err != nil {
					t.Fatal(err)
				}
			}
			person := &asker{answers: []string{"sesame", "secret"}}
			target := targetOf(t, server, key)
			target.Passphrases = remote.NewPassphrases(person.ask)
			dial(t, target)
			dial(t, target)
			if n := person.asked.Load(); n != 2 {
				t.Errorf("asked %d times, want one wrong answer and one right", n)
			}
			if question := person.last.Load().(string); !strings.Contains(question, "not it") || !strings.Contains(question, key) {
				t.Errorf("the second question is %q", question)
			}
		})
	}
}

func TestProtectedKeyWithItsCertificate(t *testing.T) {
	authority, key := newKeyPair(t, "authority"), newKeyPair(t, "id_locked", "-N", "secret")
	certify(t, authority, key, "-n", "root")
	server := remotetest.Start(t, remotetest.Options{UserAuthority: readPublic(t, authority+".pub")})
	target := targetOf(t, server, key)
	target.Passphrases = remote.NewPassphrases((&asker{answers: []string{"secret"}}).ask)
	dial(t, target)
}

func TestPassphraseThatIsNeverRight(t *testing.T) {
	key := newKeyPair(t, "id_locked", "-N", "secret")
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, key+".pub")}})
	person := &asker{answers: []string{"wrong"}}
	target := targetOf(t, server, key)
	target.Passphrases = remote.NewPassphrases(person.ask)
	for range 2 {
		wantError(t, dialError(t, target), remote.KeyUnreadable, "web1: log in as root: the host accepts "+key, "wrong 3 times", "ssh-add "+key)
	}
	if n := person.asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3 in the whole run", n)
	}
	target.Passphrases = remote.NewPassphrases((&asker{}).ask)
	wantError(t, dialError(t, target), remote.KeyUnreadable, "nobody is here", "ssh-add "+key)
}

func TestProtectedKeyThatTheHostRefusesIsNotAskedFor(t *testing.T) {
	server, target := setup(t, remotetest.Options{})
	person := &asker{answers: []string{"secret"}}
	target.IdentityFiles = append([]string{newKeyPair(t, "id_locked", "-N", "secret")}, target.IdentityFiles...)
	target.Passphrases = remote.NewPassphrases(person.ask)
	dial(t, target)
	if person.asked.Load() != 0 {
		t.Error("asked for a key that the host does not know")
	}
	if n := server.Offered.Load(); n < 2 {
		t.Errorf("%d keys were offered", n)
	}
}

// Nobody types a passphrase within the time that a connection may take.
func TestTimeToAnswerDoesNotCount(t *testing.T) {
	key := newKeyPair(t, "id_locked", "-N", "secret")
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, key+".pub")}})
	target := targetOf(t, server, key)
	target.ConnectTimeout = 2 * time.Second
	target.Passphrases = remote.NewPassphrases((&asker{answers: []string{"secret"}, thinks: 2200 * time.Millisecond}).ask)
	dial(t, target)
}

// A host that hung up while a person was typing is asked again, once, with the answer.
func TestHostThatHungUpMeanwhileIsDialedAgain(t *testing.T) {
	key := newKeyPair(t, "id_locked", "-N", "secret")
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, key+".pub")}})
	target := targetOf(t, server, key)
	asked := 0
	target.Passphrases = remote.NewPassphrases(func(context.Context, string) (string, error) {
		asked++
		server.Cut()
		return "secret", nil
	})
	dial(t, target)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestIdentitiesOnly(t *testing.T) {
	held, named := newKeyPair(t, "id_held"), newKeyPair(t, "id_named")
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, named+".pub"), readPublic(t, held+".pub")}})
	target := targetOf(t, server, named)
	target.AgentSocket = realAgent(t, held, named)
	target.SSH.IdentitiesOnly = true
	t.Run("a key file that the agent holds", func(t *testing.T) {
		dial(t, target)
		if n := server.Offered.Load(); n == 0 {
			t.Error("nothing was offered")
		}
	})
	t.Run("a public file in place of the private one", func(t *testing.T) {
		target := target
		target.IdentityFiles = []string{held + ".pub"}
		dial(t, target)
	})
	t.Run("nothing else", func(t *testing.T) {
		target := target
		target.IdentityFiles = []string{newKeyPair(t, "id_other")}
		fault := wantError(t, dialError(t, target), remote.LoginRefused, "id_other")
		if strings.Contains(fault.Error(), "agent:") {
			t.Errorf("offered a key of the agent: %v", fault)
		}
	})
	t.Run("IdentityFile none", func(t *testing.T) {
		target := target
		target.IdentityFiles, target.DefaultIdentityFiles, target.SSH.IdentityFiles = nil, []string{named}, []string{}
		wantError(t, dialError(t, target), remote.NoKeys, "IdentitiesOnly")
		target.SSH.IdentityFiles = nil
		dial(t, target)
	})
	t.Run("no file at all", func(t *testing.T) {
		target := target
		target.IdentityFiles = nil
		wantError(t, dialError(t, target), remote.NoKeys, "IdentitiesOnly")
	})
	t.Run("a public file that the agent does not hold", func(t *testing.T) {
		target := target
		target.IdentityFiles = []string{newKeyPair(t, "id_other") + ".pub"}
		wantError(t, dialError(t, target), remote.KeyUnreadable, "the agent does not hold its private one")
	})
}

func TestIdentityAgent(t *testing.T) {
	key := newKeyPair(t, "id_held")
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{readPublic(t, key+".pub")}})
	socket := realAgent(t, key)
	target := targetOf(t, server, "")
	target.IdentityFiles = nil
	t.Run("a socket", func(t *testing.T) {
		target.SSH.IdentityAgent = socket
		dial(t, target)
	})
	t.Run("that is not there", func(t *testing.T) {
		target := target
		target.SSH.IdentityAgent, target.IdentityFiles = "/nonexistent/agent", []string{newKeyPair(t, "id_other")}
		wantError(t, dialError(t, target), remote.LoginRefused, "id_other", "the SSH agent does not answer: ", "/nonexistent/agent")
	})
	t.Run("a variable", func(t *testing.T) {
		t.Setenv("MY_AGENT", socket)
		target.SSH.IdentityAgent = "$MY_AGENT"
		dial(t, target)
	})
	t.Run("none", func(t *testing.T) {
		t.Setenv("SSH_AUTH_SOCK", socket)
		target.SSH.IdentityAgent = "none"
		wantError(t, dialError(t, target), remote.NoKeys, "IdentityAgent none")
		target.SSH.IdentityAgent = "SSH_AUTH_SOCK"
		dial(t, target)
	})
}

// A server that allows few tries hangs up before it has seen all keys. No second
// connection goes on where the first was cut: that is what sshd punishes.
func TestTooManyKeys(t *testing.T) {
	server, target := setup(t, remotetest.Options{MaxAuthTries: 3})
	target.AgentSocket = realAgent(t, newKeyPair(t, "one"), newKeyPair(t, "two"), newKeyPair(t, "three"), newKeyPair(t, "four"))
	named := target.IdentityFiles
	dial(t, target) // the named one first
	target.IdentityFiles, target.DefaultIdentityFiles = nil, named
	before := server.Offered.Load()
	wantError(t, dialError(t, target), remote.LoginRefused, "web1: log in as root: the host hung up after its MaxAuthTries", "agent: one", "identity_files for web1", "IdentitiesOnly")
	if n := server.Offered.Load() - before; n != 3 {
		t.Errorf("%d keys were offered after the login", n)
	}
}

// fidoAgent holds one FIDO key, whose signatures it makes as a token does.
type fidoAgent struct {
	agent.Agent
	private ed25519.PrivateKey
	touched atomic.Int64
}

const fidoApplication = "ssh:"

func (f *fidoAgent) public() ssh.PublicKey {
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, f.private.Public().(ed25519.PublicKey), fidoApplication})
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		panic(err)
	}
	return public
}

func (f *fidoAgent) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: ssh.KeyAlgoSKED25519, Blob: f.public().Marshal(), Comment: "token"}}, nil
}

func (f *fidoAgent) Sign(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	f.touched.Add(1)
	const present = 1
	application, message := sha256.Sum256([]byte(fidoApplication)), sha256.Sum256(data)
	counter := binary.BigEndian.AppendUint32([]byte{present}, 7)
	signed := append(append(append([]byte{}, application[:]...), counter...), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(f.private, signed), Rest: counter}, nil
}

func TestFIDOKeyThroughTheAgent(t *testing.T) {
	token := &fidoAgent{Agent: agent.NewKeyring(), private: newPrivate(t)}
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				agent.ServeAgent(token, conn)
			}()
		}
	}()
	server := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{token.public()}})
	target := targetOf(t, server, "")
	target.AgentSocket, target.IdentityFiles = socket, nil
	dial(t, target)
	// The private file of such a key holds only a handle, which nothing here can use.
	target.IdentityFiles, target.SSH.IdentitiesOnly = []string{fidoFile(t, token.public())}, true
	dial(t, target)
	if token.touched.Load() != 2 {
		t.Errorf("touched %d times", token.touched.Load())
	}
	target.AgentSocket = startAgent(t)
	wantError(t, dialError(t, target), remote.KeyUnreadable, "a FIDO key, which works through the agent only: ssh-add "+target.IdentityFiles[0])
}

// fidoFile writes the private file of a FIDO key as ssh-keygen does, with a handle
// that no token knows.
func fidoFile(t *testing.T, public ssh.PublicKey) string {
	t.Helper()
	check := uint32(42)
	private := ssh.Marshal(struct {
		Check1, Check2 uint32
		Type           string
		Key            []byte
		Application    string
		Flags          byte
		Handle, None   []byte
		Comment        string
	}{check, check, public.Type(), public.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey), fidoApplication, 1, []byte("handle"), nil, "token"})
	for pad := byte(1); len(private)%8 != 0; pad++ {
		private = append(private, pad)
	}
	container := append([]byte("openssh-key-v1\x00"), ssh.Marshal(struct {
		Cipher, KDF, Options string
		Count                uint32
		Public, Private      []byte
	}{"none", "none", "", 1, public.Marshal(), private})...)
	return writePEM(t, "id_ed25519_sk", "OPENSSH PRIVATE KEY", container)
}
