// Package remotetest is an SSH server for tests: the real protocol on a
// loopback port, with real commands and socket forwarding behind it.
//
// A server ends with its test, together with every process it started.
package remotetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Options are how a server differs from one that allows everything. They are
// read when the server starts.
type Options struct {
	// HostKeys defaults to a new Ed25519 key.
	HostKeys []ssh.Signer
	// Authorized are the keys that may log in; none of them, nobody.
	Authorized []ssh.PublicKey
	// UserAuthority certifies users, if it is there.
	UserAuthority ssh.PublicKey
	// MaxAuthTries is OpenSSH's setting (6).
	MaxAuthTries int
	// Listen is where the server listens (127.0.0.1:0).
	Listen string
	// Banner is shown before the login.
	Banner string
	// Shell runs the command lines (sh).
	Shell string
	// Noise is printed to standard output before each command, as a careless
	// shell profile does.
	Noise string
	// Terminals gives a command the terminal that it asks for.
	Terminals bool
	// NoPublicKeys, NoCommands, NoSFTP, NoStreamlocal and NoForwarding turn
	// features off.
	NoPublicKeys, NoCommands, NoSFTP, NoStreamlocal, NoForwarding bool
}

// Server is a running server.
type Server struct {
	HostKeys []ssh.Signer
	options  Options
	listener net.Listener
	config   *ssh.ServerConfig
	owned    sync.WaitGroup

	// Logins, Channels and Keepalives count what clients did.
	Logins, Channels, Keepalives atomic.Int64
	// Cipher holds the cipher of the latest login, Peer the IP address it came from,
	// Offered counts the keys that were asked about.
	Cipher, Peer atomic.Value
	Offered      atomic.Int64

	mu    sync.Mutex
	conns map[*stallable]bool
	dead  bool
}

// NewKey returns a new Ed25519 key.
func NewKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// Line prints a key as it stands in authorized_keys.
func Line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Start starts a server.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	if options.Shell == "" {
		options.Shell = "sh"
	}
	if len(options.HostKeys) == 0 {
		options.HostKeys = []ssh.Signer{NewKey(t)}
	}
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{HostKeys: options.HostKeys, options: options, listener: listener, conns: map[*stallable]bool{}}
	s.config = s.serverConfig()
	s.owned.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

func (s *Server) serverConfig() *ssh.ServerConfig {
	config := &ssh.ServerConfig{MaxAuthTries: s.options.MaxAuthTries, BannerCallback: func(ssh.ConnMetadata) string { return s.options.Banner }}
	if s.options.NoPublicKeys {
		config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, io.EOF }
	} else {
		config.PublicKeyCallback = s.authorize
	}
	for _, key := range s.options.HostKeys {
		config.AddHostKey(key)
	}
	return config
}

func (s *Server) authorize(user ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	s.Offered.Add(1)
	if _, certified := key.(*ssh.Certificate); certified && s.options.UserAuthority != nil {
		checker := ssh.CertChecker{IsUserAuthority: func(authority ssh.PublicKey) bool {
			return string(authority.Marshal()) == string(s.options.UserAuthority.Marshal())
		}}
		return checker.Authenticate(user, key)
	}
	for _, allowed := range s.options.Authorized {
		if string(allowed.Marshal()) == string(key.Marshal()) {
			return nil, nil
		}
	}
	return nil, io.EOF
}

// Address is the IP address of the server.
func (s *Server) Address() string { return s.listener.Addr().(*net.TCPAddr).IP.String() }

// Port is the port of the server.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// HostKeyLines are the host keys as they stand in authorized_keys.
func (s *Server) HostKeyLines() []string {
	var lines []string
	for _, key := range s.HostKeys {
		lines = append(lines, Line(key.PublicKey()))
	}
	return lines
}

// Cut closes every connection, as a crash of the host does.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Conn.Close()
		conn.resume()
	}
}

// Stall makes the server deaf and dumb without closing anything, as a network
// does that drops all packets.
func (s *Server) Stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.stall()
	}
}

// Close ends the server.
func (s *Server) Close() {
	s.mu.Lock()
	s.dead = true
	s.mu.Unlock()
	s.listener.Close()
	s.Cut()
	s.owned.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.owned.Go(func() { s.serve(&stallable{Conn: conn, open: opened()}) })
	}
}

