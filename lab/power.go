package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bootTimeout bounds a boot; it takes one to two seconds on an idle machine.
const bootTimeout = 2 * time.Minute

// Boot switches the host on and waits until its sshd listens at its address, or until
// systemd is up without it. For a host that runs it only waits. A host that does not
// boot is an error with the end of its console.
func (h *Host) Boot(ctx context.Context) error {
	launched, err := h.powerOn(ctx)
	if err != nil {
		return err
	}
	err = h.WaitBoot(ctx)
	if launched || !errors.Is(err, errOff) {
		return err
	}
	// It still ran when it was looked at, on its way off.
	if _, err := h.powerOn(ctx); err != nil {
		return err
	}
	return h.WaitBoot(ctx)
}

// PowerOn switches the host on and does not wait for it.
func (h *Host) PowerOn(ctx context.Context) error {
	_, err := h.powerOn(ctx)
	return err
}

func (h *Host) powerOn(ctx context.Context) (launched bool, err error) {
	unlock, err := h.lockPower(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	// A launcher without a leader is about to end, or about to have another one.
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	err = poll(ctx, 5*time.Millisecond, func() (bool, error) {
		return h.Running() || !h.launcher().alive(), nil
	})
	if err != nil || h.Running() {
		return false, err
	}
	// What is left of a launcher that was killed must not run beside the new one.
	if err := h.cgroup().kill(ctx); err != nil {
		return false, err
	}
	if err := h.world.ensureNetwork(ctx); err != nil {
		return false, err
	}
	return true, h.launch()
}

// errOff says that a host went off while it was waited for.
var errOff = errors.New("it went off")

// PowerCut ends the host as if its plug were pulled: every process at the same instant.
// What it had written is there at the next Boot.
func (h *Host) PowerCut(ctx context.Context) error {
	unlock, err := h.lockPower(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.cgroup().kill(ctx); err != nil {
		return err
	}
	_ = h.launcher().alive() // collects the launcher where it is a child of this process
	return nil
}

// Reboot asks the host's systemd for a reboot and waits like Boot.
func (h *Host) Reboot(ctx context.Context) error {
	before, ok := h.leader()
	if !ok {
		return fmt.Errorf("reboot host %s: it does not run", h.Name)
	}
	if _, err := h.Exec(ctx, "systemctl", "reboot"); err != nil {
		return err
	}
	return h.WaitReboot(ctx, before.PID)
}

// LeaderPID is the id on this machine of the host's PID 1, 0 if it is off. It is another
// one after every boot.
func (h *Host) LeaderPID() int {
	leader, _ := h.leader()
	return leader.PID
}

// WaitReboot waits until the host whose PID 1 was before has booted again.
func (h *Host) WaitReboot(ctx context.Context, before int) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if !h.launcher().alive() {
			return false, errOff
		}
		now := h.LeaderPID()
		return now != 0 && now != before, nil
	})
	if err != nil {
		return h.bootFailure(err)
	}
	return h.WaitBoot(ctx)
}

// Running reports whether the host has a PID 1.
func (h *Host) Running() bool {
	_, ok := h.leader()
	return ok
}

// launch starts the host's launcher, which outlives this process.
func (h *Host) launch() error {
	console, err := os.OpenFile(h.ConsoleLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open console log: %v", err)
	}
	defer func() { _ = console.Close() }()
	args := []string{"--net=" + h.world.netnsPath(), "--", "unshare", "--mount", "--",
		"bash", "-c", launchScript, "launch.sh", "run", h.dir(), h.record.Lower, string(h.cgroup()), h.port()}
	cmd := exec.Command("nsenter", append(args, h.nspawnArgs()...)...) //nolint:noctx // no context ends it
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + debianPath, "LC_ALL=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start host %s: %v", h.Name, err)
	}
	launcher, err := identify(cmd.Process.Pid)
	if err == nil {
		err = writeJSON(filepath.Join(h.dir(), "launcher.json"), launcher)
	}
	if err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return cmd.Process.Release()
}

func (h *Host) nspawnArgs() []string {
	args := []string{"-M", machineOf(h.record.Number), "--hostname=" + h.hostName(), "--network-bridge=" + bridge}
	args = append(args, h.record.Binds...)
	if h.record.Kind == kindHost {
		return append(args, initPath)
	}
	return append(args, "-b")
}

// launcher is the process that started the host last; the zero process where there is none.
func (h *Host) launcher() process {
	var launcher process
	_ = readJSON(filepath.Join(h.dir(), "launcher.json"), &launcher)
	return launcher
}

// leader is the host's PID 1: below the launcher comes nspawn, below that the leader.
func (h *Host) leader() (process, bool) {
	launcher := h.launcher()
	if !launcher.alive() {
		return process{}, false
	}
	for _, nspawn := range childrenOf(launcher.PID) {
		for _, child := range childrenOf(nspawn) {
			if innerPID(child) != 1 {
				continue
			}
			leader, err := identify(child)
			return leader, err == nil
		}
	}
	return process{}, false
}

// lockPower keeps two processes from switching one host at the same time.
func (h *Host) lockPower(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	return lockFile(ctx, filepath.Join(h.dir(), "power.lock"))
}

// WaitBoot waits until the running host is up, as Boot does.
func (h *Host) WaitBoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var tried time.Time
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if !h.launcher().alive() {
			return false, errOff
		}
		leader, ok := h.leader()
		if !ok {
			return false, nil
		}
		if _, err := os.Stat(filepath.Join(h.dir(), "limited")); err != nil {
			return false, nil // a limit on the bandwidth is not in force yet
		}
		if h.reachable(leader) {
			return true, nil
		}
		if time.Since(tried) < time.Second {
			return false, nil
		}
		tried = time.Now()
		return h.settled(ctx), nil
	})
	if err != nil {
		return h.bootFailure(err)
	}
	return nil
}

func (h *Host) bootFailure(cause error) error {
	console, err := os.ReadFile(h.ConsoleLog())
	if err != nil {
		console = []byte(err.Error())
	}
	return fmt.Errorf("boot host %s: %w; its console ends with:\n%s", h.Name, cause, lastLines(console, 15))
}

// reachable looks at the host's sockets from outside. A connection would be counted
// against its sender by OpenSSH's penalties.
func (h *Host) reachable(leader process) bool {
	routes, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", leader.PID))
	if err != nil || !bytes.Contains(routes, []byte(" "+h.Address+"\n")) {
		return false
	}
	for _, table := range []string{"tcp", "tcp6"} {
		sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", leader.PID, table))
		if err == nil && listensOnSSH(string(sockets)) {
			return true
		}
	}
	return false
}

// listensOnSSH reports whether a table as in /proc/net/tcp has a listening socket on
// port 22: the port in hexadecimal, then the peer, then state 0A.
func listensOnSSH(table string) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasSuffix(fields[1], ":0016") && fields[3] == "0A" {
			return true
		}
	}
	return false
}

// settled reports whether systemd has finished booting, however well.
func (h *Host) settled(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	result, err := h.Exec(ctx, "systemctl", "is-system-running")
	if err != nil {
		return false
	}
	switch strings.TrimSpace(result.Stdout) {
	case "running", "degraded", "maintenance":
		return true
	}
	return false
}
