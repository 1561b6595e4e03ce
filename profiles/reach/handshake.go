package reach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// Knock is a handshake with an sshd that ends before a login.
type Knock struct {
	// Address is an address or a name, Port the port.
	Address string
	Port    uint16
	// User is who is said to want in.
	User string
	// HostKeys are the keys that are believed, each "TYPE BASE64".
	HostKeys []string
}

func (k Knock) String() string { return net.JoinHostPort(k.Address, fmt.Sprint(k.Port)) }

// hostName is a name that means itself to ssh.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// zoneName is the name of an interface: that of an address may hold anything, and ssh
// reads what follows an @ in it as another host.
var zoneName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)

// Validate refuses what must not be handed to ssh.
func (k Knock) Validate() error {
	if a, err := netip.ParseAddr(k.Address); err != nil && !hostName.MatchString(k.Address) || a.Zone() != "" && !zoneName.MatchString(a.Zone()) {
		return fmt.Errorf("%q is neither an address nor the name of a host", probe.Clean(k.Address))
	}
	if !userName.MatchString(k.User) {
		return fmt.Errorf("%q is not the name of a user", probe.Clean(k.User))
	}
	if k.Port == 0 {
		return errors.New("0 is not a port")
	}
	if len(k.HostKeys) == 0 || len(k.HostKeys) > mostAsked {
		return fmt.Errorf("from 1 to %d host keys must be given", mostAsked)
	}
	for _, key := range k.HostKeys {
		parsed, ok := parseKey(key)
		if !ok || key != parsed.Type+" "+parsed.blob {
			return fmt.Errorf("%q is not a host key, TYPE BASE64", probe.Clean(key))
		}
	}
	return nil
}

var userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$`)

// ErrHostKey says that sshd shows a host key that is not believed.
var ErrHostKey = errors.New("it shows another host key")

// connectTimeout is how long ssh waits for the connection and for sshd's first words, in
// seconds.
const connectTimeout = "5"

// knockLimit is how long it may take: less than a look, which is then over with a verdict.
const knockLimit = 8 * time.Second

// hostAlias is the name that the host has in the file of believed keys.
const hostAlias = "hdeploy"

// Do makes the handshake with the ssh client of bin: host key, key exchange and the
// service of logins work, and no login is tried. OpenSSH from 9.8 on shuts out addresses
// that do this often. dir is a directory of this user alone. The error wraps [ErrHostKey]
// where another key was shown.
func (k Knock) Do(ctx context.Context, bin systemd.Manager, dir string) error {
	if err := k.Validate(); err != nil {
		return fmt.Errorf("knock at sshd: %v", err)
	}
	known, err := k.writeKnown(dir)
	if err != nil {
		return fmt.Errorf("knock at sshd: %v", err)
	}
	defer os.Remove(known)
	ctx, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin.Bin, "ssh"), k.arguments(known)...)
	cmd.Env = bin.Env()
	cmd.WaitDelay = time.Second
	said := &firstBytes{}
	cmd.Stderr = said
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("knock at %s: no end within %v", k, knockLimit)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("knock at %s: %v", k, err)
	}
	return k.heard(err == nil, said.String())
}

func (k Knock) arguments(known string) []string {
	args := []string{"-F", "/dev/null", "-T", "-n", "-l", k.User, "-p", fmt.Sprint(k.Port)}
	for _, option := range []string{
		"BatchMode=yes", "PreferredAuthentications=none", "PubkeyAuthentication=no", "NumberOfPasswordPrompts=0", "IdentityAgent=none",
		"StrictHostKeyChecking=yes", "UserKnownHostsFile=" + known, "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=" + hostAlias,
		"CheckHostIP=no", "UpdateHostKeys=no", "VerifyHostKeyDNS=no", "ControlMaster=no", "ControlPath=none", "ClearAllForwardings=yes",
		"ConnectTimeout=" + connectTimeout, "ConnectionAttempts=1", "LogLevel=ERROR",
	} {
		args = append(args, "-o", option)
	}
	return append(args, "--", k.Address, "true")
}

// writeKnown writes the believed keys into a file of its own.
func (k Knock) writeKnown(dir string) (string, error) {
	var text strings.Builder
	for _, key := range k.HostKeys {
		fmt.Fprintf(&text, "%s %s\n", hostAlias, key)
	}
	f, err := os.CreateTemp(dir, "known-hosts-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text.String())
	return f.Name(), errors.Join(err, f.Close())
}

// heard reads what ssh said. That no method of logins was left is said after the host
// key was verified; so is a login without any.
func (k Knock) heard(ended bool, said string) error {
	if ended {
		return nil
	}
	line := ""
	for l := range strings.Lines(said) {
		l = strings.TrimSpace(l)
		switch {
		case strings.Contains(l, ": Permission denied ("):
			return nil
		case strings.HasPrefix(l, "Host key verification failed"), strings.HasPrefix(l, "No ") && strings.Contains(l, " host key is known for "):
			return fmt.Errorf("knock at %s: %w", k, ErrHostKey)
		case l != "":
			line = l
		}
	}
	return fmt.Errorf("knock at %s: %s", k, probe.Clean(line))
}

// firstBytes keeps the first 64 KiB.
type firstBytes struct{ kept bytes.Buffer }

func (b *firstBytes) Write(p []byte) (int, error) {
	if room := 64<<10 - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *firstBytes) String() string { return b.kept.String() }

// knockable is the address at which a port can be knocked at from the host itself.
func knockable(listeners []netip.AddrPort, port uint16) (netip.AddrPort, bool) {
	var found []netip.Addr
	for _, l := range listeners {
		if l.Port() != port {
			continue
		}
		switch a := l.Addr(); {
		case a == netip.IPv4Unspecified():
			a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			found = append(found, a)
		case a == netip.IPv6Unspecified():
			found = append(found, netip.IPv6Loopback())
		default:
			found = append(found, a)
		}
	}
	if len(found) == 0 {
		return netip.AddrPort{}, false
	}
	slices.SortFunc(found, netip.Addr.Compare) // those of IPv4 come first
	return netip.AddrPortFrom(found[0], port), true
}
