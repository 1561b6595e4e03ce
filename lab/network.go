package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// bridge connects all hosts of a world, inside the world's own network namespace.
const bridge = "lab0"

func (w *World) netns() string     { return "hdlab-" + w.Name }
func (w *World) netnsPath() string { return "/run/netns/" + w.netns() }

// ensureNetwork makes the network again after the machine was rebooted.
func (w *World) ensureNetwork(ctx context.Context) error {
	if w.hasNetwork() {
		return nil
	}
	unlock, err := lockRun(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return w.openNetwork(ctx)
}

func (w *World) hasNetwork() bool {
	var stat unix.Statfs_t
	return unix.Statfs(w.netnsPath(), &stat) == nil && stat.Type == unix.NSFS_MAGIC
}

// openNetwork creates what is missing of namespace and bridge.
func (w *World) openNetwork(ctx context.Context) error {
	if !w.hasNetwork() {
		// A file without a namespace is what a crash between two steps leaves.
		if err := os.RemoveAll(w.netnsPath()); err != nil {
			return fmt.Errorf("remove stale network namespace: %v", err)
		}
		if err := run(ctx, "ip", "netns", "add", w.netns()); err != nil {
			return err
		}
	}
	if run(ctx, "ip", "-n", w.netns(), "link", "show", "dev", bridge) != nil {
		if err := w.ip(ctx, "link", "add", bridge, "type", "bridge", "forward_delay", "0"); err != nil {
			return err
		}
	}
	address := fmt.Sprintf("%s/%d", addressOf(1), prefixBits)
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "replace", address, "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if err := w.ip(ctx, args...); err != nil {
			return err
		}
	}
	if run(ctx, "nsenter", "--net="+w.netnsPath(), "--", "nft", "list", "table", "bridge", "lab") == nil {
		return nil
	}
	return w.nft(ctx, cutRules)
}

func (w *World) closeNetwork(ctx context.Context) error {
	if _, err := os.Stat(w.netnsPath()); err != nil {
		return nil
	}
	if !w.hasNetwork() {
		return os.RemoveAll(w.netnsPath())
	}
	return run(ctx, "ip", "netns", "del", w.netns())
}

func (w *World) ip(ctx context.Context, args ...string) error {
	return run(ctx, append([]string{"ip", "-n", w.netns()}, args...)...)
}

// inNetwork calls fn on a thread that is in the world's network. A socket belongs for
// ever to the network it was made in, so fn may return it.
func (w *World) inNetwork(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and no other one
		// finds itself in a foreign network.
		runtime.LockOSThread()
		result <- func() error {
			namespace, err := os.Open(w.netnsPath())
			if err != nil {
				return fmt.Errorf("open network namespace: %v", err)
			}
			defer func() { _ = namespace.Close() }()
			if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %v", err)
			}
			return fn()
		}()
	}()
	return <-result
}

// Dial connects to an address of the lab, which only exists in the world's network.
// The address must be numeric.
func (w *World) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = w.inNetwork(func() error {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// The rules know ports by name, so that they hold for the new port a host gets at every
// boot. Taking the port down instead would be noticed inside the host, and takes up to a
// second to undo.
const cutRules = `
table bridge lab {
	set cut { type ifname; }
	chain from { type filter hook prerouting priority 0; iifname @cut drop; }
	chain to { type filter hook postrouting priority 0; oifname @cut drop; }
}`

// CutNetwork loses every packet to and from the host from now on, across reboots and
// power cuts too, until RestoreNetwork.
func (h *Host) CutNetwork(ctx context.Context) error {
	return h.world.nft(ctx, fmt.Sprintf("add element bridge lab cut { %q }", h.port()))
}

// RestoreNetwork undoes CutNetwork.
func (h *Host) RestoreNetwork(ctx context.Context) error {
	// Only what is there can be deleted; adding what is there is no error.
	return h.world.nft(ctx, fmt.Sprintf("add element bridge lab cut { %[1]q }; delete element bridge lab cut { %[1]q }", h.port()))
}

func (w *World) nft(ctx context.Context, rules string) error {
	return run(ctx, "nsenter", "--net="+w.netnsPath(), "--", "nft", rules)
}

// LimitBandwidth limits what the host can receive to rate, written as tc(8) does
// ("10mbit"). The empty rate lifts the limit. It holds across reboots and power cuts.
func (h *Host) LimitBandwidth(ctx context.Context, rate string) error {
	file := filepath.Join(h.dir(), "rate")
	// Without a queue of its own the port has the kernel's default, which limits nothing.
	lift := []string{"sh", "-c", `tc qdisc del dev "$1" root 2>/dev/null || true`, "lift", h.port()}
	if rate == "" {
		if err := os.RemoveAll(file); err != nil {
			return fmt.Errorf("lift bandwidth limit: %v", err)
		}
		return h.onPort(ctx, lift...)
	}
	if err := os.WriteFile(file, []byte(rate+"\n"), 0o600); err != nil {
		return fmt.Errorf("limit bandwidth: %v", err)
	}
	return h.onPort(ctx, "tc", "qdisc", "replace", "dev", h.port(), "root",
		"tbf", "rate", rate, "burst", "64kb", "latency", "100ms")
}

// onPort runs a command in the world's network if the host has a port there now.
func (h *Host) onPort(ctx context.Context, command ...string) error {
	if !h.Running() {
		return nil
	}
	enter := []string{"nsenter", "--net=" + h.world.netnsPath(), "--"}
	return run(ctx, append(enter, command...)...)
}

// DelayProxy starts a TCP proxy in front of target ("address:port") that adds a round
// trip time to the connection set-up and to all data, and limits no throughput. It is
// reachable from every host of the world at the returned address until stop is called.
func (w *World) DelayProxy(ctx context.Context, target string, rtt time.Duration) (addr string, stop func(), err error) {
	var listener net.Listener
	err = w.inNetwork(func() error {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, "tcp4", net.JoinHostPort(addressOf(1).String(), "0"))
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("start delay proxy: %v", err)
	}
	dial := func(ctx context.Context) (net.Conn, error) { return w.Dial(ctx, "tcp4", target) }
	return listener.Addr().String(), startDelay(ctx, listener, dial, rtt), nil
}
