// Package nixos is what activating, committing and restoring mean for a NixOS
// system: its switch-to-configuration, run in transient units, its profile and
// its boot loader.
//
// It keeps the host's way back independent of everything a new system may break:
// programs come from the previous toplevel by absolute path, units survive
// emergency.target, results are files in /run and not pipes or D-Bus messages,
// and whatever is killed is gone before the next thing starts.
package nixos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	currentSystem = "/run/current-system"
	bootedSystem  = "/run/booted-system"
	switchLock    = "/run/nixos/switch-to-configuration.lock"
)

// Host is this machine as a transaction acts on it.
type Host struct {
	Store transaction.Store
	Clock transaction.Clock
}

var _ transaction.Host = Host{}

// Clock is the kernel's clock of this boot.
type Clock struct{}

// Now reads CLOCK_BOOTTIME, which goes on during a suspend.
func (Clock) Now() transaction.Instant { return transaction.Instant(readClock(unix.CLOCK_BOOTTIME)) }

// BootID names this boot.
func (Clock) BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
}

// Wall is the time of day.
func (Clock) Wall() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// Monotonic is the time of CLOCK_MONOTONIC, which the timers of systemd count from.
func Monotonic() time.Duration { return readClock(unix.CLOCK_MONOTONIC) }

func readClock(id int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(id, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Unit names of a transaction.
func unitName(id, role string) string { return "hdeploy-" + id + "-" + role }

func service(id, role string) string { return unitName(id, role) + ".service" }

func (h Host) dir(id string) string { return filepath.Join(h.Store.Run, id) }

// open is a file that exists as long as the host may have to go back: without it
// the last resort does nothing, whoever starts it.
func (h Host) open(id string) string { return filepath.Join(h.dir(id), "open") }

func (h Host) agent(id string) string { return filepath.Join(h.dir(id), "agent") }

// Look implements [transaction.Host].
func (h Host) Look(profile string) (string, profiles.Generation, error) {
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return "", profiles.Generation{}, fmt.Errorf("read the running system: %v", err)
	}
	at, err := profiles.Current(profile)
	return running, at, err
}

// Boots implements [transaction.Host].
func (h Host) Boots() (string, error) {
	d, err := bootloader.Read("/")
	return d.System, err
}

// Arm implements [transaction.Host]. The order matters: the last resort exists
// before the switch that names it, and the switch waits before anything changes.
func (h Host) Arm(ctx context.Context, r transaction.Record) error {
	if err := h.root(r); err != nil {
		return err
	}
	var keeping sync.WaitGroup
	var kept error
	keeping.Go(func() { kept = h.keepKeys(r) })
	copied := CopySelf(h.agent(r.ID))
	keeping.Wait()
	if err := errors.Join(copied, kept); err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	if noexec(h.agent(r.ID)) {
		return fmt.Errorf("arm the dead-man's switch: %s is on a file system mounted noexec", h.Store.Run)
	}
	if err := atomicfile.Write(h.open(r.ID), nil, 0o600); err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	if err := writeLastResort(r, h.open(r.ID), h.copyBack(r)); err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	// It helps after a power cut; only a boot into the new system depends on it, and
	// looks again.
	var attaching sync.WaitGroup
	defer attaching.Wait()
	attaching.Go(func() { _ = AttachResume() })
	m := systemd.Of(r.Previous.Running)
	start, err := m.ManagerStart(ctx)
	if err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	left := h.Clock.Now().Until(r.DeadMan)
	err = m.Run(ctx, systemd.Transient{
		Name:        service(r.ID, "deadman"),
		Description: "hdeploy: go back unless transaction " + r.ID + " is finished",
		Command:     []string{h.agent(r.ID), "deadman", r.ID},
		OnStartup:   readClock(unix.CLOCK_MONOTONIC) + left - start,
		OnFailure:   service(r.ID, "lastresort"),
		StopPost:    h.stopPost(r.ID),
	})
	if err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	return nil
}

func (h Host) root(r transaction.Record) error {
	if err := profiles.AddRoot(r.ID+"-new", r.New); err != nil {
		return err
	}
	return profiles.AddRoot(r.ID+"-previous", r.Previous.Running)
}

// CopySelf puts a copy of this program into /run: the installed one goes when
// another version is uploaded, and its disk may have become unreadable when it is
// needed.
func CopySelf(to string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	os.Remove(to)
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, self); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func noexec(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0
}

const runtimeUnits = "/run/systemd/system"

// writeLastResort writes the unit that the dead-man's switch falls back on when
// this very program is damaged. PID 1 reads it when it loads the unit that names
// it; no reload is needed.
func writeLastResort(r transaction.Record, open, copyBack string) error {
	if err := os.MkdirAll(runtimeUnits, 0o755); err != nil {
		return err
	}
	// The supervisor, and an activation that hangs, hold the lock of
	// switch-to-configuration: so they are killed first.
	text := fmt.Sprintf(`[Unit]
Description=hdeploy: switch back without hdeploy (transaction %[1]s)
ConditionPathExists=%[3]s
DefaultDependencies=no
IgnoreOnIsolate=yes
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
Restart=on-failure
RestartSec=5
OOMScoreAdjust=-900
Environment=NIXOS_NO_CHECK=1 PATH=%[2]s/sw/bin
ExecStartPre=-%[2]s/sw/bin/systemctl kill --signal=SIGKILL hdeploy-%[1]s-supervisor.service hdeploy-%[1]s-takeover.service hdeploy-%[1]s-activation.service hdeploy-%[1]s-commit.service hdeploy-%[1]s-rollback.service
%[4]sExecStart=%[2]s/bin/switch-to-configuration test
ExecStartPost=-%[2]s/sw/bin/rm -f %[3]s
`, r.ID, r.Previous.Running, open, copyBack)
	return atomicfile.Write(filepath.Join(runtimeUnits, service(r.ID, "lastresort")), []byte(text), 0o644)
}

// Armed implements [transaction.Host].
func (h Host) Armed(ctx context.Context, id string) bool {
	timer, svc := unitName(id, "deadman.timer"), service(id, "deadman")
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return false
	}
	units, err := systemd.Of(running).Show(ctx, timer, svc)
	if err != nil {
		return false
	}
	return units[timer].Active == "active" || units[svc].Active == "active" || units[svc].Active == "activating"
}

