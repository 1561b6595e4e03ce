package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Host is one machine of a world. Its methods may be called concurrently, and from
// several processes.
type Host struct {
	Name    string
	Address string // IPv4, in the world's network only

	world  *World
	record hostRecord
}

// HostOptions say what a fresh host is made of.
type HostOptions struct {
	// Loader is GRUB or SystemdBoot; SystemdBoot if empty.
	Loader string
	// Plain makes a Debian host without any NixOS shape.
	Plain bool
	// HostName is what the host calls itself, its name in the lab if empty.
	HostName string
	// Disks are mount points that get an ext4 file system of their own, with its size
	// as truncate(1) writes it ("64M"). What the layers have there is copied into it.
	Disks map[string]string
}

// NewHost creates a host, boots it and waits until its sshd listens. A host of that name
// left by an earlier process is replaced.
func (w *World) NewHost(ctx context.Context, name string, options HostOptions) (*Host, error) {
	record := hostRecord{Name: name, HostName: options.HostName, Kind: kindHost, Lower: w.base.lower()}
	if options.Plain {
		record.Kind, record.Lower = kindPlain, w.image
	}
	if options.Loader == "" {
		options.Loader = SystemdBoot
	}
	if !options.Plain {
		record.Loader = options.Loader
	}
	host, err := w.create(ctx, record, func(host *Host, root *heldRoot) error {
		if options.Plain {
			return nil
		}
		return host.installFactory(ctx, root, options.Loader)
	}, options.Disks)
	if err != nil {
		return nil, err
	}
	if err := w.updateHosts(ctx); err != nil {
		return nil, err
	}
	return host, host.Boot(ctx)
}

// ErrNoHost says that a world has no host of the name.
var ErrNoHost = errors.New("no such host")

// Host finds a host by name. The error is ErrNoHost where there is none.
func (w *World) Host(name string) (*Host, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var record hostRecord
	err := readJSON(filepath.Join(w.hostsDir(), name, "host.json"), &record)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoHost
	}
	if err != nil {
		return nil, fmt.Errorf("find host %s in world %s: %w", name, w.Name, err)
	}
	return w.hostOf(record), nil
}

