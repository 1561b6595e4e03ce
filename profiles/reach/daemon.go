package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// daemon is sshd as the host's units start it.
type daemon struct {
	// program is the absolute path; args are those that choose its configuration.
	program string
	args    []string
	// global are its settings for nobody in particular.
	global Settings
	// listen are the addresses of the socket unit that starts it, where one does;
	// sshd's own settings of them say nothing then.
	listen []netip.AddrPort
}

// sshdUnits are the names that sshd has had. An instance of the template need not exist
// to be asked about.
var sshdUnits = []string{"sshd.service", "ssh.service", "sshd.socket", "ssh.socket", "sshd@hdeploy.service", "ssh@hdeploy.service"}

var errNoDaemon = errors.New("no unit starts sshd")

// daemon finds out how sshd is started, and asks it for its settings. The error wraps
// errNoDaemon where nothing starts one.
func (h Host) daemon(ctx context.Context) (daemon, error) {
	m, ok := h.has("systemctl")
	if !ok {
		return daemon{}, errors.New("the running system has no systemctl")
	}
	out, err := m.Output(ctx, "systemctl", append([]string{"show", "--property=Id,LoadState,ActiveState,ExecStart,Listen", "--"}, sshdUnits...)...)
	if err != nil {
		return daemon{}, fmt.Errorf("find sshd: %v", err)
	}
	d, err := parseDaemon(string(out))
	if err != nil {
		return d, err
	}
	d.global, err = d.ask(ctx)
	return d, err
}

// parseDaemon reads the blocks of `systemctl show`.
func parseDaemon(shown string) (daemon, error) {
	var d daemon
	for block := range strings.SplitSeq(shown, "\n\n") {
		values := map[string][]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[key] = append(values[key], value)
		}
		has := func(key, value string) bool { return slices.Contains(values[key], value) }
		if has("LoadState", "loaded") && has("ActiveState", "active") {
			for _, l := range values["Listen"] {
				if address, ok := parseListen(l); ok {
					d.listen = append(d.listen, address)
				}
			}
		}
		if d.program == "" && has("LoadState", "loaded") && len(values["ExecStart"]) > 0 {
			d.program, d.args = parseExec(values["ExecStart"][0])
		}
	}
	if d.program == "" {
		return d, errNoDaemon
	}
	return d, nil
}

// parseListen reads "[::]:22 (Stream)".
func parseListen(text string) (netip.AddrPort, bool) {
	text, ok := strings.CutSuffix(text, " (Stream)")
	address, err := netip.ParseAddrPort(text)
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()), ok && err == nil
}

// parseExec reads "{ path=/…/sshd ; argv[]=sshd -D -f /etc/ssh/sshd_config ; … }"; the
// path is empty where it is not sshd's.
func parseExec(text string) (path string, args []string) {
	for part := range strings.SplitSeq(strings.Trim(text, "{ }"), " ; ") {
		if value, ok := strings.CutPrefix(part, "path="); ok {
			path = value
		}
		if value, ok := strings.CutPrefix(part, "argv[]="); ok {
			args = strings.Fields(value)
		}
	}
	if filepath.Base(path) != "sshd" || !filepath.IsAbs(path) || len(args) == 0 {
		return "", nil
	}
	return path, chosen(args[1:])
}

// chosen are the arguments of sshd that say which configuration it has.
func chosen(args []string) []string {
	var kept []string
	for i := 0; i < len(args); i++ {
		flags, ok := strings.CutPrefix(args[i], "-")
		for ok && flags != "" {
			flag := flags[:1]
			flags = flags[1:]
			if strings.Contains("46", flag) {
				kept = append(kept, "-"+flag)
			}
			if !strings.Contains("bCcEfghkopu", flag) {
				continue
			}
			value := flags
			if value == "" && i+1 < len(args) {
				i++
				value = args[i]
			}
			if strings.Contains("cfhop", flag) && value != "" {
				kept = append(kept, "-"+flag, value)
			}
			break
		}
	}
	return kept
}

// ask is what `sshd -T` says, with the words of -C that a connection is told by.
func (d daemon) ask(ctx context.Context, about ...string) (Settings, error) {
	args := append(slices.Clone(d.args), "-T")
	if len(about) > 0 {
		args = append(args, "-C", strings.Join(about, ","))
	}
	out, err := systemd.Manager{Bin: filepath.Dir(d.program)}.Output(ctx, filepath.Base(d.program), args...)
	if err != nil {
		return nil, fmt.Errorf("ask sshd for its settings: %v", err)
	}
	s := parseSettings(string(out))
	if len(s["port"]) == 0 {
		return nil, errors.New("ask sshd for its settings: it named none")
	}
	return s, nil
}

// addresses are those that ssh should be listened for on.
func (d daemon) addresses() []netip.AddrPort {
	if len(d.listen) > 0 {
		return d.listen
	}
	var list []netip.AddrPort
	for _, text := range d.global["listenaddress"] {
		text, _, _ = strings.Cut(text, " rdomain ")
		if address, err := netip.ParseAddrPort(text); err == nil {
			list = append(list, netip.AddrPortFrom(address.Addr().Unmap(), address.Port()))
		}
	}
	return list
}

func (d daemon) ports() []uint16 {
	var ports []uint16
	for _, a := range d.addresses() {
		ports = append(ports, a.Port())
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// hostKeys are the public keys that it shows, "TYPE BASE64". A key without its public
// half beside it is left out.
func (d daemon) hostKeys() []string {
	var keys []string
	for _, path := range d.global["hostkey"] {
		text, err := readCapped(path + ".pub")
		if err != nil {
			continue
		}
		if k, ok := parseKeyLine(string(text)); ok {
			keys = append(keys, k.Type+" "+k.blob)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// listeners are the sockets that accept connections on the ports.
func listeners(ctx context.Context, ports []uint16) ([]netip.AddrPort, error) {
	all, err := probe.TCPSockets(ctx)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, s := range all {
		if s.Listens && slices.Contains(ports, s.Local.Port()) {
			list = append(list, s.Local)
		}
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list), nil
}

// fileLimit caps what is read of a file.
const fileLimit = 1 << 20

// readCapped reads a file that is one: nothing that a user puts in its place, such as a
// pipe, is waited for.
func readCapped(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(text) > fileLimit {
		err = fmt.Errorf("read %s: it is larger than %d bytes", path, fileLimit)
	}
	return text, err
}
