//go:build lab

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

func openWorld(t *testing.T, name string) *lab.World {
	t.Helper()
	world, err := lab.OpenFresh(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(context.Background()); err != nil {
			t.Error(err)
		}
		requireNothingLeft(t, name)
	})
	return world
}

func requireNothingLeft(t *testing.T, world string) {
	t.Helper()
	runDir := os.Getenv("HDEPLOY_LAB_DIR")
	if runDir == "" {
		runDir = "/var/lib/hdeploy-lab"
	}
	left := []string{filepath.Join(runDir, world), "/run/netns/hdlab-" + world}
	groups, _ := filepath.Glob("/sys/fs/cgroup/hdeploy-lab/" + world)
	hybrid, _ := filepath.Glob("/sys/fs/cgroup/unified/hdeploy-lab/" + world)
	for _, path := range left {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left", path)
		}
	}
	if len(groups)+len(hybrid) != 0 {
		t.Errorf("control groups are left: %v %v", groups, hybrid)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), runDir+"/"+world) {
		t.Errorf("mounts are left, or %v", err)
	}
}

func newPlain(t *testing.T, world *lab.World, name string) *lab.Host {
	t.Helper()
	host, err := world.NewHost(t.Context(), name, lab.HostOptions{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func stdout(t *testing.T, host *lab.Host, command ...string) string {
	t.Helper()
	result, err := host.Exec(t.Context(), command...)
	if err != nil {
		t.Fatal(err)
	}
	if result.Code != 0 {
		t.Fatalf("%s: %v: code %d: %s", host.Name, command, result.Code, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout)
}

func bootID(t *testing.T, host *lab.Host) string {
	t.Helper()
	return stdout(t, host, "cat", "/proc/sys/kernel/random/boot_id")
}

func TestManyHostsAtOnceAreDifferentMachines(t *testing.T) {
	world := openWorld(t, "t-many")
	const count = 8
	hosts := make([]*lab.Host, count)
	failures := make([]error, count)
	var tasks sync.WaitGroup
	for i := range count {
		tasks.Go(func() {
			hosts[i], failures[i] = world.NewHost(t.Context(), fmt.Sprintf("host%d", i), lab.HostOptions{Plain: true})
		})
	}
	tasks.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, host := range hosts {
		for what, value := range map[string]string{
			"address":    host.Address,
			"host key":   stdout(t, host, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"),
			"machine id": stdout(t, host, "cat", "/etc/machine-id"),
			"boot id":    bootID(t, host),
			"name":       stdout(t, host, "hostname"),
		} {
			if other, taken := seen[what+value]; taken {
				t.Errorf("%s and %s have %s %s", host.Name, other, what, value)
			}
			seen[what+value] = host.Name
		}
		if !strings.HasPrefix(stdout(t, host, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"), host.HostKey()) {
			t.Errorf("%s does not have the host key it says", host.Name)
		}
	}
}

func TestPowerCutLosesNothingOnDisk(t *testing.T) {
	world := openWorld(t, "t-power")
	host := newPlain(t, world, "host")
	before := bootID(t, host)
	if err := host.WriteFile(t.Context(), "/srv/while-on", []byte("on"), 0o640); err != nil {
		t.Fatal(err)
	}
	stdout(t, host, "touch", "/run/volatile")

	if err := host.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if host.Running() {
		t.Error("it runs after a power cut")
	}
	if _, err := host.Exec(t.Context(), "true"); err == nil {
		t.Error("a command runs in a host that is off")
	}
	if err := host.WriteFile(t.Context(), "/srv/while-off", []byte("off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := host.ReadFile(t.Context(), "/srv/while-on"); err != nil || string(data) != "on" {
		t.Errorf("read while off: %q, %v", data, err)
	}

	if err := host.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stdout(t, host, "cat", "/srv/while-on", "/srv/while-off"); got != "onoff" {
		t.Errorf("after boot: %q", got)
	}
	if result, err := host.Exec(t.Context(), "test", "-e", "/run/volatile"); err != nil || result.Code != 1 {
		t.Errorf("/run survived: %d, %v", result.Code, err)
	}
	if bootID(t, host) == before {
		t.Error("the same boot id after a power cut")
	}
}

func TestRebootFromInside(t *testing.T) {
	world := openWorld(t, "t-reboot")
	host := newPlain(t, world, "host")
	before := bootID(t, host)
	if err := host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bootID(t, host) == before {
		t.Error("the same boot id after a reboot")
	}
}

func TestHostThatPowersOffIsOff(t *testing.T) {
	world := openWorld(t, "t-off")
	host := newPlain(t, world, "host")
	stdout(t, host, "systemctl", "poweroff")
	deadline := time.Now().Add(30 * time.Second)
	for host.Running() {
		if time.Now().After(deadline) {
			t.Fatal("it runs on")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := host.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestExecPassesEverythingThrough(t *testing.T) {
	world := openWorld(t, "t-exec")
	host := newPlain(t, world, "host")
	result, err := host.Exec(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 7")
	if err != nil || result != (lab.Result{Stdout: "out\n", Stderr: "err\n", Code: 7}) {
		t.Errorf("got %+v, %v", result, err)
	}

	var output strings.Builder
	process, err := host.Start(t.Context(), lab.ExecOptions{
		Dir: "/srv", Env: []string{"ANSWER=42"}, Stdin: strings.NewReader("given"), Stdout: &output,
	}, "sh", "-c", `pwd; echo "$ANSWER"; cat`)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := process.Wait(); err != nil || code != 0 || output.String() != "/srv\n42\ngiven" {
		t.Errorf("got %d, %v, %q", code, err, output.String())
	}

	process, err = host.Start(t.Context(), lab.ExecOptions{}, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if name := stdout(t, host, "cat", fmt.Sprintf("/proc/%d/comm", process.PID)); name != "sleep" && name != "nsenter" {
		t.Errorf("process %d is %s", process.PID, name)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if code, err := process.Wait(); err != nil || code != 128+int(syscall.SIGKILL) {
		t.Errorf("killed: %d, %v", code, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := host.Exec(ctx, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if result, err := host.Exec(t.Context(), "pgrep", "sleep"); err != nil || result.Code != 1 {
		t.Errorf("what the deadline ended runs on: %+v, %v", result, err)
	}
}

// reaches reports whether a connection from the bridge to the host's sshd succeeds.
func reaches(t *testing.T, world *lab.World, host *lab.Host) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := world.Dial(ctx, "tcp4", net.JoinHostPort(host.Address, "22"))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// reachedSoon is for a network that was just restored: the kernel asks for a neighbour
// that did not answer only once a second, and forgets it after the third time.
func reachedSoon(t *testing.T, world *lab.World, host *lab.Host) bool {
	t.Helper()
	for range 10 {
		if reaches(t, world, host) {
			return true
		}
	}
	return false
}

func TestCutNetworkHoldsAcrossBoots(t *testing.T) {
	world := openWorld(t, "t-cut")
	host := newPlain(t, world, "host")
	if !reaches(t, world, host) {
		t.Fatal("not reached before the cut")
	}
	if err := host.CutNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reaches(t, world, host) {
		t.Error("reached through a cut network")
	}
	if err := host.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := host.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reaches(t, world, host) {
		t.Error("a boot restored the network")
	}
	if err := host.RestoreNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !reachedSoon(t, world, host) {
		t.Error("not reached after the network was restored")
	}
}

func TestBandwidthAndDelay(t *testing.T) {
	world := openWorld(t, "t-slow")
	host := newPlain(t, world, "host")
	workstation, err := world.Workstation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func() time.Duration {
		sink, err := host.Start(t.Context(), lab.ExecOptions{}, "busybox", "nc", "-l", "-p", "9000", "-e", "sh", "-c", "cat >/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = sink.Wait() }()
		start := time.Now()
		stdout(t, workstation, "bash", "-c", "until exec 3>/dev/tcp/"+host.Address+"/9000; do sleep 0.01; done 2>/dev/null; head -c 4000000 /dev/zero >&3")
		return time.Since(start)
	}
	if err := host.LimitBandwidth(t.Context(), "16mbit"); err != nil {
		t.Fatal(err)
	}
	// 4 MB at 2 MB/s; what the sockets hold is sent after the last write returned.
	if took := send(); took < time.Second || took > 5*time.Second {
		t.Errorf("4 MB at 16 Mbit/s took %v", took)
	}
	if err := host.LimitBandwidth(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if took := send(); took > time.Second {
		t.Errorf("4 MB without a limit took %v", took)
	}

	const rtt = 200 * time.Millisecond
	address, stop, err := world.DelayProxy(t.Context(), net.JoinHostPort(host.Address, "22"), rtt)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	start := time.Now()
	banner := stdout(t, workstation, "bash", "-c", "head -n 1 </dev/tcp/"+strings.ReplaceAll(address, ":", "/"))
	if took := time.Since(start); !strings.HasPrefix(banner, "SSH-") || took < 2*rtt {
		t.Errorf("got %q after %v", banner, took)
	}
}

func TestWorkstationBuildsAndReachesHosts(t *testing.T) {
	world := openWorld(t, "t-ws")
	workstation, err := world.Workstation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := world.Workstation(t.Context())
	if err != nil || again.LeaderPID() != workstation.LeaderPID() {
		t.Errorf("a second workstation: %v", err)
	}
	host := newPlain(t, world, "host")
	if got := stdout(t, workstation, "getent", "hosts", "host"); !strings.HasPrefix(got, host.Address) {
		t.Errorf("the host's name gives %q", got)
	}
	if version := stdout(t, workstation, "nix", "--version"); !strings.Contains(version, "2.26") {
		t.Errorf("got %s", version)
	}
	if err := workstation.NewFlake(t.Context(), "/root/flake"); err != nil {
		t.Fatal(err)
	}
	if err := workstation.NewFlake(t.Context(), "/root/flake"); err == nil {
		t.Error("a flake was copied over another one")
	}
	out := stdout(t, workstation, "nix", "build", "--no-link", "--print-out-paths",
		"/root/flake#nixosConfigurations.factory-grub.config.system.build.toplevel")
	if !strings.HasPrefix(out, "/nix/store/") {
		t.Errorf("built %q", out)
	}
	if err := os.WriteFile(filepath.Join(world.BinDir(), "hello"), []byte("#!/bin/sh\necho hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := stdout(t, workstation, "hello"); got != "hello" {
		t.Errorf("a program in BinDir said %q", got)
	}
	if result, err := workstation.Exec(t.Context(), "touch", "/repo/file"); err != nil || result.Code == 0 {
		t.Errorf("the repository is writable: %+v, %v", result, err)
	}
}

func TestLaterProcessFindsAndReplacesHosts(t *testing.T) {
	world := openWorld(t, "t-later")
	host := newPlain(t, world, "host")
	if _, err := world.NewHost(t.Context(), "host", lab.HostOptions{Plain: true}); err == nil {
		t.Error("two hosts have one name")
	}

	// A second World stands for a process that was started after the first one crashed.
	later, err := lab.Open(t.Context(), world.Name)
	if err != nil {
		t.Fatal(err)
	}
	found, err := later.Host("host")
	if err != nil || found.LeaderPID() != host.LeaderPID() || found.HostKey() != host.HostKey() {
		t.Fatalf("found %+v, %v", found, err)
	}
	before := host.LeaderPID()
	replaced := newPlain(t, later, "host")
	if err := syscall.Kill(before, 0); !errors.Is(err, syscall.ESRCH) && replaced.LeaderPID() == before {
		t.Error("the old host was not replaced")
	}
	if replaced.HostKey() == host.HostKey() {
		t.Error("the new host has the old one's key")
	}
	if _, err := later.Host("other"); !errors.Is(err, lab.ErrNoHost) {
		t.Errorf("a host that is not there: %v", err)
	}
}

func TestDisksAreSmallAndStay(t *testing.T) {
	world := openWorld(t, "t-disks")
	host, err := world.NewHost(t.Context(), "host", lab.HostOptions{
		Disks: map[string]string{"/boot": "8M", "/var": "64M", "/nix": "512M"},
	})
	if err != nil {
		t.Fatal(err)
	}
	stdout(t, host, "test", "-e", "/var/lib/dpkg/status")
	result, err := host.Exec(t.Context(), "dd", "if=/dev/zero", "of=/boot/full", "bs=1M", "count=64")
	if err != nil || result.Code == 0 || !strings.Contains(result.Stderr, "No space left") {
		t.Errorf("/boot took 64 MiB: %+v, %v", result, err)
	}
	stdout(t, host, "rm", "/boot/full")
	stdout(t, host, "sh", "-c", "echo kept >/boot/file; sync")
	if err := host.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := host.ReadFile(t.Context(), "/boot/file"); err != nil || string(data) != "kept\n" {
		t.Errorf("read while off: %q, %v", data, err)
	}
	if err := host.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stdout(t, host, "cat", "/boot/file"); got != "kept" {
		t.Errorf("after boot: %q", got)
	}
}

func TestWorldsDoNotSeeEachOther(t *testing.T) {
	first, second := openWorld(t, "t-one"), openWorld(t, "t-two")
	one, two := newPlain(t, first, "host"), newPlain(t, second, "host")
	if one.Address != two.Address {
		t.Errorf("each world counts for itself, but got %s and %s", one.Address, two.Address)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one.Running() || !two.Running() || !reaches(t, second, two) {
		t.Error("closing one world touched the other")
	}
}

func TestFactoryHostBootsThroughItsLoader(t *testing.T) {
	world := openWorld(t, "t-factory")
	workstation, err := world.Workstation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		host, err := world.NewHost(t.Context(), "host-"+loader, lab.HostOptions{Loader: loader})
		if err != nil {
			t.Fatal(err)
		}
		booted := stdout(t, host, "readlink", "-f", "/run/booted-system")
		if profile := stdout(t, host, "readlink", "-f", "/nix/var/nix/profiles/system"); booted != profile || !strings.Contains(booted, loader) {
			t.Errorf("%s booted %s, the profile has %s", host.Name, booted, profile)
		}
		if state := stdout(t, host, "systemctl", "is-system-running", "--wait"); state != "running" {
			t.Errorf("%s is %s", host.Name, state)
		}
		known := host.Name + " " + host.HostKey() + "\n"
		if err := workstation.WriteFile(t.Context(), "/root/.ssh/known_hosts", []byte(known), 0o600); err != nil {
			t.Fatal(err)
		}
		if name := stdout(t, workstation, "ssh", "-o", "BatchMode=yes", host.Name, "hostname"); name != host.Name {
			t.Errorf("over ssh %s says that it is %s", host.Name, name)
		}
	}
}

func TestHostWithoutBootDefaultStaysOff(t *testing.T) {
	world := openWorld(t, "t-noboot")
	host, err := world.NewHost(t.Context(), "host", lab.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stdout(t, host, "sh", "-c", "rm -rf /boot/*")
	if err := host.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := host.Boot(t.Context()); err == nil || !strings.Contains(err.Error(), "console ends with") {
		t.Errorf("booted from nothing: %v", err)
	} else {
		t.Log(err)
	}
	if host.Running() {
		t.Error("it runs")
	}
}

func TestFactoryHostsComeUpTogether(t *testing.T) {
	world := openWorld(t, "t-fleet")
	const count = 4
	failures := make([]error, count)
	var tasks sync.WaitGroup
	for i := range count {
		tasks.Go(func() {
			host, err := world.NewHost(t.Context(), fmt.Sprintf("host%d", i), lab.HostOptions{})
			if err == nil {
				err = host.PowerCut(t.Context())
			}
			if err == nil {
				err = host.Boot(t.Context())
			}
			failures[i] = err
		})
	}
	tasks.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Error(err)
	}
}