// Hosts lists all hosts of the world, the workstation among them, running or not.
func (w *World) Hosts() ([]*Host, error) {
	entries, err := os.ReadDir(w.hostsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list hosts: %v", err)
	}
	var hosts []*Host
	for _, entry := range entries {
		host, err := w.Host(entry.Name())
		if errors.Is(err, ErrNoHost) {
			// Its creation was interrupted before it had a number.
			host, err = w.hostOf(hostRecord{Name: entry.Name()}), nil
		}
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func (w *World) hostOf(record hostRecord) *Host {
	return &Host{Name: record.Name, Address: addressOf(record.Number).String(), world: w, record: record}
}

// HostKey is the host's SSH key as one line of known_hosts without the name.
func (h *Host) HostKey() string { return h.record.HostKey }

// hostName is what the host calls itself.
func (h *Host) hostName() string { return cmp.Or(h.record.HostName, h.Name) }

// Loader is GRUB, SystemdBoot or empty.
func (h *Host) Loader() string { return h.record.Loader }

// OtherSystem is a link on the host to a system that was never installed there and boots
// with the host's loader: what somebody switches to who does not use hdeploy.
func (h *Host) OtherSystem() string { return factoryDir + "/other-" + h.record.Loader }

// Ready reports whether the host was created completely.
func (h *Host) Ready() bool { return h.record.Ready }

// Kind is "host", "plain" or "workstation".
func (h *Host) Kind() string { return string(h.record.Kind) }

// ConsoleLog is the file on this machine that has everything the host's console showed.
func (h *Host) ConsoleLog() string { return filepath.Join(h.dir(), "console.log") }

func (h *Host) dir() string    { return filepath.Join(h.world.hostsDir(), h.Name) }
func (h *Host) port() string   { return portOf(h.record.Number) }
func (h *Host) cgroup() cgroup { return cgroupOf(h.world.Name, h.Name) }

// create makes the directory of a host and fills its root: what every host has, and what
// fill adds.
func (w *World) create(ctx context.Context, record hostRecord, fill func(*Host, *heldRoot) error, disks map[string]string) (*Host, error) {
	if err := w.claim(record.Name); err != nil {
		return nil, err
	}
	host, err := w.createClaimed(ctx, record, fill, disks)
	if err != nil {
		err = errors.Join(fmt.Errorf("create host %s: %w", record.Name, err),
			w.hostOf(record).remove(context.WithoutCancel(ctx)))
		w.unclaim(record.Name)
	}
	return host, err
}

func (w *World) createClaimed(ctx context.Context, record hostRecord, fill func(*Host, *heldRoot) error, disks map[string]string) (*Host, error) {
	// A crashed process can have left a host of this name.
	if err := w.hostOf(record).remove(ctx); err != nil {
		return nil, err
	}
	key, err := newKeyPair("root@" + record.Name)
	if err != nil {
		return nil, err
	}
	record.HostKey = key.public
	host, err := w.register(ctx, record)
	if err != nil {
		return nil, err
	}
	// Another host had this number, and its port may have been cut.
	if err := host.RestoreNetwork(ctx); err != nil {
		return nil, err
	}
	if err := host.fillRoot(ctx, key, fill, disks); err != nil {
		return nil, err
	}
	host.record.Ready = true
	return host, host.writeRecord()
}

// claim takes a name: two hosts of one name are a mistake of the caller.
func (w *World) claim(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.created[name] {
		return fmt.Errorf("create host %s: the name is taken", name)
	}
	w.created[name] = true
	return nil
}

func (w *World) unclaim(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.created, name)
}

// register gives the host its number and directory.
func (w *World) register(ctx context.Context, record hostRecord) (*Host, error) {
	unlock, err := lockRun(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	hosts, err := w.Hosts()
	if err != nil {
		return nil, err
	}
	var records []hostRecord
	for _, host := range hosts {
		records = append(records, host.record)
	}
	if record.Number, err = freeNumber(records); err != nil {
		return nil, err
	}
	host := w.hostOf(record)
	if err := os.Mkdir(host.dir(), 0o700); err != nil {
		return nil, fmt.Errorf("create host directory: %v", err)
	}
	if err := makeLayerDirs(host.dir()); err != nil {
		return nil, err
	}
	return host, host.writeRecord()
}

func (h *Host) writeRecord() error { return writeJSON(filepath.Join(h.dir(), "host.json"), h.record) }

// A pulled cable takes no address away: connections wait for it to be put back.
const networkFile = `[Match]
Name=host0
[Link]
RequiredForOnline=no
[Network]
Address=%s/%d
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
IgnoreCarrierLoss=yes
`

const localHosts = "127.0.0.1 localhost\n::1 localhost\n"

func (h *Host) fillRoot(ctx context.Context, key keyPair, fill func(*Host, *heldRoot) error, disks map[string]string) (err error) {
	unlock, err := h.lockPower(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.makeDisks(ctx, disks); err != nil {
		return err
	}
	root, err := holdRoot(ctx, h.dir(), h.record.Lower)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	network := fmt.Sprintf(networkFile, h.Address, prefixBits)
	err = errors.Join(
		root.writeFile("/etc/hostname", []byte(h.hostName()+"\n"), 0o644),
		root.writeFile("/etc/hosts", fmt.Appendf(nil, "%s127.0.0.2 %s\n", localHosts, h.hostName()), 0o644),
		root.writeFile("/etc/systemd/network/10-host0.network", []byte(network), 0o644),
		root.writeFile("/etc/ssh/ssh_host_ed25519_key", key.private, 0o600),
		root.writeFile("/etc/ssh/ssh_host_ed25519_key.pub", []byte(key.public+"\n"), 0o644),
	)
	if err != nil {
		return err
	}
	return fill(h, root)
}

// makeDisks creates the file systems for options.Disks, filled with what the layers have
// at their mount points. Created small, they can be filled up by a test.
func (h *Host) makeDisks(ctx context.Context, disks map[string]string) error {
	for mountPoint, size := range disks {
		if !filepath.IsAbs(mountPoint) || strings.Contains(mountPoint, ",") {
			return fmt.Errorf("create disk: mount point %q", mountPoint)
		}
		mountPoint = filepath.Clean(mountPoint)
		file := filepath.Join(h.dir(), "disks", strings.ReplaceAll(mountPoint, "/", ","))
		if err := h.makeDisk(ctx, file, mountPoint, size); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) makeDisk(ctx context.Context, file, mountPoint, size string) (err error) {
	root, err := holdRoot(ctx, h.dir(), h.record.Lower)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.makeDirs(mountPoint); err != nil {
		return err
	}
	content := fmt.Sprintf("/proc/%d/root%s%s", root.pid, root.path, mountPoint)
	temp := file + ".unfinished"
	defer func() { _ = os.Remove(temp) }()
	if err := run(ctx, "truncate", "-s", size, temp); err != nil {
		return err
	}
	if err := run(ctx, "mkfs.ext4", "-q", "-m", "0", "-d", content, temp); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// installFactory puts the host on its first generation, as an installer would.
func (h *Host) installFactory(ctx context.Context, root *heldRoot, loader string) error {
	if loader != GRUB && loader != SystemdBoot {
		return fmt.Errorf("install factory system: unknown loader %q", loader)
	}
	script := `set -eu
toplevel=$(readlink "$1")
ln -s "$toplevel" "$2-1-link"
ln -s "${2##*/}-1-link" "$2"
exec "$toplevel/bin/switch-to-configuration" boot`
	return root.run(ctx, []string{"NIXOS_INSTALL_BOOTLOADER=1", "NIXOS_NO_SYNC=1"},
		"/bin/sh", "-c", script, "install", filepath.Join(factoryDir, "factory-"+loader), systemLink)
}

// remove ends the host and deletes everything of it.
func (h *Host) remove(ctx context.Context) error {
	if err := h.cgroup().kill(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(h.dir()); err != nil {
		return fmt.Errorf("remove host %s: %v", h.Name, err)
	}
	return nil
}

// ReadFile reads a file of the host, running or off.
func (h *Host) ReadFile(ctx context.Context, name string) (data []byte, err error) {
	err = h.withRoot(ctx, func(root rootDir) error {
		data, err = root.readFile(name)
		return err
	})
	return data, err
}

// WriteFile writes a file of the host, running or off, and the directories above it.
func (h *Host) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	return h.withRoot(ctx, func(root rootDir) error { return root.writeFile(name, data, mode) })
}

// withRoot calls fn with the host's root, mounted for that time if the host is off.
func (h *Host) withRoot(ctx context.Context, fn func(rootDir) error) (err error) {
	if leader, ok := h.leader(); ok {
		root, err := openRootDir(fmt.Sprintf("/proc/%d/root", leader.PID))
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }()
		return fn(root)
	}
	unlock, err := h.lockPower(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	held, err := holdRoot(ctx, h.dir(), h.record.Lower)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	return fn(held.rootDir)
}
