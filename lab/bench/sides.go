package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// timed runs a command on the workstation and returns how long it took and what it
// printed. It must succeed.
func (b *bench) timed(ctx context.Context, watch func(pid int) (stop func()), command ...string) (time.Duration, string, error) {
	var stdout, stderr bytes.Buffer
	began := time.Now()
	process, err := b.workstation.Start(ctx, lab.ExecOptions{Dir: dir, Stdout: &stdout, Stderr: &stderr}, command...)
	if err != nil {
		return 0, "", err
	}
	stop := watch(process.PID)
	code, err := process.Wait()
	took := time.Since(began)
	stop()
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s%s", command[0], code, lastLines(stdout.String()), lastLines(stderr.String()))
	}
	return took, stdout.String(), err
}

func unwatched(int) func() { return func() {} }

// byHand is what a careful person would type, with nothing in ~/.ssh/config.
const byHand = `
port=$1 host=root@$2; shift 2
path=$(nix build --no-link --print-out-paths "./flake#$1"); shift
NIX_SSHOPTS="-p $port" nix copy --no-check-sigs --to "ssh-ng://$host" "$path"
ssh -p "$port" "$host" "nix-env -p /nix/var/nix/profiles/system --set $path && $path/bin/switch-to-configuration switch"
ssh -p "$port" "$host" "readlink /run/current-system && systemctl is-active $*"`

// byHand deploys what is in the flake with Nix's and OpenSSH's own programs.
func (b *bench) byHand(ctx context.Context, l line) (time.Duration, error) {
	took, _, err := b.timed(ctx, unwatched, append([]string{"sh", "-euc", byHand, "by-hand", l.port, l.address, attribute}, units...)...)
	return took, err
}

// copyByHand only copies a closure.
func (b *bench) copyByHand(ctx context.Context, l line, closure string) (time.Duration, error) {
	took, _, err := b.timed(ctx, unwatched, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@"+l.address, closure)
	return took, err
}

// deployment is what one hdeploy told of itself.
type deployment struct {
	took    time.Duration
	phases  map[event.Phase]time.Duration
	outcome string
}

// hdeploy deploys what is in the flake with hdeploy.
func (b *bench) hdeploy(ctx context.Context, l line) (deployment, error) {
	took, stdout, err := b.timed(ctx, b.watchMemory, "/hdeploy/hdeploy", "switch", hostName, "--config", l.config, "--json")
	if err != nil {
		return deployment{}, err
	}
	d := deployment{took: took, phases: map[event.Phase]time.Duration{}}
	lines := bufio.NewScanner(strings.NewReader(stdout))
	for lines.Scan() {
		var e event.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return d, fmt.Errorf("read hdeploy's events: %v", err)
		}
		if e.Step != nil && e.Step.Status == event.Done {
			d.phases[e.Phase] += time.Duration(e.Step.Seconds * float64(time.Second))
		}
		if e.Outcome != nil {
			d.outcome = e.Outcome.Outcome
		}
	}
	return d, lines.Err()
}

// watchMemory keeps the peak of a process of the workstation. The kernel keeps the
// highest mark itself, so that looking from time to time only misses growth in the last
// moment of its life. What wait4 tells afterwards would be the largest of the process,
// of every nix that it waited for, and of what it was before it was executed.
func (b *bench) watchMemory(pid int) (stop func()) {
	status := fmt.Sprintf("/proc/%d/root/proc/%d/status", b.workstation.LeaderPID(), pid)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			b.peak = max(b.peak, highWaterMark(status))
			select {
			case <-ended:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(ended); <-done }
}

// highWaterMark reads VmHWM of /proc/PID/status, in KiB; proc(5). A process that is gone,
// or is not hdeploy yet, has none.
func highWaterMark(status string) int64 {
	data, err := os.ReadFile(status)
	if err != nil || !bytes.HasPrefix(data, []byte("Name:\thdeploy\n")) {
		return 0
	}
	for text := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(text, "VmHWM:"); found {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib
		}
	}
	return 0
}

// looksDeployed prints what runs, what the profile names, the revision of the last
// activation, and whether the boot loader starts that system.
const looksDeployed = `
readlink /run/current-system
readlink -f /nix/var/nix/profiles/system
cat /run/lab-marker; echo
grep -c "init=$1/init" "/boot/loader/entries/$(sed -n 's/^default *//p' /boot/loader/loader.conf)"
systemctl is-active "$2" "$3"`

// check says what is wrong on the host if it does not have the revision.
func (b *bench) check(ctx context.Context, revision string) error {
	closure := b.closures[revision]
	seen, err := b.onHost(ctx, looksDeployed, append([]string{closure}, units...)...)
	if err != nil {
		return fmt.Errorf("check the host: %w", err)
	}
	want := []string{closure, closure, revision, "1", "active", "active"}
	if got := strings.Fields(seen); strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("the host was not deployed: %q instead of %q", got, want)
	}
	return nil
}