// Supervise implements [transaction.Host].
func (h Host) Supervise(ctx context.Context, r transaction.Record) error {
	return systemd.Of(r.Previous.Running).Run(ctx, systemd.Transient{
		Name:        service(r.ID, "supervisor"),
		Description: "hdeploy: transaction " + r.ID,
		Command:     []string{h.agent(r.ID), "supervise", r.ID},
		OnFailure:   service(r.ID, "deadman"),
		StopPost:    h.stopPost(r.ID),
		// The dead-man's switch is armed: what goes wrong from here on ends there.
		Asynchronous: true,
	})
}

// HoldSwitch implements [transaction.Host].
func (h Host) HoldSwitch() (func(), error) {
	f, err := os.OpenFile(switchLock, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("hold the switch lock: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("hold the switch lock: %v", err)
	}
	return func() { f.Close() }, nil
}

// NewlyFailing implements [transaction.Host].
func (h Host) NewlyFailing(ctx context.Context, r transaction.Record) ([]string, error) {
	before, err := h.Store.LoadBaseline(r.ID)
	if err != nil {
		return nil, err
	}
	now, err := systemd.Of(r.New).All(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, u := range probe.NewlyFailing(before, now) {
		if probe.Ignores(r.Probes, u.ID) {
			continue // the probe tells it
		}
		names = append(names, fmt.Sprintf("%s (%s)", u.ID, u.Result))
	}
	return names, nil
}

// Probe implements [transaction.Host].
func (h Host) Probe(ctx context.Context, r transaction.Record) []probe.Result {
	host := &probe.Host{Systemd: systemd.Of(r.New), NewSystem: r.New}
	if before, err := h.Store.LoadBaseline(r.ID); err == nil {
		host.Baseline = &before
	}
	return probe.Run(ctx, r.Probes, host, nil)
}

var _ transaction.Comparer = Host{}

// Glance implements [transaction.Comparer].
func (h Host) Glance(ctx context.Context, r transaction.Record) []string {
	return probe.Glance(ctx, r.Probes, h.before(r))
}

// ProbeRestored implements [transaction.Comparer].
func (h Host) ProbeRestored(ctx context.Context, r transaction.Record) []probe.Result {
	return probe.RunRestored(ctx, r.Probes, h.before(r), r.FailedBefore)
}

// before is the host with its previous system.
func (h Host) before(r transaction.Record) *probe.Host {
	host := &probe.Host{Systemd: systemd.Of(r.Previous.Running), NewSystem: r.Previous.Running}
	if before, err := h.Store.LoadBaseline(r.ID); err == nil {
		host.Baseline = &before
	}
	return host
}

// Fence implements [transaction.Host]. The supervisor goes first, so that it
// starts nothing while the rest is killed; the caller's own unit is spared.
func (h Host) Fence(ctx context.Context, id string) error {
	own, _ := os.ReadFile("/proc/self/cgroup")
	var failures []error
	for _, role := range []string{"supervisor", takeover, "activation", "commit", "rollback"} {
		if bytes.Contains(own, []byte(service(id, role))) {
			continue
		}
		failures = append(failures, systemd.Kill(ctx, service(id, role)))
	}
	return errors.Join(failures...)
}

// Finish implements [transaction.Host]. First the way back is closed: what is
// left of it must not act any more. Where the dead-man's timer cannot be stopped
// its program stays, to find the transaction finished.
func (h Host) Finish(ctx context.Context, r transaction.Record) error {
	failures := []error{os.RemoveAll(h.open(r.ID)), h.keepConfirmed()}
	if !h.Store.OpenBeside() {
		failures = append(failures, DetachResume())
	}
	h.Store.DropBaseline(r.ID)
	var kept error
	if r.Restarted && (r.State == transaction.RolledBack || r.State == transaction.RollbackFailed) {
		kept = h.restoreKeys(ctx, r, keyFile.writtenInThisBoot) // the boot has brought back all but these
	}
	if kept == nil { // else whoever cleans up next tries again
		kept = h.forgetKeys(r.ID)
	}
	failures = append(failures, kept)
	if r.Action == transaction.Reboot && r.State == transaction.Superseded && !r.Restarted {
		failures = append(failures, h.unchoose(ctx, r)) // nobody would judge it any more
	}
	failures = append(failures, profiles.RemoveRoot(r.ID+"-new"), profiles.RemoveAbandonedRoots(ofTransaction))
	if r.State != transaction.RollbackFailed {
		failures = append(failures, profiles.RemoveRoot(r.ID+"-previous"))
	}
	stopped := h.disarm(ctx, r)
	if stopped == nil {
		os.Remove(filepath.Join(runtimeUnits, service(r.ID, "lastresort")))
		os.Remove(h.agent(r.ID))
	}
	return errors.Join(append(failures, stopped)...)
}

func (h Host) disarm(ctx context.Context, r transaction.Record) error {
	if r.BootID != h.Clock.BootID() {
		return nil
	}
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return fmt.Errorf("stop the dead-man's timer: %v", err)
	}
	return systemd.Of(running).Stop(ctx, unitName(r.ID, "deadman.timer"))
}

// ofTransaction tells roots that do not outlive a transaction. One whose name
// begins with a dot is a link that power was lost before it got its name.
func ofTransaction(root string) bool {
	return strings.HasPrefix(root, ".") || strings.HasSuffix(root, "-new") || strings.HasSuffix(root, "-previous")
}
