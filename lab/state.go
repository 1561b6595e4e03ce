package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// hostRecord is what a later process must know of a host.
type hostRecord struct {
	Name     string   `json:"name"`
	HostName string   `json:"hostName,omitempty"` // what it calls itself, Name if empty
	Number   int      `json:"number"`             // unique in the world; address and bridge port follow from it
	Kind     kind     `json:"kind"`
	Loader   string   `json:"loader,omitempty"`
	HostKey  string   `json:"hostKey"`         // one line as in known_hosts, without the host name
	Lower    string   `json:"lower"`           // the overlay's lower directories
	Binds    []string `json:"binds,omitempty"` // further arguments of systemd-nspawn
	Ready    bool     `json:"ready"`           // false while its root is being filled
}

type kind string

const (
	kindHost        kind = "host"        // NixOS-shaped, boots through lab-init
	kindPlain       kind = "plain"       // the Debian image as it is
	kindWorkstation kind = "workstation" // Debian with the deployer's key and binaries
)

// Hosts live in 10.44.0.0/16, a network that exists in the world's own namespace only.
// Number 1 is the bridge.
const (
	firstNumber = 2
	lastNumber  = 65534
	prefixBits  = 16
)

func addressOf(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 44, byte(number >> 8), byte(number)})
}

func portOf(number int) string    { return "vb-" + machineOf(number) }
func machineOf(number int) string { return fmt.Sprintf("h%d", number) }

// freeNumber is the smallest number that no host has.
func freeNumber(records []hostRecord) (int, error) {
	used := make(map[int]bool, len(records))
	for _, record := range records {
		used[record.Number] = true
	}
	for number := firstNumber; number <= lastNumber; number++ {
		if !used[number] {
			return number, nil
		}
	}
	return 0, errors.New("allocate address: the network is full")
}

// Names become file names, kernel object names and host names.
var nameShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func checkName(name string) error {
	if !nameShape.MatchString(name) {
		return fmt.Errorf("check name %q: want 1 to 32 lower-case letters, digits and inner dashes", name)
	}
	return nil
}

// writeJSON replaces path in one step: a reader sees the old value or the new one.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %v", filepath.Base(path), err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %v", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(append(data, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %v", path, err)
	}
	return nil
}

// readJSON fills value from path. The error is fs.ErrNotExist where there is no such file.
func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("read %s: %v", path, err)
	}
	return nil
}

// lockFile takes an exclusive lock that ends with the process, whatever happens to it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %v", err)
	}
	err = poll(ctx, 10*time.Millisecond, func() (bool, error) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}

// poll calls done until it says so, fails, or the context ends.
func poll(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if finished, err := done(); finished || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}