func (s *Server) serve(conn *stallable) {
	defer conn.Close()
	s.mu.Lock()
	if s.dead {
		s.mu.Unlock()
		return
	}
	s.conns[conn] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	client, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	s.Peer.Store(conn.RemoteAddr().(*net.TCPAddr).IP.String())
	s.Logins.Add(1)
	if algorithms, ok := client.Conn.(ssh.AlgorithmsConnMetadata); ok {
		s.Cipher.Store(algorithms.Algorithms().Read.Cipher)
	}
	var owned sync.WaitGroup
	defer owned.Wait()
	owned.Go(func() { s.global(requests) })
	for channel := range channels {
		s.Channels.Add(1)
		owned.Go(func() { s.open(channel) })
	}
}

func (s *Server) global(requests <-chan *ssh.Request) {
	for request := range requests {
		if request.Type == "keepalive@openssh.com" {
			s.Keepalives.Add(1)
		}
		if request.WantReply {
			request.Reply(false, nil)
		}
	}
}

func (s *Server) open(channel ssh.NewChannel) {
	switch channel.ChannelType() {
	case "session":
		s.session(channel)
	case "direct-streamlocal@openssh.com":
		if s.options.NoStreamlocal {
			// What OpenSSH answers, forbidden or not there.
			channel.Reject(ssh.ConnectionFailed, "open failed")
			return
		}
		var target struct {
			Path     string
			Reserved string
			Port     uint32
		}
		ssh.Unmarshal(channel.ExtraData(), &target)
		join(channel, "unix", target.Path)
	case "direct-tcpip":
		if s.options.NoForwarding {
			channel.Reject(ssh.Prohibited, "open failed")
			return
		}
		var target struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}
		ssh.Unmarshal(channel.ExtraData(), &target)
		join(channel, "tcp", net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port))))
	default:
		channel.Reject(ssh.UnknownChannelType, "unknown channel type")
	}
}

// join connects a channel with a socket and passes on each end of data.
func join(channel ssh.NewChannel, network, address string) {
	conn, err := net.Dial(network, address)
	if err != nil {
		channel.Reject(ssh.ConnectionFailed, "open failed")
		return
	}
	defer conn.Close()
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	defer stream.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(stream, conn)
		stream.CloseWrite()
	})
	io.Copy(conn, stream)
	conn.(interface{ CloseWrite() error }).CloseWrite()
	back.Wait()
}

func (s *Server) session(channel ssh.NewChannel) {
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	defer stream.Close()
	terminal := false
	for request := range requests {
		var payload struct{ Text string }
		ssh.Unmarshal(request.Payload, &payload)
		switch {
		case request.Type == "pty-req" && s.options.Terminals:
			terminal = true
			request.Reply(true, nil)
		case request.Type == "exec" && terminal:
			request.Reply(true, nil)
			s.runOnTerminal(stream, requests, payload.Text)
			return
		case request.Type == "exec" && !s.options.NoCommands:
			request.Reply(true, nil)
			s.run(stream, requests, payload.Text)
			return
		case request.Type == "subsystem" && payload.Text == "sftp" && !s.options.NoSFTP:
			request.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			if server, err := sftp.NewServer(stream); err == nil {
				server.Serve()
			}
			return
		case request.WantReply:
			request.Reply(false, nil)
		}
	}
}

// run runs a command line as sshd does, and kills it when the client asks for
// it or is gone.
func (s *Server) run(stream ssh.Channel, requests <-chan *ssh.Request, line string) {
	io.WriteString(stream, s.options.Noise)
	command := exec.Command(s.options.Shell, "-c", line)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Stdout, command.Stderr = stream, stream.Stderr()
	stdin, err := command.StdinPipe()
	if err != nil {
		return
	}
	if err := command.Start(); err != nil {
		io.WriteString(stream.Stderr(), err.Error())
		exitStatus(stream, 127)
		return
	}
	go func() {
		io.Copy(stdin, stream)
		stdin.Close()
	}()
	ended := make(chan struct{})
	go func() {
		for request := range requests {
			if request.Type == "signal" {
				killGroup(command, ended)
			}
		}
		killGroup(command, ended)
	}()
	command.Wait()
	close(ended)
	status := command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		stream.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name     string
			Dumped   bool
			Message  string
			Language string
		}{Name: signalName(status.Signal())}))
		return
	}
	exitStatus(stream, uint32(status.ExitStatus()))
}

// killGroup spares the process id once it may belong to somebody else.
func killGroup(command *exec.Cmd, ended <-chan struct{}) {
	select {
	case <-ended:
	default:
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
	}
}

func signalName(signal syscall.Signal) string {
	names := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM", syscall.SIGSEGV: "SEGV"}
	return names[signal]
}

func exitStatus(stream ssh.Channel, code uint32) {
	stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
}
